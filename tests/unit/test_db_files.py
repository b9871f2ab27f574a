"""What a DB does with files that are not its own, or that are other than they seem."""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, OSVFS, TXID, FileClient, _ltxcore
from ltxcore.errors import DatabaseError, NotReadyError

from tests.unit.databases import eventually, insert, restored
from tests.unit.memory import run_sql


def test_files_of_others_in_the_meta_directory_stay(tmp_path: Path) -> None:
    """Every *.tmp below it was deleted, at any depth, and through symbolic links to other places too."""
    state, outside = tmp_path / "state", tmp_path / "outside"
    (state / "documents").mkdir(parents=True)
    (state / "ltxcore").mkdir()
    outside.mkdir()
    others = [
        state / "documents/draft.tmp",
        state / "upload.tmp",
        outside / "precious.tmp",
        state / "ltxcore/notes.tmp",
        state / "ltxcore/chain-compared-.tmp",
        state / "ltxcore/chain-compared-1a.tmp",
    ]
    for path in others:
        path.write_text("not yours")
    (state / "link").symlink_to(outside)
    ours = [
        state / f"ltxcore/{name}.tmp" for name in ("page-checksums", "chain-compared", "chain-checksums-12")
    ]
    for path in ours:
        path.write_text("left behind by a crash")
    with closing(sqlite3.connect(tmp_path / "app.db")) as application:
        application.execute("CREATE TABLE t (v)")
    with ltxcore.DB(tmp_path / "app.db", replica=tmp_path / "replica", meta_path=state) as db:
        db.wait(timeout=10)
    assert [path.read_text() for path in others] == ["not yours"] * len(others)
    assert not any(path.exists() for path in ours)


def test_page_checksums_go_wherever_the_pages_go(tmp_path: Path) -> None:
    """Pages from the WAL have none, so that no copy could be read over the file layer that verifies them."""
    vfs, replica = OSVFS().register(), tmp_path / "replica"

    def rows(path: Path) -> list[tuple[int]]:
        with closing(vfs.connect(str(path), checksums=True)) as reader:
            assert reader.execute("PRAGMA checksum_verification").fetchone() in ((1,), ("1",))
            assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return reader.execute("SELECT count(*) FROM t").fetchall()

    with closing(vfs.connect(str(tmp_path / "app.db"), checksums=True, isolation_level=None)) as application:
        application.execute("PRAGMA journal_mode = wal")
        application.execute("CREATE TABLE t (v)")
        with ltxcore.DB(tmp_path / "app.db", replica=replica) as db:
            for _ in range(3):
                application.execute("INSERT INTO t VALUES (hex(randomblob(3000)))")
                db.wait(timeout=10)
            ltxcore.restore(replica, tmp_path / "increments.db")
            assert rows(tmp_path / "increments.db") == [(3,)]
            db.snapshot()
            ltxcore.restore(replica, tmp_path / "snapshot.db", journal_mode="delete")
            assert rows(tmp_path / "snapshot.db") == [(3,)]
            with ltxcore.follow(replica, tmp_path / "followed.db", interval=0.05) as followed:
                application.execute("INSERT INTO t VALUES (1)")
                followed.wait(db.wait(timeout=10).txid, timeout=10)
                assert rows(tmp_path / "followed.db") == [(4,)]
        with ltxcore.DB(tmp_path / "app.db", replica=replica) as db:
            application.execute("INSERT INTO t VALUES (2)")
            db.wait(timeout=10)
            assert db.status().full_syncs == 0


def test_snapshots_beside_a_writer_that_never_pauses_all_work(tmp_path: Path) -> None:
    """Some failed with a missing file, the engine was opened anew, and its WAL grew."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as application:
        application.execute("PRAGMA journal_mode = wal")
        application.execute("PRAGMA synchronous = normal")
        application.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        application.executemany("INSERT INTO t VALUES (?, hex(randomblob(300)))", ((n,) for n in range(1500)))
        with ltxcore.DB(path, replica=tmp_path / "replica", min_checkpoint_page_n=50) as db:
            db.wait(timeout=10)
            for n in range(40):
                for at in range(40):
                    application.execute(
                        "UPDATE t SET v = hex(randomblob(300)) WHERE id = ?", (n * at % 1500,)
                    )
                db.snapshot()
            assert db.status().diff_syncs == 0
            db.wait(timeout=10)
        expected = application.execute("SELECT * FROM t").fetchall()
    ltxcore.restore(tmp_path / "replica", tmp_path / "out.db", integrity_check="full")
    with closing(sqlite3.connect(tmp_path / "out.db")) as restored:
        assert restored.execute("SELECT * FROM t").fetchall() == expected


def test_an_application_without_a_busy_handler_that_pauses_meets_hardly_a_lock(tmp_path: Path) -> None:
    """4 to 11 % of its transactions failed: the write lock was taken whenever the WAL had its usual length."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as application:
        application.execute("PRAGMA journal_mode = wal")
        application.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        application.executemany("INSERT INTO t VALUES (?, hex(randomblob(200)))", ((n,) for n in range(500)))
        with ltxcore.DB(path, replica=tmp_path / "replica", min_checkpoint_page_n=200) as db:
            db.wait(timeout=10)
            refused = 0
            with closing(sqlite3.connect(":memory:")) as pause:
                for n in range(150):
                    application.execute("BEGIN")
                    application.execute("SELECT v FROM t WHERE id = ?", (n,)).fetchone()
                    for _ in range(60):
                        pause.execute("SELECT hex(randomblob(20000))").fetchone()  # some milliseconds
                    try:
                        application.execute("UPDATE t SET v = hex(randomblob(200)) WHERE id = ?", (n,))
                    except sqlite3.OperationalError:
                        refused += 1
                    application.execute("COMMIT")
    # None where the pauses are seen, which a machine with other work may miss.
    assert refused <= 3


