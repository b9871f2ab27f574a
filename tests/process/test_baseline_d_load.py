"""What the application does to a replicator that runs: checkpoints, VACUUM, big transactions, locks, stops.

Rows of the same table of failures as `test_baseline_d.py`. Litestream blocks the application's checkpoints for its whole busy
timeout; the rest it survives, and so must we.
"""

import sqlite3
import time
from typing import Any

import pytest

from tests.helpers import ltxfile
from tests.helpers.app import BUSY_TIMEOUT
from tests.helpers.healing import assert_heals, barrier_and_compare
from tests.helpers.process import ChildError
from tests.helpers.profiles import marks, sized
from tests.helpers.site import Site

pytestmark = [pytest.mark.process, *marks(120, 600)]


def test_truncate_in_a_loop(site: Site) -> None:
    """The application truncates the WAL after every few rows."""
    replicator = site.running()
    with site.app() as app:
        for _ in range(sized(40, 400)):
            app.insert(5)
            app.checkpoint("TRUNCATE")
        barrier_and_compare(site, replicator)
    ltxfile.assert_contiguous(site.replica)


@pytest.mark.parametrize("mode", ["FULL", "RESTART", "TRUNCATE"])
def test_checkpoints_of_the_application_are_not_blocked(site: Site, mode: str) -> None:
    """Each comes back done, long before the busy timeout. With Litestream each takes 3.005 s of 3 s and returns busy."""
    with site.app() as app:
        # Frames first: the replicator's first read transaction then pins them, and must not stay in the way.
        app.insert(100)
        replicator = site.running()
        replicator.barrier()
        for _ in range(5):
            app.insert(50)
            began = time.monotonic()
            busy, in_wal, done = app.checkpoint(mode)
            assert time.monotonic() - began < BUSY_TIMEOUT / 2
            assert (busy, in_wal) == (0, done)
        barrier_and_compare(site, replicator)


def test_commits_are_not_blocked(site: Site) -> None:
    """While a replicator works, the slowest commit of thousands stays below half a second."""
    replicator = site.running()
    with site.app() as app:
        replicator.barrier()
        slowest = 0.0
        for _ in range(sized(5000, 50_000)):
            began = time.monotonic()
            app.insert(1)
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 0.5
        barrier_and_compare(site, replicator)


def test_vacuum_five_times(site: Site) -> None:
    """The database grows, loses half of its rows and is rebuilt, again and again."""
    replicator = site.running()
    with site.app() as app:
        for number in range(5):
            app.insert(400, size=1000)
            app.execute("DELETE FROM entry WHERE id % 2 = ?", number % 2)
            app.execute("VACUUM")
            barrier_and_compare(site, replicator)


def test_big_transaction(site: Site) -> None:
    """One transaction of 40 MB (330 MB in the slow profile), larger than every buffer of ours."""
    replicator = site.running()
    with site.app() as app:
        app.insert(10)
        replicator.barrier()
        app.insert(sized(400, 3300), size=100_000, commits=False)
        barrier_and_compare(site, replicator, timeout=60)
        app.insert(10)
        barrier_and_compare(site, replicator)


def test_stopped_process_does_not_stop_the_application(site: Site) -> None:
    """SIGSTOP: the application writes and checkpoints on; after SIGCONT nothing is missing."""
    replicator = site.running()
    with site.app() as app:
        app.insert(100)
        replicator.barrier()
        replicator.pause()
        began = time.monotonic()
        while time.monotonic() - began < sized(1.0, 6.0):
            app.insert(200)
            app.checkpoint("PASSIVE")
        replicator.resume()
        barrier_and_compare(site, replicator, timeout=30)


def test_exclusive_locking_then_release(site: Site) -> None:
    """The application keeps everybody out for a while; the replicator waits or says so, and comes in afterwards."""
    replicator = site.running()
    app = site.app()
    app.insert(50)
    replicator.barrier()
    replicator.stop()
    app.close()
    app.connection = sqlite3.connect(site.db, isolation_level=None)
    app.execute("PRAGMA locking_mode = EXCLUSIVE")
    app.insert(50)
    try:
        replicator.start()
        replicator.barrier(3)
    except ChildError:
        pass  # it cannot read now; which error is not the point, that it comes back later is
    else:
        raise AssertionError("nobody can have read the database")
    app.reopen()
    app.insert(50)
    if not replicator.running().alive():
        replicator.start()
    assert_heals_after_refusal(site, replicator)
    app.close()


def assert_heals_after_refusal(site: Site, replicator: Any) -> None:
    """Open it again if the first opening was refused (ours raises; Litestream goes on trying)."""
    try:
        replicator.barrier()
    except ChildError:
        replicator.kill()
        replicator.start()
    assert_heals(site, replicator)
