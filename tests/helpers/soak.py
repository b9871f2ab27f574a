"""Everything at once in one process, for minutes: what a DB beside an application's own connections has to bear.

Writers and readers of the standard library in threads and in other processes, over SQLite's own VFS and over ours; connections
that come and go; checkpoints of every mode; and a DB that replicates, and is closed and opened now and then: all on the same
database. Meanwhile another process looks whether a write lock that is held keeps it out.
"""

import contextlib
import dataclasses
import itertools
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ltxcore

from tests.helpers import locks
from tests.helpers.app import digest, reference
from tests.helpers.process import Child, ended

VFSES = ("unix", "ltx-os")
SLOTS = 500
MODES = ("PASSIVE", "FULL", "RESTART", "TRUNCATE")


@dataclasses.dataclass
class Report:
    commits: int = 0
    in_processes: int = 0
    reads: int = 0
    reopened: int = 0
    checkpoints: int = 0
    db_opened: int = 0
    watched: int = 0
    txid: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


def prepare(path: Path) -> None:
    c = sqlite3.connect(path, isolation_level=None)
    c.execute("PRAGMA journal_mode = wal")
    c.execute("CREATE TABLE done (writer TEXT PRIMARY KEY, n INTEGER NOT NULL)")
    columns = "writer TEXT, at INTEGER, n INTEGER, body BLOB, PRIMARY KEY (writer, at)"
    c.execute(f"CREATE TABLE slot ({columns}) WITHOUT ROWID")
    c.close()


def connect(path: Path, vfs: str) -> sqlite3.Connection:
    if vfs != "unix":
        ltxcore.OSVFS(name=vfs).register()
    c = sqlite3.connect(f"{path.as_uri()}?vfs={vfs}", uri=True, isolation_level=None, timeout=60)
    c.execute("PRAGMA synchronous = NORMAL")
    return c


def commit(c: sqlite3.Connection, writer: str, n: int) -> None:
    """Number n goes into slot n % SLOTS, so that the state is known from how many commits there are."""
    c.execute("BEGIN IMMEDIATE")
    c.execute("INSERT OR REPLACE INTO done VALUES (?, ?)", (writer, n))
    c.execute("INSERT OR REPLACE INTO slot VALUES (?, ?, ?, randomblob(60))", (writer, n % SLOTS, n))
    c.execute("COMMIT")


def verify(c: sqlite3.Connection) -> dict[str, int]:
    """Commits of each writer; an error if what is there is not exactly what they leave."""
    found = dict(c.execute("SELECT writer, n FROM done"))
    for writer, n in found.items():
        expected = {i % SLOTS: i for i in range(max(1, n - SLOTS + 1), n + 1)}
        slots = dict(c.execute("SELECT at, n FROM slot WHERE writer = ?", (writer,)))
        assert slots == expected, f"{writer} at {n} left something else"
    return found


