"""Backups that the real Litestream 0.3.13 writes."""

import pytest

from tests.helpers import litestream03
from tests.helpers.app import row_count
from tests.helpers.site import Site

pytestmark = [pytest.mark.interop, pytest.mark.litestream03, pytest.mark.process, pytest.mark.timeout(120)]


@pytest.fixture
def replicator(site: Site) -> litestream03.Replicator:
    made = litestream03.Replicator(site.db, site.replica)
    site.started.append(made)
    return made


def test_what_litestream_03_lists_and_restores(site: Site, replicator: litestream03.Replicator) -> None:
    """The control: its own lists and its own restore see what it has just uploaded, after a stop and after a kill."""
    with site.app() as app:
        app.insert(20)
        replicator.start()
        replicator.barrier()
        assert row_count(litestream03.restore(site.replica, site.output())) == 20
        replicator.kill()
        app.insert(7)
        replicator.start()
        position = replicator.barrier()
        replicator.stop()
    assert row_count(litestream03.restore(site.replica, site.output())) == 27
    # After the kill it may have begun a second generation.
    for rows in (litestream03.generations(site.replica), litestream03.snapshots(site.replica)):
        assert position.generation in {row["generation"] for row in rows}
    segments = litestream03.wal(replicator.config, position.generation)
    assert {row["generation"] for row in segments} == {position.generation}
    assert int(segments[-1]["index"]) == position.index
