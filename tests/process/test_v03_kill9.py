"""kill -9 of a process that replicates in the v0.3 layout, at random moments under load."""

import random

import pytest

from tests.helpers import v03_kill9
from tests.helpers.profiles import marks, sized
from tests.helpers.site import Site

pytestmark = [pytest.mark.process, *marks(120, 1800)]


def test_nothing_acknowledged_is_lost(site: Site) -> None:
    """Six kills (100 in the slow profile): promises kept, consistent states by every program, one generation without gaps."""
    loop = v03_kill9.Loop(site, random.Random(9))
    report = loop.run(sized(6, 100))
    assert report.problems == []
    assert report.promises > report.kills
    assert report.full_images == 0, "continuity was known, so nothing justifies a new generation"


def test_killed_before_the_first_snapshot_is_stored(site: Site) -> None:
    """The first upload is cut off again and again at its very beginning: one generation is begun, and goes on."""
    with site.app() as app:
        app.insert(20_000, size=400, commits=False)
        replicator = site.replicator(kind="ltxcore-v0.3")
        for _ in range(sized(4, 50)):
            replicator.start()
            replicator.running().write_line('{"command": "barrier"}')
            replicator.kill()
        replicator.start()
        replicator.barrier()
        site.assert_restores()
        v03_kill9.assert_contiguous(site.replica)