class Soak:
    """The database, and what all of the threads know of each other."""

    def __init__(self, room: Path, seed: int, goal: int) -> None:
        self.path, self.replica, self.seed, self.goal = room / "db", room / "replica", seed, goal
        self.ending = threading.Event()
        self.report = Report()
        #: Commits that have returned, by writer.
        self.acknowledged: dict[str, int] = {}
        self.db_lock = threading.Lock()
        self.db = self.database()

    def database(self) -> ltxcore.DB:
        return ltxcore.DB(self.path, replica=self.replica.as_uri(), monitor_interval=0.1)

    def write(self, rng: random.Random, name: str) -> None:
        """Commit in this process, with a new connection now and then."""
        n = 0
        while not self.ending.is_set():
            with contextlib.closing(connect(self.path, rng.choice(VFSES))) as c:
                for _ in range(rng.randrange(1, 3000)):
                    if self.ending.is_set():
                        break
                    n += 1
                    commit(c, name, n)
                    self.acknowledged[name] = n
            self.report.reopened += 1

    def write_elsewhere(self, rng: random.Random, name: str) -> None:
        """A process that commits and says so; it ends when its input does."""
        argv = [sys.executable, "-m", "tests.helpers.soak", str(self.path), name, rng.choice(VFSES)]
        child = Child(argv, self.path.with_name(f"{name}.log"), talk=True)
        with ended(child):
            while not self.ending.is_set():
                self.acknowledged[name] = int(child.read_line(120))
            child.write_line("end")
            while (line := child.read_line(120)) != "ended":
                self.acknowledged[name] = int(line)
            assert child.wait(60) == 0, child.tail()
        self.report.in_processes += self.acknowledged[name]

    def read(self, rng: random.Random, _name: str) -> None:
        """Look at one state for a moment: all of it is there."""
        while not self.ending.is_set():
            with contextlib.closing(connect(self.path, rng.choice(VFSES))) as c:
                for _ in range(rng.randrange(1, 20)):
                    c.execute("BEGIN")
                    first = c.execute("SELECT sum(n) FROM done").fetchone()
                    verify(c)
                    assert c.execute("SELECT sum(n) FROM done").fetchone() == first
                    c.execute("COMMIT")
                    self.report.reads += 1
                    self.ending.wait(rng.uniform(0, 0.2))

    def checkpoint(self, rng: random.Random, _name: str) -> None:
        """Of every mode, by connections of either VFS and by the DB."""
        while not self.ending.wait(rng.uniform(0, 0.5)):
            mode = rng.choice(MODES)
            if rng.random() < 0.3:
                with self.db_lock:
                    self.db.checkpoint(mode)
            else:
                with contextlib.closing(connect(self.path, rng.choice(VFSES))) as c:
                    c.execute("PRAGMA busy_timeout = 100")
                    c.execute(f"PRAGMA wal_checkpoint({mode})")
            self.report.checkpoints += 1

    def reopen_db(self, rng: random.Random, _name: str) -> None:
        while not self.ending.wait(rng.uniform(0, 3)):
            with self.db_lock:
                self.db.close()
                time.sleep(rng.uniform(0, 0.05))
                self.db = self.database().open()
            self.report.db_opened += 1

    def hold(self, rng: random.Random, _name: str) -> None:
        """Hold the write lock for a moment, and have another process try: it must not get it."""
        stranger = locks.Stranger(self.path.with_name("stranger.log"))
        with ended(stranger):
            while not self.ending.wait(rng.uniform(0, 0.1)):
                with contextlib.closing(connect(self.path, rng.choice(VFSES))) as c:
                    c.execute("BEGIN IMMEDIATE")
                    is_free = stranger.ask("is_free", path=str(self.path), times=20)
                    c.execute("ROLLBACK")
                assert not is_free, "the write lock was held, and another process got it"
                self.report.watched += 20

    def tasks(self) -> Iterator[threading.Thread]:
        plan: list[tuple[Callable[[random.Random, str], None], int]] = [
            (self.write, 3),
            (self.write_elsewhere, 2),
            (self.read, 2),
            (self.checkpoint, 1),
            (self.reopen_db, 1),
            (self.hold, 1),
        ]
        numbers = itertools.count()
        for task, count in plan:
            for _ in range(count):
                name = f"{task.__name__}-{next(numbers)}"
                yield threading.Thread(target=self.run_task, args=(task, name), name=name, daemon=True)

    def run_task(self, task: Callable[[random.Random, str], None], name: str) -> None:
        try:
            task(random.Random(f"{self.seed} {name}"), name)
        except BaseException as error:
            self.report.problems.append(f"{name}: {error!r}")
            self.ending.set()

    def run(self, seconds: float) -> Report:
        """So long, and on until there are as many commits as wanted."""
        began = time.monotonic()
        prepare(self.path)
        self.db.open()
        threads = list(self.tasks())
        for thread in threads:
            thread.start()
        while not self.ending.wait(0.1):
            is_over = time.monotonic() - began > seconds
            if is_over and sum(self.acknowledged.copy().values()) >= self.goal:
                self.ending.set()
        for thread in threads:
            thread.join(180)
            if thread.is_alive():
                self.report.problems.append(f"{thread.name} does not end")
        self.report.commits = sum(self.acknowledged.values())
        if not self.report.problems:
            self.check_end()
        self.report.seconds = time.monotonic() - began
        return self.report

    def check_end(self) -> None:
        """What was acknowledged is there, and the replica holds exactly that."""
        try:
            pos = self.db.wait(self.db.sync().txid, timeout=60)
            self.report.txid = int(pos.txid)
            self.db.close()
            assert self.state(self.path) == self.acknowledged, "an acknowledged commit is lost"
            restored = self.path.with_name("restored")
            ltxcore.restore(self.replica, restored, txid=pos.txid, integrity_check="full")
            assert self.state(restored) == self.acknowledged, "the replica lacks a commit"
            scratch = self.path.with_name("scratch")
            assert digest(restored) == digest(reference(self.path, scratch)), "the replica differs"
        except (AssertionError, ltxcore.errors.Error, sqlite3.Error) as error:
            self.report.problems.append(f"end: {error!r}")

    def state(self, path: Path) -> dict[str, int]:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as c:
            (verdict,) = c.execute("PRAGMA integrity_check").fetchone()
            assert verdict == "ok", verdict
            return verify(c)


def run(room: Path, *, seconds: float, commits: int, seed: int) -> Report:
    return Soak(room, seed, commits).run(seconds)


def write_until_told(path: Path, name: str, vfs: str) -> None:
    """The other process: it commits until it is told to end, and says how far it is."""
    told = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), told.set()), daemon=True).start()
    with contextlib.closing(connect(path, vfs)) as c:
        for n in itertools.count(1):
            is_last = told.is_set()
            commit(c, name, n)
            if n % 50 == 0 or is_last:
                print(n, flush=True)
            if is_last:
                break
    print("ended", flush=True)


if __name__ == "__main__":
    write_until_told(Path(sys.argv[1]), *sys.argv[2:])
