"""The replicator is away while the application writes: nothing may be lost when it comes back.

Litestream 0.5.17 loses every row of the gap in most of these cases, silently, and the restored database passes
`integrity_check`. Run with LTXCORE_TEST_SUBJECT=litestream to see the tests fail.
"""

import random

import pytest

from tests.helpers import gap, ltxfile
from tests.helpers.gap import Variant
from tests.helpers.profiles import marks, sized
from tests.helpers.site import Site

pytestmark = [pytest.mark.process, *marks(120, 1800)]

RECIPES = {
    f"{stop}-{mode}-{gap_rows}-{after}": Variant(
        stop=stop, checkpoints=(mode,), gap_rows=gap_rows, after_rows=after, pause=sized(0.2, 1.3)
    )
    for stop, mode, gap_rows, after in [
        ("term", "FULL", 100, 3),
        ("term", "PASSIVE", 100, 3),
        ("term", "FULL", 100, 20),
        ("kill", "PASSIVE", 100, 20),
        ("kill", "FULL", 37, 3),
        ("kill", "RESTART", 100, 5),
        ("kill", "TRUNCATE", 100, 5),
        ("term", "TRUNCATE", 100, 50),
        ("close", "FULL", 100, 3),
        ("kill", "FULL", 1, 1),
    ]
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe(site: Site, recipe: str) -> None:
    """500 rows are safe; the replicator stops; 100 more, a checkpoint, a few more that restart the WAL; it starts again."""
    replicator = site.running()
    with site.app(autocheckpoint=0) as app:
        outcome = gap.run(site, app, replicator, RECIPES[recipe])
    assert outcome.problem == ""


@pytest.mark.parametrize("stop", ["kill", "term"])
@pytest.mark.parametrize("autocheckpoint", [0, 1000])
def test_every_length_after_the_gap(site: Site, stop: str, autocheckpoint: int) -> None:
    """One row after the restart, two, three ... fifty: the stale frame lies at every possible distance once."""
    replicator = site.running()
    with site.app(autocheckpoint=autocheckpoint) as app:
        for count in range(1, 51, sized(7, 1)):
            variant = Variant(
                stop=stop, rows_before=60, gap_rows=40, after_rows=count, autocheckpoint=autocheckpoint
            )
            outcome = gap.run(site, app, replicator, variant)
            assert outcome.problem == "", variant


@pytest.mark.parametrize("chain", range(sized(3, 50)))
def test_random_gaps(site: Site, chain: int) -> None:
    """Ten random gaps in a row on one database, so that each also meets what the last one left behind."""
    rng = random.Random(chain)
    replicator = site.running()
    with site.app(autocheckpoint=0) as app:
        for _ in range(10):
            outcome = gap.run(site, app, replicator, gap.random_variant(rng))
            assert outcome.problem == "", outcome.variant
    ltxfile.assert_contiguous(site.replica)


def test_graceful_stop_loses_nothing_that_was_committed(site: Site) -> None:
    """SIGTERM comes right after a commit that nobody waited for: the last sync takes it along."""
    replicator = site.running()
    with site.app() as app:
        replicator.barrier()
        for _ in range(5):
            app.insert(20)
            replicator.stop()
            site.assert_restores()
            replicator.start()


def test_gap_without_a_checkpoint_is_continued(site: Site) -> None:
    """The WAL only grew while the replicator was away: it goes on where it was, and sends no image of everything."""
    replicator = site.running()
    with site.app(autocheckpoint=0) as app:
        app.insert(300, size=2000)
        known = replicator.barrier()
        replicator.kill()
        app.insert(10)
        replicator.start()
        replicator.barrier()
        site.assert_restores()
        sent = ltxfile.after(site.replica, known)
        assert sent and not any(file.holds_every_page for file in sent)
