"""What breaks Litestream 0.5.17 on the side of the database, one test a failure; all of it must be harmless here.

`LTXCORE_TEST_SUBJECT=litestream` runs the same scripts against Litestream. Docstrings say what it does there. Its storage
side is in `test_baseline_d_storage.py`.
"""

import contextlib
import itertools
import os
import shutil
import sqlite3
import time
from collections.abc import Callable

import pytest

from tests.helpers import gap, ltxfile
from tests.helpers.app import App, digest
from tests.helpers.gap import MODES, Variant
from tests.helpers.healing import assert_heals, assert_heals_or_says_so, assert_typed, barrier_and_compare
from tests.helpers.process import ChildError
from tests.helpers.profiles import marks, sized
from tests.helpers.site import Site

pytestmark = [pytest.mark.process, *marks(120, 600)]


def other_database(site: Site, rows: int) -> str:
    """A database that is not the site's, complete in one file."""
    path = site.root / "other"
    with App(path) as app:
        app.insert(rows, size=300)
        app.checkpoint("TRUNCATE")
    return str(path)


def remove_sidecars(app: App) -> None:
    app.wal.unlink(missing_ok=True)
    app.shm.unlink(missing_ok=True)


@pytest.mark.parametrize("stop", ["kill", "term"])
def test_restart_gap_matrix(site: Site, stop: str) -> None:
    """Restarted while the application writes and checkpoints, in every mode, with and without automatic checkpoints.

    Litestream: silent data loss, no warning, `sync -wait` content. `test_restart_gap.py` goes on with this.
    """
    replicator = site.running()
    with site.app() as app:
        for autocheckpoint, mode, after in itertools.product((0, 1000), MODES, sized((3,), (1, 3, 20))):
            variant = Variant(
                stop, 40, gap_rows=30, checkpoints=(mode,), after_rows=after, autocheckpoint=autocheckpoint
            )
            assert gap.run(site, app, replicator, variant).problem == "", variant


def test_two_replicators(site: Site) -> None:
    """A second replicator on the same database and replica: it refuses, or both do no harm.

    Litestream runs both, and then nothing restores: "nonsequential page numbers in snapshot transaction".
    """
    first, second = site.running(), site.replicator()
    with site.app() as app:
        app.insert(50)
        first.barrier()
        refused = refusal(second.start)
        for number in range(30):
            app.insert(20)
            app.checkpoint(MODES[number % 2])
            if refused is None:
                refused = refusal(second.barrier)
            app.insert(1)
            first.barrier()
        if refused is not None:
            assert_typed(refused)
        second.kill()
        barrier_and_compare(site, first)
    ltxfile.assert_contiguous(site.replica)


def refusal(step: Callable[[], object]) -> ChildError | None:
    try:
        step()
    except ChildError as error:
        return error
    return None


def test_the_second_may_start_when_the_first_is_gone(site: Site) -> None:
    """Whatever keeps the second replicator out is no file that a crash leaves behind."""
    first = site.running()
    with site.app() as app:
        app.insert(50)
        first.barrier()
        first.kill()
        second = site.running()
        app.insert(50)
        barrier_and_compare(site, second)


def test_database_replaced_while_running(site: Site) -> None:
    """Another database is renamed over the file. Litestream restores a malformed database afterwards and says nothing."""
    replicator = site.running()
    app = site.app()
    app.insert(300, size=300)
    replicator.barrier()
    app.close()
    other = other_database(site, 700)
    remove_sidecars(app)
    os.replace(other, site.db)
    app.connect()
    app.insert(40)
    assert_heals(site, replicator)
    app.close()


@pytest.mark.parametrize("with_meta", [False, True], ids=["database", "database-and-meta"])
def test_database_replaced_while_stopped(site: Site, with_meta: bool) -> None:
    """Another database (and no meta directory) under the old name, on the old replica: new state, old history kept."""
    replicator = site.running()
    app = site.app()
    app.insert(300, size=300)
    known, before = replicator.barrier(), site.digest()
    replicator.stop()
    app.close()
    other = other_database(site, 700)
    remove_sidecars(app)
    os.replace(other, site.db)
    if with_meta:
        shutil.rmtree(replicator.meta)
    app.connect()
    app.insert(5)
    replicator.start()
    assert_heals(site, replicator)
    assert digest_at(site, known) == before
    app.close()


def digest_at(site: Site, txid: int) -> str:
    return digest(site.restored(txid=txid))


def test_database_deleted_and_recreated_while_running(site: Site) -> None:
    """The file goes away, and a new database comes under its name."""
    replicator = site.running()
    app = site.app()
    app.insert(100)
    replicator.barrier()
    app.close()
    site.db.unlink()
    remove_sidecars(app)
    time.sleep(0.3)  # so that the replicator may see that nothing is there
    app = site.app()
    app.insert(60)
    assert_heals(site, replicator)
    app.close()


