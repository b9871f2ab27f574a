"""`python -m tests.helpers.vfs_writer DB NAME VFS JOURNAL WORK`: commits for ever, and says so after each commit.

Commit n of a writer is row (NAME, n), and ten transfers between accounts whose sum stays 0; so a commit that is torn, lost or
there twice shows. The number goes to stdout as four bytes, unbuffered, once the commit has returned. WORK is one of

* `commits`;
* `checkpoints`, of every mode, in between;
* `reopens`, so that it is again and again the first and the last to have the database;
* `pauses`, so that others get a turn: SQLite's locks know no queue, and one that never pauses starves the rest.
"""

import itertools
import os
import random
import sqlite3
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ltxcore

ACK = struct.Struct("=I")
ACCOUNTS = 400
MODES = ("PASSIVE", "FULL", "RESTART", "TRUNCATE")


def prepare(path: Path, journal: str) -> None:
    c = sqlite3.connect(path, isolation_level=None)
    c.execute(f"PRAGMA journal_mode = {journal}")
    c.execute("BEGIN")
    c.execute("CREATE TABLE entry (writer TEXT, n INTEGER, body BLOB, PRIMARY KEY (writer, n)) WITHOUT ROWID")
    c.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER, body BLOB)")
    c.executemany("INSERT INTO account VALUES (?, 0, zeroblob(300))", ((n,) for n in range(ACCOUNTS)))
    c.execute("COMMIT")
    c.close()


def uri(path: Path, vfs: str) -> str:
    if vfs != "unix":
        ltxcore.OSVFS(name=vfs).register()
    return f"{path.as_uri()}?vfs={vfs}"


def connect(path: Path, vfs: str, journal: str) -> sqlite3.Connection:
    c = sqlite3.connect(uri(path, vfs), uri=True, isolation_level=None, timeout=10)
    insist(c, f"PRAGMA journal_mode = {journal}")
    c.execute("PRAGMA synchronous = FULL")
    c.execute("PRAGMA cache_size = 8")  # so small that a transaction spills, and needs its lock early
    return c


def insist(c: sqlite3.Connection, statement: str) -> list[Any]:
    """Again and again while somebody else is at it: a reader may keep a commit waiting, and a killed writer's journal too."""
    while True:
        try:
            return c.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise


def commit(c: sqlite3.Connection, name: str, n: int) -> None:
    insist(c, "BEGIN IMMEDIATE")
    c.execute("INSERT INTO entry VALUES (?, ?, randomblob(200))", (name, n))
    for _ in range(10):
        amount = random.randrange(100)
        moves = [(change, random.randrange(ACCOUNTS)) for change in (amount, -amount)]
        c.executemany("UPDATE account SET balance = balance + ?, body = randomblob(300) WHERE id = ?", moves)
    insist(c, "COMMIT")


def done(c: sqlite3.Connection, name: str) -> int:
    """The newest commit of a writer; an error if there is a hole before it."""
    ((count, newest),) = insist(c, f"SELECT count(*), max(n) FROM entry WHERE writer = '{name}'")
    assert count == (newest or 0), f"{count} of {newest} commits of {name}"
    return int(count)


def work(path: Path, name: str, vfs: str, journal: str, kind: str) -> Iterator[int]:
    """The numbers of commits that have returned."""
    c = connect(path, vfs, journal)
    for n in itertools.count(done(c, name) + 1):
        commit(c, name, n)
        yield n
        if kind == "reopens":
            c.close()
            c = connect(path, vfs, journal)
        elif kind == "pauses":
            time.sleep(random.uniform(0, 0.01))
        elif kind == "checkpoints" and n % 3 == 0:
            c.execute(f"PRAGMA wal_checkpoint({random.choice(MODES)})")


if __name__ == "__main__":
    database, *rest = sys.argv[1:]
    for number in work(Path(database), *rest):
        os.write(1, ACK.pack(number))
