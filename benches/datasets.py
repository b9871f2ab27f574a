"""The databases and replicas that are measured on, the same for both programs."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benches import tools

from tests.helpers.v03_history import History

TABLE = "CREATE TABLE entry (id INTEGER PRIMARY KEY, token TEXT NOT NULL, note TEXT NOT NULL)"
INSERT = "INSERT INTO entry (token, note) VALUES (?, ?)"
UPDATE = "UPDATE entry SET token = ?, note = ? WHERE id = ?"
#: About what a row takes in the file, for a first guess at how many are needed.
ROW_BYTES = 204
NOTE_LENGTH = 110
PHRASES = (
    "the order was confirmed by the customer and paid in full ",
    "waiting for the carrier to collect it from the warehouse ",
    "left with a neighbour, as nobody opened at the address ",
    "returned to the sender because the address is unknown ",
)
#: Rows that one transaction of a chain of L0 files changes, most of them on a page of their own: about 100 kB.
ROWS_CHANGED = 25
#: Segments of one WAL file in a v0.3 history.
SEGMENTS_IN_WAL = 100


def row_source(seed: int) -> Iterator[tuple[str, str]]:
    """Rows without end: 80 hexadecimal digits that no compressor can do much with, and ordinary text."""
    rng = random.Random(seed)
    notes = [(first + second)[:NOTE_LENGTH] for first in PHRASES for second in PHRASES]
    while True:
        yield rng.randbytes(40).hex(), rng.choice(notes)


def empty_database(path: Path) -> None:
    """A database in WAL mode with one row."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute(TABLE)
        connection.execute(INSERT, next(row_source(seed=1)))


def filled_database(path: Path, megabytes: float) -> None:
    """A database in WAL mode of about this size, with nothing left in its WAL."""
    rows = row_source(seed=1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = off")
        connection.execute("PRAGMA synchronous = off")
        connection.execute(TABLE)
        while (size := file_size(path)) < megabytes * 1e6:
            count = max(1000, int((megabytes * 1e6 - size) / ROW_BYTES))
            connection.execute("BEGIN")
            connection.executemany(INSERT, (next(rows) for _ in range(count)))
            connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = wal")


def file_size(path: Path) -> int:
    """Bytes of a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def forget(db: Path, replica: Path) -> None:
    """Remove a replica and all local state of it; both programs keep that in the same place."""
    shutil.rmtree(db.with_name(f".{db.name}-litestream"), ignore_errors=True)
    shutil.rmtree(replica, ignore_errors=True)


def remove_database(path: Path) -> None:
    """Remove a database with its companions."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def snapshot_replica(db: Path, replica: Path) -> float:
    """A replica with one file, a snapshot of the database that Litestream wrote; its part of the database's size."""
    argv = [tools.program("litestream"), "replicate", "-once", "-force-snapshot", str(db), tools.url(replica)]
    tools.run(argv, replica.with_name("snapshot.log"))
    shutil.rmtree(replica / "ltx" / "0")
    shutil.rmtree(db.with_name(f".{db.name}-litestream"))
    (snapshot,) = replica.glob("ltx/9/*.ltx")
    return file_size(snapshot) / file_size(db)


def chain_replica(db: Path, replica: Path, count: int) -> None:
    """A replica with an L0 file of the whole database, and one for each of `count` transactions after it.

    The files are ours, because our library can be told to sync after each transaction. Litestream reads them as its
    own, and the databases that both make of them are compared before anything is timed.
    """
    rng, rows = random.Random(3), row_source(seed=3)
    argv = tools.python_line("library", "follow", db, tools.url(replica))
    with (
        contextlib.closing(sqlite3.connect(db, isolation_level=None)) as connection,
        Follower(argv) as follower,
    ):
        (highest,) = connection.execute("SELECT max(id) FROM entry").fetchone()
        for _ in range(count):
            connection.execute("BEGIN")
            for _ in range(ROWS_CHANGED):
                connection.execute(UPDATE, (*next(rows), rng.randint(1, highest)))
            connection.execute("COMMIT")
            follower.sync()
    found = len(list(replica.glob("ltx/0/*.ltx")))
    if found != count + 1:
        raise tools.BenchError(f"the chain has {found} files instead of {count + 1}")


def legacy_replica(db: Path, replica: Path, count: int) -> None:
    """A replica in the layout of Litestream 0.3: a snapshot, and a WAL segment for each of `count` transactions after it."""
    rng, rows = random.Random(3), row_source(seed=3)
    with History(db, replica) as history:
        history.snapshot()
        (highest,) = history.connection.execute("SELECT max(id) FROM entry").fetchone()
        for number in range(count):
            if number and number % SEGMENTS_IN_WAL == 0:
                history.next_wal()
            history.connection.execute("BEGIN")
            for _ in range(ROWS_CHANGED):
                history.connection.execute(UPDATE, (*next(rows), rng.randint(1, highest)))
            history.connection.execute("COMMIT")
            history.segment()


class Follower:
    """The process of `benches.library follow`."""

    def __init__(self, argv: list[str]) -> None:
        self._process = subprocess.Popen(
            argv,
            cwd=tools.ROOT,
            env=tools.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> Follower:
        try:
            self._answer()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def sync(self) -> None:
        """Have one L0 file made of what is committed."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._answer()

    def _answer(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise tools.BenchError("the follower ended by itself")

    def __exit__(self, *exc_info: object) -> None:
        """It ends, after its last upload, when its input does."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(60)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        if code != 0 and exc_info[0] is None:
            raise tools.BenchError(f"the follower ended with exit code {code}")