def test_wal_deleted_while_running(site: Site) -> None:
    """Litestream and the application are stuck on I/O errors. We answer, and a restart at the latest makes it good."""
    replicator = site.running()
    app = site.app()
    app.insert(100)
    app.checkpoint("PASSIVE")
    app.insert(20)
    replicator.barrier()
    app.wal.unlink()
    with contextlib.suppress(sqlite3.Error):
        app.insert(5)
    with contextlib.suppress(ChildError):
        replicator.barrier(5)
    app.close()
    replicator.kill()
    app.connect()
    app.insert(40)
    replicator.start()
    assert_heals(site, replicator)
    app.close()


def test_wal_deleted_while_running_heals_by_itself(site: Site) -> None:
    """The same, but only the application starts again: the replicator has to let go of the WAL that is gone."""
    replicator = site.running()
    app = site.app()
    app.insert(100)
    app.checkpoint("PASSIVE")
    app.insert(20)
    replicator.barrier()
    app.close()
    app.wal.unlink()
    deadline = time.monotonic() + 20
    while True:
        try:
            app.connect()
            app.insert(40)
            break
        except sqlite3.Error as error:
            app.close()
            assert time.monotonic() < deadline, f"the application cannot write any more: {error}"
            time.sleep(0.2)
    assert_heals(site, replicator)
    app.close()


def test_wal_truncated_under_a_live_application(site: Site) -> None:
    """This destroys the application's database. We must not hang, the replica must still give the last good state,
    and the restored database must replicate on. Litestream is stuck with "invalid wal header magic"."""
    replicator = site.running()
    app = site.app()
    app.insert(100)
    known, before = replicator.barrier(), site.digest()
    os.truncate(app.wal, 0)
    with contextlib.suppress(sqlite3.Error):
        app.insert(20)
    try:
        replicator.barrier(5)
    except ChildError as error:
        assert_typed(error)
    app.close()
    replicator.kill()
    restored = site.restored(txid=known)
    assert digest_at(site, known) == before
    remove_sidecars(app)
    os.replace(restored, site.db)
    app.connect()
    app.insert(20)
    replicator.start()
    assert_heals_or_says_so(site, replicator)
    app.close()


def test_page_size_changed_while_stopped(site: Site) -> None:
    """VACUUM with another page size. Litestream is stuck for good: "unaligned wal offset", process alive, rows lost."""
    replicator = site.running()
    app = site.app()
    app.insert(200)
    known, before = replicator.barrier(), site.digest()
    replicator.stop()
    app.execute("PRAGMA journal_mode = delete")
    app.execute("PRAGMA page_size = 8192")
    app.execute("VACUUM")
    app.execute("PRAGMA journal_mode = wal")
    assert app.execute("PRAGMA page_size") == [(8192,)]
    app.insert(40)
    replicator.start()
    assert_heals(site, replicator)
    app.insert(40)
    barrier_and_compare(site, replicator)
    assert digest_at(site, known) == before
    app.close()


def test_meta_directory_removed_while_running(site: Site) -> None:
    """Litestream is stuck: "cannot verify wal state", 40 rows not replicated."""
    replicator = site.running()
    with site.app() as app:
        app.insert(100)
        replicator.barrier()
        shutil.rmtree(replicator.meta)
        app.insert(40)
        assert_heals(site, replicator)
        app.insert(40)
        barrier_and_compare(site, replicator)


@pytest.mark.parametrize("statement", ["PRAGMA journal_mode = delete", "PRAGMA page_size = 8192"])
def test_format_change_while_running(site: Site, statement: str) -> None:
    """SQLite refuses while a replicator is connected; if it does not, nothing may be lost by it either."""
    replicator = site.running()
    with site.app() as app:
        app.insert(100)
        replicator.barrier()
        with contextlib.suppress(sqlite3.OperationalError):
            app.execute(statement)
            app.execute("VACUUM")
        app.execute("PRAGMA journal_mode = wal")
        app.insert(20)
        barrier_and_compare(site, replicator)


def test_rollback_journal_while_stopped(site: Site) -> None:
    """Rows are written in another journal mode while nobody replicates."""
    replicator = site.running()
    with site.app() as app:
        app.insert(100)
        replicator.barrier()
        replicator.stop()
        app.execute("PRAGMA journal_mode = delete")
        app.insert(30)
        replicator.start()
        assert_heals(site, replicator)
        app.insert(10)
        barrier_and_compare(site, replicator)
