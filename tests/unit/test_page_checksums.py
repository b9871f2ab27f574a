"""Page checksums beside connections that know nothing of them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

import ltxcore
from ltxcore import OSVFS, _ltxcore, vfs
from ltxcore.blob_store import BlobStore, Options
from ltxcore.errors import DatabaseBusyError, DatabaseError

READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT 1 FROM t").fetchone()
print("ready", flush=True)
input()
connection.close()
"""

Use = Callable[[Path, sqlite3.Connection], None]


def write(connection: sqlite3.Connection, times: int) -> None:
    connection.execute("PRAGMA synchronous = off")
    for n in range(times):
        connection.execute("INSERT INTO t VALUES (NULL, randomblob(300))")
        connection.execute("UPDATE t SET b = randomblob(300) WHERE a = ?", (n // 2 + 1,))


def make(path: Path, mode: str = "wal") -> sqlite3.Connection:
    connection = OSVFS().register().connect(path, checksums=True, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    return connection


def check(path: Path) -> None:
    with closing(OSVFS().register().connect(path, checksums=True)) as connection:
        assert connection.execute("PRAGMA checksum_verification").fetchone() == ("1",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def beside_db(path: Path, connection: sqlite3.Connection) -> None:
    with ltxcore.DB(path, replica=path.parent / "replica", min_checkpoint_page_n=50) as db:
        write(connection, 500)
        db.checkpoint("FULL")
        db.wait(timeout=30)
    connection.close()
    ltxcore.restore(path.parent / "replica", path.parent / "restored.db", integrity_check="full")
    check(path.parent / "restored.db")


def beside_plain(path: Path, connection: sqlite3.Connection) -> None:
    write(connection, 50)
    with closing(OSVFS().connect(path, isolation_level=None)) as other:
        write(other, 50)
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    connection.close()


def beside_stock_reader(path: Path, connection: sqlite3.Connection) -> None:
    write(connection, 50)
    command = [sys.executable, "-c", READER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        connection.close()
        child.communicate(b"\n", timeout=60)


def beside_stock_checkpoint(path: Path, connection: sqlite3.Connection) -> None:
    write(connection, 50)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    connection.close()


@pytest.mark.parametrize("use", [beside_db, beside_plain, beside_stock_reader, beside_stock_checkpoint])
def test_a_checkpoint_by_others_does_no_harm(tmp_path: Path, use: Use) -> None:
    path = tmp_path / "app.db"
    use(path, make(path))
    check(path)
    assert vfs.write_checksums(path) >= 0
    check(path)


def test_pages_that_a_stock_connection_moved_are_not_taken_for_changes(tmp_path: Path) -> None:
    """They lack the checksum that the replica has, and nothing else."""
    path = tmp_path / "app.db"
    with closing(make(path)) as connection, ltxcore.DB(path, replica=tmp_path / "replica") as db:
        for _ in range(3):
            write(connection, 50)
            db.wait(timeout=30)
            with closing(sqlite3.connect(path)) as stock:
                stock.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            db.sync()
        status = db.status()
        assert (status.diff_syncs, status.full_syncs) == (0, 1), status.reason
    with ltxcore.DB(path, replica=tmp_path / "replica") as db:
        db.wait(timeout=30)
        assert (db.status().diff_syncs, db.status().full_syncs) == (0, 0), db.status().reason
    ltxcore.restore(tmp_path / "replica", tmp_path / "restored.db", integrity_check="full")
    check(tmp_path / "restored.db")
    assert vfs.write_checksums(tmp_path / "restored.db") == 0


def test_what_a_stock_connection_wrote_is_found_said_and_mended(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    make(path).close()
    with closing(OSVFS().connect(path, isolation_level=None)) as plain:
        write(plain, 3)
    with closing(sqlite3.connect(path, isolation_level=None)) as stock:
        write(stock, 50)
        with pytest.raises(DatabaseBusyError, match="in use"):
            vfs.write_checksums(path)
    with closing(OSVFS().connect(path, checksums=True)) as connection:
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("SELECT sum(length(b)) FROM t").fetchone()
        assert caught.value.sqlite_errorname == "SQLITE_IOERR_DATA"
        assert int(connection.execute("PRAGMA ltx_unsound_page").fetchone()[0]) > 0
    assert vfs.write_checksums(path) > 0
    assert vfs.write_checksums(path) == 0
    check(path)


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("size", [512, 4096, 65536])
def test_a_new_database_takes_its_settings(tmp_path: Path, size: int, mode: str) -> None:
    """Setting the page size was a MemoryError, and auto_vacuum stayed off."""
    path = tmp_path / "app.db"
    with closing(OSVFS().register().connect(path, checksums=True, isolation_level=None)) as connection:
        for setting in (f"page_size = {size}", "auto_vacuum = INCREMENTAL", f"journal_mode = {mode}"):
            connection.execute(f"PRAGMA {setting}").fetchall()
        assert int(connection.execute("PRAGMA page_size").fetchone()[0]) == size
        connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
        write(connection, 20)
        assert connection.execute("PRAGMA page_size").fetchone() == (size,)
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        connection.execute("PRAGMA page_size = 8192").fetchall()
        connection.execute("VACUUM")
    check(path)
    assert vfs.write_checksums(path) == 0


@pytest.mark.parametrize("size", [1024, 65536])
def test_a_large_backup_into_a_new_database_keeps_its_content(tmp_path: Path, size: int) -> None:
    """Pages that did not fit into the cache got checksums before it was known that the backup has no room for them."""
    with closing(sqlite3.connect(tmp_path / "source.db", isolation_level=None)) as source:
        source.execute(f"PRAGMA page_size = {size}")
        source.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
        source.execute("CREATE INDEX i ON t (b)")
        write(source, 300)
        expected = source.execute("SELECT * FROM t").fetchall()
        assert len(expected) == 300
        with closing(OSVFS().register().connect(tmp_path / "copy.db", checksums=True)) as copy:
            copy.execute("PRAGMA cache_size = 5")
            source.backup(copy, pages=7)
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert copy.execute("SELECT * FROM t").fetchall() == expected
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT * FROM t").fetchall() == expected


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_an_existing_database_is_given_checksums(tmp_path: Path, mode: str) -> None:
    """As docs/vfs.md says: `cksm=1` alone verifies nothing, not even after a VACUUM."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
        write(connection, 50)
    with closing(OSVFS().register().connect(path, checksums=True)) as connection:
        connection.execute("VACUUM")
        assert connection.execute("PRAGMA checksum_verification").fetchone() == ("0",)
    by_apsw = apsw.Connection(str(path), vfs=OSVFS().register(apsw).name)
    by_apsw.reserve_bytes(reserve=8)
    by_apsw.execute("VACUUM")
    by_apsw.close()
    check(path)
    assert vfs.write_checksums(path) == 0
    with closing(OSVFS().register().connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (50,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == (mode,)


def test_a_blob_store_over_our_file_layer_keeps_the_checksums(tmp_path: Path) -> None:
    apsw = pytest.importorskip("apsw", reason="only apsw can reserve bytes in a database that exists")
    path = tmp_path / "blobs.db"
    BlobStore(path).close()
    with closing(apsw.Connection(str(path))) as connection:
        connection.reserve_bytes(reserve=8)
        connection.execute("VACUUM")
    OSVFS().register()
    vfs.write_checksums(path)
    with BlobStore(path, options=Options(vfs="ltx-os")) as store:
        for n in range(200):
            store.put(str(n), bytes([n]) * 5000)
        for n in range(0, 200, 3):
            store.delete(str(n))
    assert vfs.write_checksums(path) == 0
    check(path)


def test_a_backup_takes_the_checksums_away_while_a_reader_holds_a_checkpoint_up(tmp_path: Path) -> None:
    path, copy = tmp_path / "app.db", tmp_path / "copy.db"
    layer = OSVFS().register()
    rows = [(n, b"x" * 900) for n in range(400)]
    with closing(sqlite3.connect(tmp_path / "plain.db", isolation_level=None)) as plain:
        plain.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
        plain.executemany("INSERT INTO t VALUES (?, ?)", rows)
        with closing(make(path)) as connection:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            plain.backup(connection)
            with closing(layer.connect(path, checksums=True, isolation_level=None)) as reader:
                reader.execute("BEGIN")
                assert reader.execute("SELECT * FROM t").fetchall() == rows
                connection.execute("CREATE TABLE y (a)")
                _, frames, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                assert 0 < moved < frames
                assert reader.execute("SELECT * FROM t").fetchall() == rows
                for suffix in ("", "-wal"):
                    copy.with_name(copy.name + suffix).write_bytes(_ltxcore.read_file(f"{path}{suffix}"))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with pytest.raises(DatabaseError, match="the WAL changes whether pages have checksums") as caught:
        vfs.write_checksums(copy)
    assert caught.value.path == str(copy)
    for database in (path, copy):
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert connection.execute("SELECT * FROM t").fetchall() == rows


def test_a_connection_from_before_the_database_leaves_no_stale_checksum_in_the_wal(tmp_path: Path) -> None:
    """It never saw the header in the file, so it did not know of checksums, and copied old ones into the pages it changed."""
    path = tmp_path / "app.db"
    files = OSVFS().register()
    with closing(files.connect(path, isolation_level=None)) as early:
        with closing(files.connect(path, checksums=True, isolation_level=None)) as maker:
            for statement in (
                "PRAGMA journal_mode = wal",
                "CREATE TABLE t (x)",
                "INSERT INTO t VALUES (1)",
                "PRAGMA wal_checkpoint(TRUNCATE)",
                "CREATE TABLE u (x)",
            ):
                maker.execute(statement).fetchall()
            early.execute("UPDATE t SET x = 2")
        with closing(sqlite3.connect(path)) as stock:
            stock.execute("SELECT * FROM t").fetchall()
            early.close()
            stock.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with closing(files.connect(path, checksums=True)) as checked:
        assert checked.execute("SELECT * FROM t").fetchall() == [(2,)]