def test_a_snapshot_that_has_no_directory_is_an_error_of_ours(tmp_path: Path) -> None:
    """The meta directory may be removed at any moment; it was a plain FileNotFoundError without a name."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as application:
        application.execute("CREATE TABLE t (v)")
        engine = _ltxcore.Database(str(tmp_path / "app.db"))
        engine.open()
        with pytest.raises(DatabaseError, match="nowhere/snapshot"):
            engine.snapshot(str(tmp_path / "nowhere/snapshot"))
        engine.close()


@pytest.mark.parametrize("act", ["chmod", "moved and back"])
def test_what_came_before_a_snapshot_does_not_fail_it(database: Path, replica: Path, act: str) -> None:
    """It was said that the file was written while the snapshot was made."""
    with ltxcore.DB(database, replica=replica, monitor_interval=60) as db:
        db.wait(timeout=10)
        if act == "chmod":
            database.chmod(0o640)
        else:
            database.rename(database.with_name("away"))
            database.with_name("away").rename(database)
        assert db.snapshot().max_txid >= 1


def test_a_snapshot_of_a_history_that_is_over_is_not_kept(
    database: Path, replica: Path, tmp_path: Path
) -> None:
    """Its TXIDs are used again, for something else, when the meta directory is lost while it is uploaded."""

    class Losing(FileClient):
        def write_ltx_path(
            self, level: int, min_txid: TXID, max_txid: TXID, path: str | os.PathLike[str]
        ) -> ltxcore.FileInfo:
            kept = shutil.copy(path, tmp_path / "kept")
            if level == 9:
                replica.rename(tmp_path / "away")
                shutil.copytree(tmp_path / "older", replica)
                shutil.rmtree(db.meta_path)
                insert(database, 7)
                eventually(lambda: db.meta_path.exists() and db.pos.txid > 0)
            return super().write_ltx_path(level, min_txid, max_txid, kept)

    with DB(database, replica=Losing(replica)) as db:
        db.wait(timeout=10)
        shutil.copytree(replica, tmp_path / "older")
        for value in range(4):
            insert(database, value)
            db.wait(timeout=10)
        with pytest.raises(DatabaseError, match="begun anew"):
            db.snapshot()
        assert not list((replica / "ltx").glob("9/*.ltx"))
        insert(database, 8)
        db.wait(timeout=10)
    assert restored(FileClient(replica), tmp_path) == [0, 1, 2, 3, 7, 8]


def test_a_database_that_was_emptied_is_gone(database: Path, replica: Path) -> None:
    """`close()` said nothing of what was not uploaded, and `wait()` never returned."""
    db = DB(database, replica=replica)
    db.open()
    txid = db.wait(timeout=10).txid
    os.truncate(database, 0)
    with pytest.raises(NotReadyError, match="is empty"):
        db.wait(txid + 1)
    with pytest.raises(NotReadyError, match="is empty"):
        db.close()


def test_a_wal_that_goes_after_a_backup_in_rollback_mode_came_locks_nobody_out(tmp_path: Path) -> None:
    """With it SQLite took the database for one in WAL mode; without it everybody else waited for our locks, for ever."""
    path, wal = tmp_path / "app.db", tmp_path / "app.db-wal"
    run_sql(path, "CREATE TABLE t (x)")
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("PRAGMA journal_mode = wal")
        other.execute("CREATE TABLE t (x)")
        # A header, and no frame that is whole.
        wal.write_bytes((tmp_path / "other.db-wal").read_bytes()[:32] + bytes(4120))
    with DB(path, replica=tmp_path / "replica") as db:
        db.wait(timeout=10)
        wal.unlink()
        time.sleep(0.2)
        run_sql(path, "PRAGMA journal_mode = wal", "INSERT INTO t VALUES (1)")
        db.wait(timeout=10)
    assert restored(FileClient(tmp_path / "replica"), tmp_path) == [1]


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_database_that_comes_right_before_the_end_is_uploaded(tmp_path: Path, journal: str) -> None:
    """Its application may still be about to switch it to WAL mode, which was waited for until it was too late."""
    for number in range(3):
        path, replica = tmp_path / f"{number}.db", tmp_path / f"replica-{number}"
        with DB(path, replica=replica):
            run_sql(
                path, f"PRAGMA journal_mode = {journal}", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)"
            )
        ltxcore.restore(replica, tmp_path / f"copy-{number}.db")
        with closing(sqlite3.connect(tmp_path / f"copy-{number}.db")) as copy:
            assert copy.execute("SELECT x FROM t").fetchall() == [(1,)]
