"""A short workload over every edge of ours between C and Python, for tools that watch memory.

Run as a script: ``python -m tests.helpers.c_edges``. It works in a directory below $TMPDIR and says nothing but "done".
"""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
import tempfile
import threading
from pathlib import Path

import ltxcore
from ltxcore import ltx
from ltxcore.blob_store import BlobStore, Options

from tests.helpers import readers

ROWS = 50


def opened(path: Path, **parameters: str | int) -> contextlib.closing[sqlite3.Connection]:
    uri = ltxcore.OSVFS().register().uri(path, **parameters)
    return contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=20))


def files(folder: Path) -> None:
    """Both journals, page checksums, a rollback that has spilled, temporary files, controls, a file that is none."""
    for journal in ("delete", "wal"):
        for cksm in (0, 1):
            with opened(folder / f"{journal}-{cksm}", cksm=cksm) as c:
                c.execute("PRAGMA cache_size = 5")
                c.execute(f"PRAGMA journal_mode = {journal}")
                c.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
                for sql in ("COMMIT", "ROLLBACK"):
                    c.execute("BEGIN")
                    c.executemany("INSERT INTO t (b) VALUES (randomblob(3000))", [()] * ROWS)
                    c.execute(sql)
                assert len(c.execute("SELECT a FROM t ORDER BY b").fetchall()) == ROWS
                for pragma in ("ltx_lock", "ltx_file", "ltx_shm", "checksum_verification", "integrity_check"):
                    c.execute(f"PRAGMA {pragma}").fetchall()
                c.execute("VACUUM")
    (folder / "folder").mkdir()
    with contextlib.suppress(sqlite3.OperationalError), opened(folder / "folder"):
        pass


def threads(folder: Path) -> None:
    """Connections of one database that come and go, readers and writers."""

    def work() -> None:
        for _ in range(5):
            with opened(folder / "threads") as c:
                c.execute("INSERT INTO t VALUES (1)")
                c.execute("SELECT count(*) FROM t").fetchall()

    with opened(folder / "threads") as c:
        c.execute("PRAGMA journal_mode = wal")
        c.execute("CREATE TABLE t (a)")
        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert c.execute("SELECT count(*) FROM t").fetchone() == (15,)


def forked(folder: Path) -> None:
    """A child that is refused what it inherits, and has a connection of its own."""
    with opened(folder / "forked") as c:
        c.execute("CREATE TABLE t (a)")
        if (pid := os.fork()) == 0:
            with contextlib.suppress(sqlite3.OperationalError):
                c.execute("SELECT * FROM t").fetchall()
            with opened(folder / "forked") as own:
                own.execute("INSERT INTO t VALUES (1)")
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert c.execute("SELECT a FROM t").fetchall() == [(1,)]


def sources() -> None:
    """Bytes, file objects, sources in sources, and one that fails."""
    content = readers.content(30)
    for source in (content, io.BytesIO(content)):
        with contextlib.closing(ltxcore.ReaderVFS(source).connect()) as c:
            assert readers.count(c) == 30
    assert readers.nested(False) == readers.nested(True) == readers.nested_close() == readers.ROWS

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 0:
                raise OSError("no disk")
            return super().read(size)

    reader = ltxcore.ReaderVFS(Failing(content))
    with contextlib.closing(reader.connect()) as c, contextlib.suppress(sqlite3.OperationalError):
        c.execute("SELECT * FROM t").fetchall()
    assert isinstance(reader.take_error(), OSError)


def replicated(folder: Path) -> None:
    """A DB beside a connection, its files through file objects, and a restore."""
    path, replica, restored = folder / "app", folder / "replica", folder / "restored"
    with opened(path) as c:
        c.execute("PRAGMA journal_mode = wal")
        c.execute("CREATE TABLE t (a)")
        with ltxcore.DB(path, replica=replica) as db:
            for number in range(5):
                c.execute("INSERT INTO t VALUES (?)", (number,))
                db.wait(db.sync().txid, timeout=60)
    ltxcore.restore(replica, restored, integrity_check="full")
    with opened(restored) as c:
        assert c.execute("SELECT count(*) FROM t").fetchone() == (5,)
    for file in replica.rglob("*.ltx"):
        with ltx.open(io.BytesIO(file.read_bytes())) as decoder:
            assert len(list(decoder)) > 0


def blobs(folder: Path) -> None:
    with BlobStore(folder / "blobs", options=Options(durability="cache", chunk_size=1000)) as store:
        store["a"] = bytes(10_000)
        assert store["a"] == bytes(10_000)
        del store["a"]


def main(folder: Path) -> None:
    files(folder)
    threads(folder)
    forked(folder)
    sources()
    replicated(folder)
    blobs(folder)
    print("done")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="ltxcore-") as name:
        main(Path(name))
