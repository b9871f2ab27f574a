"""`python -m tests.helpers.writer DB SLOTS RATE`: an application that commits until it is stopped.

Commit number n puts n into slot n % SLOTS, so the state after any number of commits is known without a record of them, and
the database stays as big as it is. How many commits are done stands in the eight bytes of `DB.count`, written before
and after each: `(started, finished)`.
"""

import mmap
import sqlite3
import struct
import sys
import time
from pathlib import Path

PAIR = struct.Struct("=QQ")
BODY = 200


def prepare(path: Path, slots: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("CREATE TABLE slot (at INTEGER PRIMARY KEY, n INTEGER NOT NULL, body BLOB NOT NULL)")
    connection.execute("BEGIN")
    fill = ((at, 0, bytes(BODY)) for at in range(slots))
    connection.executemany("INSERT INTO slot VALUES (?, ?, ?)", fill)
    connection.execute("COMMIT")
    connection.close()
    counter(path).write_bytes(PAIR.pack(0, 0))


def counter(path: Path) -> Path:
    return path.with_name(path.name + ".count")


def finished(path: Path) -> int:
    """Commits that the application knows to be done."""
    return int(PAIR.unpack(counter(path).read_bytes())[1])


def started(path: Path) -> int:
    """Commits that may be done."""
    return int(PAIR.unpack(counter(path).read_bytes())[0])


def state(path: Path, slots: int) -> int:
    """How many commits a restored database holds; an error if it is not exactly that prefix of them."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        assert verdict == "ok", f"integrity_check: {verdict}"
        found = dict(connection.execute("SELECT at, n FROM slot"))
    finally:
        connection.close()
    last = int(max(found.values()))
    expected = {at: newest_in_slot(at, last, slots) for at in range(slots)}
    wrong = {at: (found.get(at), n) for at, n in expected.items() if found.get(at) != n}
    assert not wrong, f"not a prefix of {last} commits: slot, found, expected {list(wrong.items())[:5]}"
    return last


def newest_in_slot(at: int, last: int, slots: int) -> int:
    return max(0, last - (last - at) % slots)


def write(path: Path, slots: int, rate: float) -> None:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    connection.execute("PRAGMA synchronous = NORMAL")
    with counter(path).open("r+b") as file:
        shared = mmap.mmap(file.fileno(), PAIR.size)
        n = max(PAIR.unpack(shared)[1], connection.execute("SELECT max(n) FROM slot").fetchone()[0])
        while True:
            n += 1
            PAIR.pack_into(shared, 0, n, n - 1)
            connection.execute(
                "UPDATE slot SET n = ?, body = randomblob(?) WHERE at = ?", (n, BODY, n % slots)
            )
            PAIR.pack_into(shared, 0, n, n)
            if rate:
                time.sleep(1 / rate)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
