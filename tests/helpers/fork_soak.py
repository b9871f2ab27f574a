"""Forks of a process whose eight threads are busy with SQLite: the standard library's, OSVFS, DB and BlobStore.

Each child uses all four in turns, on files of its own, and says in shared memory how far it is. Most children of such a process
hang in the SQLite of the standard library, with or without us: nobody frees its mutexes there. A DB has a SQLite of its
own, so it comes first; plain SQLite is next, and whoever gets past it and then hangs, hangs because of us. `--without`
does the same with plain SQLite alone, for comparison: ltxcore is not even imported.

`python -m tests.helpers.fork_soak DIRECTORY --forks 10000` prints the report; the exit code is 1 if something was wrong.
"""

import argparse
import contextlib
import dataclasses
import faulthandler
import json
import mmap
import os
import random
import shutil
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from tests.helpers import locks

if "--without" not in sys.argv:
    import ltxcore
    from ltxcore.blob_store import BlobStore, Options

THREADS = 8
#: A child that takes longer for a step hangs: it needs a moment, and seconds on a machine that is busy with other things.
LIMIT, STOCK_LIMIT = 40, 3
#: How many children may be at work, how many may be there (the others hang), and how many sleep through a phase.
WORKING, LIVING, SLEEPING = 8, 80, 4
#: When a child that is still there no longer counts as one that works.
OLD = 0.5
#: Forks between two looks at what is left, at most; and how many looks there are at least.
FORKS_A_PHASE, PHASES = 1000, 3


def use_connection(c: sqlite3.Connection) -> None:
    with contextlib.closing(c):
        c.execute("PRAGMA journal_mode = wal")
        c.execute("PRAGMA synchronous = OFF")
        c.execute("CREATE TABLE IF NOT EXISTS t (x)")
        c.execute("INSERT INTO t VALUES (randomblob(1000))")
        c.execute("SELECT count(*), total(length(x)) FROM t").fetchone()
        c.execute("DELETE FROM t WHERE rowid < (SELECT max(rowid) - 20 FROM t)")


def use_stock(folder: Path) -> None:
    use_connection(sqlite3.connect(folder / "stock", isolation_level=None, timeout=20))


def use_os(folder: Path) -> None:
    vfs = ltxcore.OSVFS().register()
    use_connection(vfs.connect(folder / "os", isolation_level=None, timeout=20))


def replicated(folder: Path) -> "ltxcore.DB":
    """A DB and its replica, for a database that exists; after some rounds both begin anew."""
    place = folder / "replicated"
    if len(list(place.glob("replica/ltx/0/*"))) > 50:
        shutil.rmtree(place)
    if not place.exists():
        shutil.copytree(folder.parent / "template", place)
    return ltxcore.DB(place / "db", replica=place / "replica", monitor_interval=0.05)


def use_db(folder: Path) -> None:
    """Without any other SQLite."""
    with replicated(folder) as db:
        db.wait(db.sync().txid, timeout=20)


def replicate(folder: Path) -> None:
    """What a thread does: it writes meanwhile."""
    with replicated(folder) as db:
        use_connection(ltxcore.OSVFS().register().connect(db.path, isolation_level=None, timeout=20))
        db.wait(db.sync().txid, timeout=20)


def use_blob(folder: Path) -> None:
    with BlobStore(folder / "blobs", options=Options(durability="cache")) as store:
        store["a"] = bytes(5000)
        assert store["a"] == bytes(5000)
        store["b"] = b"x"
        del store["b"]


#: In the order in which a child uses them.
USES: dict[str, Callable[[Path], None]] = {
    "db": use_db,
    "stock": use_stock,
    "os": use_os,
    "blob": use_blob,
}
KINDS = tuple(USES)
#: What the threads do instead.
WORK = USES | {"db": replicate}


@dataclasses.dataclass
class Report:
    forks: int = 0
    #: Children that hung, by what they were using.
    hung: Counter[str] = dataclasses.field(default_factory=Counter)
    uses: Counter[str] = dataclasses.field(default_factory=Counter)
    #: Of the parent, with all closed, after each phase.
    descriptors: list[int] = dataclasses.field(default_factory=list)
    slowest_fork: float = 0.0
    problems: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def as_json(self) -> str:
        return json.dumps(vars(self))


@dataclasses.dataclass(frozen=True)
class Child:
    pid: int
    slot: int
    began: float


