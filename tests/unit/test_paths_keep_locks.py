"""Functions that take a path, called on a live database of the same process by mistake, do not cost it its locks.

Locks of SQLite's own file layer belong to the process, and closing any descriptor of a file drops them all.
"""

from __future__ import annotations

import fcntl
import io
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

import ltxcore
from ltxcore import _ltxcore, config, ltx, vfs
from ltxcore.blob_store import BlobStore
from ltxcore.errors import DatabaseBusyError, NotLTXError

PROBE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError:
    print("held")
else:
    print("lost")
"""

Call = Callable[[Path], object]


def snapshot(directory: Path) -> bytes:
    out = io.BytesIO()
    path = directory / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (v)")
    ltx.encode_database(path, out)
    return out.getvalue()


def put_file(*paths: object) -> None:
    """Into a store beside the first one."""
    with BlobStore(Path(str(paths[0])).with_name("blobs.db")) as store:
        for path in paths:
            store.put_file("backup", str(path))


def read_snapshot(path: Path) -> None:
    """By a link, since only what has this suffix is opened."""
    (link := path.with_suffix(".ltx")).symlink_to(path)
    with pytest.raises(NotLTXError):
        ltxcore.ReaderVFS(link)


CALLS: dict[str, Call] = {
    "checksum_database": ltx.checksum_database,
    "encode_database": lambda path: ltx.encode_database(path, io.BytesIO()),
    "apply": lambda path: ltx.apply(io.BytesIO(snapshot(path.parent)), path),
    "open": ltx.open,
    "open_index": lambda path: ltx.open(f"{path}-shm"),
    "read_page_index": ltx.read_page_index,
    "compact": lambda path: ltx.compact([path, path], io.BytesIO()),
    "load": config.load,
    "reader": read_snapshot,
    "write_checksums": vfs.write_checksums,
    "probe": lambda path: vfs.probe(path.parent),
    "put_file": lambda path: put_file(path, f"{path}-shm"),
}


@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_write_lock_is_still_held(tmp_path: Path, call: Call, mode: str) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE t (v)")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES (1)")
        with suppress(ltxcore.Error, OSError, ValueError):
            call(path)
        probe = [sys.executable, "-c", PROBE, str(path)]
        done = subprocess.run(probe, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.strip() == "held"
        assert path.with_name("app.db-wal").exists() == (mode == "wal")
        connection.execute("COMMIT")


LOCKER = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print("held")
    else:
        print("lost")
"""

READS: dict[str, Call] = {
    "checksum_database": ltx.checksum_database,
    "open": ltx.open,
    "read_page_index": ltx.read_page_index,
    "compact": lambda path: ltx.compact([path, path], io.BytesIO()),
    "load": config.load,
    "reader": read_snapshot,
    "put_file": put_file,
}


# What is in a file does not tell whether it has locks: it may be encrypted, or the first page comes last.
@pytest.mark.parametrize("content", [b"", b"x", bytes(8192), b"\x18\xe2\x2d", b"\xa7" * 8192, b"dbs: []\n"])
@pytest.mark.parametrize("call", READS.values(), ids=READS)
def test_a_lock_is_kept_whatever_the_file_holds(tmp_path: Path, call: Call, content: bytes) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(content)
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(ltxcore.Error, OSError, ValueError):
            call(path)
        locker = [sys.executable, "-c", LOCKER, str(path)]
        done = subprocess.run(locker, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "held"


def test_a_new_database_whose_first_page_is_not_written_yet_keeps_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 5")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE t (v)")
        connection.executemany("INSERT INTO t VALUES (?)", [(b"x" * 900,)] * 500)
        assert _ltxcore.read_file(path)[:16] == bytes(16)
        done = subprocess.run(
            [sys.executable, "-c", PROBE, str(path)], capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout.strip() == "held"
        connection.execute("COMMIT")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_live_database_is_not_written_to(tmp_path: Path) -> None:
    path, file = tmp_path / "app.db", snapshot(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE mine (v)")
        before = path.read_bytes()
        with pytest.raises(DatabaseBusyError, match="in use"):
            ltx.apply(io.BytesIO(file), path)
        assert path.read_bytes() == before
    (tmp_path / "link.db").symlink_to(path)
    for target in (path, tmp_path / "link.db", tmp_path / "new.db"):
        assert ltx.apply(io.BytesIO(file), target).txid == 1
    assert path.read_bytes() == (tmp_path / "new.db").read_bytes()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the system does not list descriptors")
def test_files_that_are_no_database_are_closed_at_once(tmp_path: Path) -> None:
    path, settings = tmp_path / "1.ltx", tmp_path / "ltxcore.yml"
    path.write_bytes(snapshot(tmp_path))
    settings.write_text("dbs: []\n")
    ltx.open(path)
    ltx.read_page_index(path)
    config.load(settings)
    with BlobStore(tmp_path / "blobs.db") as store:
        store.put_file("a", path)
        assert store.get("a") == path.read_bytes()
    numbers = os.listdir("/proc/self/fd")
    links = [
        os.readlink(f"/proc/self/fd/{number}")
        for number in numbers
        if os.path.exists(f"/proc/self/fd/{number}")
    ]
    assert not {str(path), str(settings)} & set(links)


def test_a_configuration_may_come_from_a_pipe(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"dbs: []\n")
    os.close(writer)
    assert config.load(f"/dev/fd/{reader}").dbs == []
    os.close(reader)
    with pytest.raises(IsADirectoryError) as caught:
        config.load(tmp_path)
    assert caught.value.filename == str(tmp_path)
