"""Record locks as the kernel lists them, and as another process runs into them.

`python -m tests.helpers.locks` is that other process: it uses the standard library's SQLite and answers line commands.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers.process import Talker, answer_lines

PENDING, RESERVED, SHARED = 0x4000_0000, 0x4000_0001, 0x4000_0002
# In `-shm`.
WRITE, CHECKPOINT, DEAD_MANS_SWITCH = 120, 121, 128


class Held(NamedTuple):
    """One line of /proc/locks. The kernel does not tell whose a lock of an open file description is: `pid` is -1."""

    is_ofd: bool
    is_write: bool
    pid: int
    first: int
    last: int

    def covers(self, byte: int) -> bool:
        return self.first <= byte <= self.last


def held(path: Path) -> list[Held]:
    """All locks on a file, by all processes; found by `stat`, without a descriptor."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return []
    wanted = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    found = []
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if "->" in words or words[5] != wanted:  # an arrow: somebody waits
            continue
        last = 2**63 if words[7] == "EOF" else int(words[7])
        found.append(Held(words[1] == "OFDLCK", words[3] == "WRITE", int(words[4]), int(words[6]), last))
    return sorted(found)


def shm(path: Path) -> Path:
    return path.with_name(path.name + "-shm")


def wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def of_process(path: Path, pid: int) -> list[tuple[str, Held]]:
    """The POSIX locks of a process on a database and its `-shm`: what somebody else's close can take away."""
    return [(file.name, lock) for file in (path, shm(path)) for lock in held(file) if lock.pid == pid]


def read(c: sqlite3.Connection) -> None:
    c.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def write(c: sqlite3.Connection) -> None:
    c.execute("BEGIN IMMEDIATE")
    c.execute("ROLLBACK")


def exclude(c: sqlite3.Connection) -> None:
    """In rollback mode only: in WAL mode it is as good as BEGIN IMMEDIATE."""
    c.execute("BEGIN EXCLUSIVE")
    c.execute("ROLLBACK")


def leave_wal(c: sqlite3.Connection) -> None:
    """Refused while anybody else has the database open: what deletes `-wal` asks for the same lock."""
    if c.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        c.execute("PRAGMA journal_mode = DELETE")


def empty_wal(c: sqlite3.Connection) -> None:
    if c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        raise sqlite3.OperationalError("database is locked")


ATTEMPTS: dict[str, Callable[[sqlite3.Connection], None]] = {
    attempt.__name__: attempt for attempt in (read, write, exclude, empty_wal, leave_wal)
}


def refused(path: str) -> list[str]:
    """What a newcomer is not allowed to do now; each attempt by a connection of its own."""
    names = []
    for name, attempt in ATTEMPTS.items():
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
            try:
                attempt(connection)
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                names.append(name)
    return names


def is_free(path: str, times: int) -> bool:
    """Whether the write lock can be had, at the first or at a later attempt."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        for _ in range(times):
            with contextlib.suppress(sqlite3.OperationalError):
                write(connection)
                return True
    return False


def execute(path: str, *statements: str) -> list[Any]:
    """The rows of the last statement."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        rows: list[Any] = []
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        return rows


class Stranger(Talker):
    """Another process that uses the database now and then, with stock SQLite, and never keeps it open."""

    def __init__(self, log: Path) -> None:
        super().__init__("tests.helpers.locks", log)

    def refused(self, path: Path) -> set[str]:
        return set(self.ask("refused", path=str(path)))

    def execute(self, path: Path, *statements: str) -> list[Any]:
        rows: list[Any] = self.ask("execute", path=str(path), statements=statements)
        return rows


COMMANDS: dict[str, Callable[..., Any]] = {
    "refused": refused,
    "is_free": is_free,
    "execute": lambda path, statements: execute(path, *statements),
}

if __name__ == "__main__":
    answer_lines(lambda command, arguments: COMMANDS[command](**arguments))
