"""`python -m tests.helpers.lost_commit HOW DB TRIES SEED`: the lost commit, tried again and again.

A connection of the standard library has a WAL database open. Something happens in its process; then another process writes a
row, and its close is an ordinary one; then the first connection commits. If the locks of the first had gone meanwhile, the
other one would think that it was the last, and delete the log under it: the first one's commit would be there for nobody else.

HOW: `db`, a DB replicates here and is opened and closed at random; `naked`, the database is opened and closed as any file.
What was seen is printed as JSON.
"""

import contextlib
import dataclasses
import json
import random
import sqlite3
import sys
import threading
from pathlib import Path

import ltxcore

from tests.helpers.locks import Stranger
from tests.helpers.process import ended


@dataclasses.dataclass
class Outcome:
    tries: int = 0
    opened: int = 0
    lost: int = 0
    unequal: int = 0
    restored: bool = False


class Opener(threading.Thread):
    """Opens and closes a DB at random, until it is told to stop; at the end it is closed, with all that is committed."""

    def __init__(self, path: Path, seed: int) -> None:
        super().__init__(daemon=True)
        self.path, self.rng, self.ending, self.opened = path, random.Random(seed), threading.Event(), 0
        self.failure: BaseException | None = None

    def database(self) -> ltxcore.DB:
        return ltxcore.DB(self.path, replica=replica(self.path).as_uri(), monitor_interval=0.005)

    def run(self) -> None:
        try:
            while not self.ending.is_set():
                with self.database():
                    self.opened += 1
                    self.ending.wait(self.rng.uniform(0, 0.01))
                self.ending.wait(self.rng.uniform(0, 0.002))
        except BaseException as error:
            self.failure = error

    def end(self) -> None:
        self.ending.set()
        self.join(60)
        if self.failure is not None:
            raise self.failure
        with self.database():  # it may have been closed when the last commit was made
            pass


def replica(path: Path) -> Path:
    return path.with_name("replica")


def naked(path: Path) -> None:
    path.open("rb").close()


def run(how: str, path: Path, tries: int, seed: int) -> Outcome:
    rng, outcome = random.Random(seed), Outcome()
    c = sqlite3.connect(path, isolation_level=None, timeout=10)
    c.execute("PRAGMA journal_mode = wal")
    c.execute("CREATE TABLE t (x INTEGER PRIMARY KEY, who TEXT)")
    opener = Opener(path, seed) if how == "db" else None
    stranger = Stranger(path.with_name("stranger.log"))
    with ended(stranger):
        if opener is not None:
            opener.start()
        for number in range(1, tries + 1):
            once(c, path, stranger, how, rng.random() < 0.5)
            outcome.tries = number
            ours = c.execute("SELECT count(*) FROM t").fetchone()[0]
            theirs = stranger.execute(path, "SELECT count(*) FROM t")[0][0]
            outcome.unequal += ours != theirs
            outcome.lost += theirs != 2 * number
            if outcome.lost or outcome.unequal:
                break
    if opener is not None:
        opener.end()
        outcome.opened = opener.opened
        outcome.restored = restores(path, 2 * tries)
    return outcome


def once(c: sqlite3.Connection, path: Path, stranger: Stranger, how: str, reads: bool) -> None:
    """One try; with a read transaction meanwhile, or idle."""
    if reads:
        c.execute("BEGIN")
        c.execute("SELECT count(*) FROM t").fetchone()
    if how == "naked":
        naked(path)
    stranger.execute(path, "INSERT INTO t (who) VALUES ('other')")
    if reads:
        c.execute("COMMIT")
    c.execute("INSERT INTO t (who) VALUES ('first')")


def restores(path: Path, rows: int) -> bool:
    """Whether the replica has every row too."""
    output = path.with_name("restored")
    ltxcore.restore(replica(path), output, integrity_check="full")
    with contextlib.closing(sqlite3.connect(output)) as c:
        return bool(c.execute("SELECT count(*) FROM t").fetchone()[0] == rows)


if __name__ == "__main__":
    how, database, tries, seed = sys.argv[1:]
    print(json.dumps(dataclasses.asdict(run(how, Path(database), int(tries), int(seed)))))
