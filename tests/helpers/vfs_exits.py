"""`python -m tests.helpers.vfs_exits HOW DB REPLICA`: ends the interpreter with connections over the OS VFS open.

Row 1 is committed, row 2 is in a transaction that never is.
"""

import faulthandler
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ltxcore

# Until the interpreter takes modules apart.
kept: list[Any] = []


def connect(path: Path, journal: str = "wal") -> sqlite3.Connection:
    connection = ltxcore.OSVFS().register().connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
    connection.execute("INSERT INTO t VALUES (1)")
    kept.append(connection)
    return connection


def begin(connection: sqlite3.Connection) -> None:
    """So much that pages spill into the database or its log before the commit."""
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO t VALUES (2)")
    connection.execute("CREATE TABLE spill AS SELECT randomblob(100000) FROM t")


def idle(path: Path, _replica: Path) -> None:
    connect(path)


def transaction(path: Path, _replica: Path) -> None:
    begin(connect(path))


def rollback_journal(path: Path, _replica: Path) -> None:
    begin(connect(path, "delete"))


def cursor(path: Path, _replica: Path) -> None:
    """In the middle of a query."""
    kept.append(connect(path).execute("SELECT x FROM t UNION ALL SELECT x FROM t"))
    next(kept[-1])


def cycle(path: Path, _replica: Path) -> None:
    """Only the collector finds it, at the very end."""
    begin(connect(path))
    ring: list[Any] = [kept.pop()]
    ring.append(ring)


def threads(path: Path, _replica: Path) -> None:
    """Daemons that are in SQLite when the interpreter ends."""
    connect(path)
    busy = threading.Barrier(4)

    def read_for_ever() -> None:
        own = ltxcore.OSVFS().connect(path, isolation_level=None)
        busy.wait()
        while True:
            own.execute("SELECT count(*) FROM t").fetchone()

    for _ in range(3):
        threading.Thread(target=read_for_ever, daemon=True).start()
    busy.wait()


def with_db(path: Path, replica: Path) -> None:
    """The DB is closed at exit, and brings into its replica what is committed."""
    connect(path)
    kept.append(ltxcore.DB(path, replica=replica.as_uri(), monitor_interval=0.02).open())
    begin(connect(path))


WAYS: dict[str, Callable[[Path, Path], None]] = {
    way.__name__: way for way in (idle, transaction, rollback_journal, cursor, cycle, threads, with_db)
}

if __name__ == "__main__":
    faulthandler.enable()
    faulthandler.dump_traceback_later(20)
    WAYS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
