"""What tests of v0.3 histories share: a small one, and what is restored of it at each moment."""

import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tests.helpers.v03_history import History

FIRST = "00000000000000aa"


@dataclass
class Made:
    """A replica, and the bytes of the database after each of its objects."""

    path: Path
    states: dict[datetime, bytes] = field(default_factory=dict)
    # The state at the end of a WAL file.
    indexes: dict[int, bytes] = field(default_factory=dict)

    @property
    def newest(self) -> bytes:
        return self.states[max(self.states)]

    def note(self, history: History) -> None:
        self.states[history.time()] = self.indexes[history.index] = content(history)


def content(history: History) -> bytes:
    """The database with its WAL in it. A copy, as this process has a connection."""
    copy = history.db.with_name("copy")
    for suffix in ("", "-wal"):
        subprocess.run(["cp", f"{history.db}{suffix}", f"{copy}{suffix}"], check=True)
    with closing(sqlite3.connect(copy)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = copy.read_bytes()
    copy.unlink()
    return found


def fill(history: History, made: Made, *, wals: int = 3, segments: int = 3) -> None:
    """WAL files of some segments each; the second one has a snapshot, too."""
    history.connection.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b)")
    for number in range(wals):
        if number:
            history.next_wal()
        if number < 2:
            history.snapshot()
            made.note(history)
        for _ in range(segments):
            history.connection.execute("INSERT INTO t (b) VALUES (randomblob(3000))")
            history.segment()
            made.note(history)


def make(folder: Path, generation: str = FIRST) -> Made:
    """Three WAL files of three segments each, and two snapshots, in ``folder / "replica"``."""
    replica = Made(folder / "replica")
    with History(folder / "db", replica.path, generation=generation) as history:
        fill(history, replica)
    return replica