class Soak:
    """The parent: its threads, and its children by pid."""

    def __init__(self, room: Path, kinds: Sequence[str], seed: int) -> None:
        self.room, self.kinds, self.random = room, tuple(kinds), random.Random(seed)
        self.report = Report()
        self.stop = threading.Event()
        self.children: dict[int, Child] = {}
        self.free = list(range(LIVING))
        #: A byte for each child: the number of what it is using, plus one.
        self.stages = mmap.mmap(-1, LIVING)

    # --- the threads ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def busy_threads(self) -> Iterator[None]:
        self.stop.clear()
        threads = [threading.Thread(target=self.work, args=[number]) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(120)
                if thread.is_alive():
                    self.report.problems.append("a thread of the parent does not end")

    def work(self, number: int) -> None:
        kind, folder = self.kinds[number % len(self.kinds)], self.folder(f"thread-{number}")
        try:
            while not self.stop.is_set():
                WORK[kind](folder)
                self.report.uses[kind] += 1
        except BaseException as error:
            self.report.problems.append(f"a thread of the parent, {kind}: {error!r}")

    def folder(self, name: str) -> Path:
        made = self.room / name
        made.mkdir(exist_ok=True)
        return made

    # --- the children --------------------------------------------------------------------------------------------

    def fork(self, work: Callable[[], None]) -> int:
        began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            self.in_child(work)
        self.report.slowest_fork = max(self.report.slowest_fork, time.monotonic() - began)
        return pid

    def in_child(self, work: Callable[[], None]) -> NoReturn:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def use_all(self, slot: int) -> None:
        """What a child does. A signal ends it if it hangs, and it says where. A DB takes its time: not all have one."""
        folder = self.folder(f"child-{slot}")
        for number, kind in enumerate(self.kinds):
            if kind == "db" and slot % 3:
                continue
            signal.alarm(STOCK_LIMIT if kind == "stock" else LIMIT)
            # Whoever hangs because of us says where, and dies of the signal all the same.
            if kind == "stock":
                faulthandler.unregister(signal.SIGALRM)
            else:
                faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)
            self.stages[slot] = number + 1
            USES[kind](folder)
        self.stages[slot] = 0

    def start_child(self) -> None:
        slot = self.free.pop()
        self.stages[slot] = 0
        pid = self.fork(lambda: self.use_all(slot))
        self.children[pid] = Child(pid, slot, time.monotonic())
        self.report.forks += 1

    def reap(self) -> None:
        """Take note of those that have ended."""
        for child in list(self.children.values()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                del self.children[pid]
                self.judge(child, status)
                self.free.insert(0, child.slot)

    def judge(self, child: Child, status: int) -> None:
        stage = self.stages[child.slot]
        kind = self.kinds[stage - 1] if stage else "nothing"
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
            self.report.hung[kind] += 1
            # Stock may leave its files as it was; those of whoever was killed in the midst may look any way.
            shutil.rmtree(self.room / f"child-{child.slot}", ignore_errors=True)
        elif status:
            self.report.problems.append(f"a child failed with {os.waitstatus_to_exitcode(status)}, at {kind}")

    def run_children(self, count: int) -> None:
        for _ in range(count):
            while self.working() >= WORKING or not self.free:
                self.reap()
                time.sleep(0.002)
            time.sleep(self.random.uniform(0, 0.01))
            self.start_child()

    def working(self) -> int:
        now = time.monotonic()
        return sum(now - child.began < OLD for child in self.children.values())

    def end_children(self) -> None:
        """Each ends by itself, or by its alarm."""
        while self.children:
            self.reap()
            time.sleep(0.01)

    @contextlib.contextmanager
    def sleepers(self, count: int) -> Iterator[None]:
        """Children that only live, with whatever they inherit, until a pipe ends."""
        reader, writer = os.pipe()

        def sleep() -> None:
            os.close(writer)
            os.read(reader, 1)

        pids = []
        for _ in range(count):
            time.sleep(self.random.uniform(0, 0.1))
            pids.append(self.fork(sleep))
        try:
            yield
        finally:
            os.close(writer)
            os.close(reader)
            for pid in pids:
                os.waitpid(pid, 0)

    # --- what must hold ------------------------------------------------------------------------------------------

    def phase(self, forks: int) -> None:
        with contextlib.ExitStack() as living:
            with self.busy_threads():
                self.run_children(forks // 2)
                living.enter_context(self.sleepers(SLEEPING))
                self.run_children(forks - forks // 2)
                self.end_children()
            self.look("while children sleep")
        self.look("at the end of a phase")
        self.tidy()
        self.report.descriptors.append(len(os.listdir("/proc/self/fd")))

    def tidy(self) -> None:
        """Nothing is closed while a thread forks: each later close takes along what had to stay for one file."""
        for _ in range(100 if "os" in self.kinds else 0):
            ltxcore.OSVFS().register().connect(self.folder("tidy") / "os").close()

    def look(self, when: str) -> None:
        """All is closed in the parent: no file of ours has a lock, whoever lives."""
        for path in self.room.rglob("*"):
            if path.is_file() and (found := locks.held(path)):
                self.report.problems.append(f"{when}, {path.relative_to(self.room)} is locked: {found}")

    def run(self, forks: int) -> Report:
        began = time.monotonic()
        template = self.folder("template") / "db"
        with contextlib.closing(sqlite3.connect(template)) as c:
            c.execute("PRAGMA journal_mode = wal")
            c.execute("CREATE TABLE t (x)")
        phases = max(PHASES, forks // FORKS_A_PHASE)
        for phase in range(phases):
            self.phase(forks // phases + (phase < forks % phases))
            if self.report.problems:
                break
        if any(count > self.report.descriptors[0] for count in self.report.descriptors):
            self.report.problems.append(f"descriptors grow: {self.report.descriptors}")
        for kind in set(self.report.hung) - {"stock"}:
            self.report.problems.append(f"{self.report.hung[kind]} children hang, using {kind}")
        self.report.seconds = time.monotonic() - began
        return self.report


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("room", type=Path)
    parser.add_argument("--forks", type=int, default=10_000)
    parser.add_argument("--without", action="store_true", help="without ltxcore")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    given.room.mkdir(exist_ok=True)
    report = Soak(given.room, ["stock"] if given.without else KINDS, given.seed).run(given.forks)
    print(report.as_json(), flush=True)
    sys.exit(bool(report.problems))


if __name__ == "__main__":
    main()
