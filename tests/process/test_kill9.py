"""kill -9 of the replicating process at random moments under load.

Litestream 0.5.17 fails this (LTXCORE_TEST_SUBJECT=litestream): restores that are no state the application ever had.
"""

import random

import pytest

from tests.helpers import kill9
from tests.helpers.profiles import marks, sized
from tests.helpers.site import Site

pytestmark = [pytest.mark.process, *marks(120, 1800)]


def test_nothing_acknowledged_is_lost(site: Site) -> None:
    """Ten kills (200 in the slow profile): promises kept, consistent states, a chain without gaps, no full images."""
    loop = kill9.Loop(site, random.Random(9))
    report = loop.run(sized(10, 200))
    assert report.problems == []
    assert report.promises > report.kills
    # The WAL was never lost, so nothing justifies an image of everything.
    assert report.full_images == 0


def test_killed_before_the_first_sync_is_done(site: Site) -> None:
    """The first, full upload is cut off again and again at its very beginning: the next start begins afresh, whole."""
    with site.app() as app:
        app.insert(20_000, size=400, commits=False)
        replicator = site.replicator()
        for _ in range(sized(5, 50)):
            replicator.start()
            if hasattr(replicator, "ask"):
                replicator.running().write_line('{"command": "barrier"}')
            replicator.kill()
        replicator.start()
        replicator.barrier()
        site.assert_restores()
