"""A process that follows, and can be made to die at a certain step: `python -m tests.helpers.follower REPLICA OUTPUT [WHERE]`.

Another one reads: `python -m tests.helpers.follower --read OUTPUT` loops over the invariant until it is told to stop by a
line on its stdin, and prints how many states it saw, or what was wrong.
"""

import os
import select
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import ltxcore

#: Where to die: after the journal, with half the pages written, with all of them, after the commit.
PLACES = ("save", "half", "write", "commit")


class Dying:
    """The native file, but the process ends at one place."""

    def __init__(self, real: Any, place: str) -> None:
        self.real, self.place = real, place

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def _step(self, name: str, *arguments: Any) -> None:
        getattr(self.real, name)(*arguments)
        if name == self.place:
            os._exit(9)

    def save(self, *arguments: Any) -> None:
        self._step("save", *arguments)

    def write(self, *arguments: Any) -> None:
        if self.place == "half":
            size = os.fstat(self.real.fileno()).st_size
            os.pwrite(self.real.fileno(), os.urandom(size // 2), size // 4)
            os._exit(9)
        self._step("write", *arguments)

    def commit(self) -> None:
        self._step("commit")


def run(replica: str, output: str, place: str | None) -> None:
    followed = ltxcore.follow(Path(replica), output, interval=0.01)
    if place is not None:
        followed._file = Dying(followed._file, place)  # type: ignore[assignment]
    print("following", flush=True)
    time.sleep(3600)


def read(output: str) -> None:
    states: set[Any] = set()
    print("reading", flush=True)
    while not select.select([0], [], [], 0)[0]:
        # Now and then a new connection, which has to look at everything; else one that has cached what it can.
        with closing(sqlite3.connect(output, timeout=20, isolation_level=None)) as connection:
            for _ in range(20):
                connection.execute("BEGIN")
                total, rows = connection.execute("SELECT sum(value), count(*) FROM account").fetchone()
                found = connection.execute("PRAGMA integrity_check").fetchall()
                again = connection.execute("SELECT sum(value), count(*) FROM account").fetchone()
                connection.execute("COMMIT")
                if total != 0 or found != [("ok",)] or again != (total, rows):
                    print(f"torn: {total} {rows} {found[:3]} {again}", flush=True)
                    return
                states.add(rows)
    print(len(states), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--read":
        read(sys.argv[2])
    else:
        run(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
