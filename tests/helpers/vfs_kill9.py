"""kill -9 of processes that commit over the OS VFS, at random moments and at chosen ones, and what must be true after each.

What was acknowledged is there, at most one more commit per kill is, and SQLite finds nothing wrong: looked at over the OS VFS
and over SQLite's own in turns. A second process may be writing over SQLite's own meanwhile, and goes on.
"""

import collections
import contextlib
import dataclasses
import fcntl
import itertools
import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers import locks, vfs_writer
from tests.helpers.process import Child, ended

JOURNALS = ("DELETE", "TRUNCATE", "PERSIST", "WAL")
KILLED, PARTNER = "killed", "partner"
PIPE_BYTES = 1 << 20


class Aim(NamedTuple):
    """A moment to kill at: while the writer does such work, and holds a write lock on this byte."""

    name: str
    work: str
    byte: int | None = None
    in_shm: bool = False
    keeps_reader: bool = False

    def is_reached(self, path: Path) -> bool:
        file = locks.shm(path) if self.in_shm else path
        return any(lock.is_ofd and lock.is_write and lock.covers(self.byte or 0) for lock in locks.held(file))


RANDOM = [Aim("any", "commits"), Aim("any", "reopens")]
ROLLBACK_AIMS = [
    Aim("PENDING", "commits", locks.PENDING, keeps_reader=True),
    Aim("RESERVED", "commits", locks.RESERVED),
    Aim("EXCLUSIVE", "commits", locks.SHARED),
    *RANDOM,
]
WAL_AIMS = [
    Aim("WAL write", "commits", locks.WRITE, in_shm=True),
    Aim("checkpoint", "checkpoints", locks.CHECKPOINT, in_shm=True),
    *RANDOM,
]
# Nobody is the first to open the database while a partner has it open.
LONELY_AIMS = [
    Aim("dead man's switch", "reopens", locks.DEAD_MANS_SWITCH, in_shm=True),
    Aim("last close", "reopens", locks.SHARED),
]


@dataclasses.dataclass
class Report:
    kills: int = 0
    acknowledged: int = 0
    partner_commits: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)
    #: Kills at each moment, and those that came at a random one because the chosen one did not come in time.
    moments: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    seconds: float = 0.0


class Writer(Child):
    """A process that commits; its acknowledgements wait in a pipe, also after its death."""

    def __init__(self, path: Path, name: str, vfs: str, journal: str, work: str) -> None:
        argv = [sys.executable, "-m", "tests.helpers.vfs_writer", str(path), name, vfs, journal, work]
        super().__init__(argv, path.with_name(f"{name}.log"), talk=True)
        assert self.popen.stdout is not None
        self.fd = self.popen.stdout.fileno()
        fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(self.fd, False)
        self.acknowledged = 0

    def newest(self) -> int:
        """The newest commit that it said was done, up to now."""
        with contextlib.suppress(BlockingIOError):
            while acks := os.read(self.fd, PIPE_BYTES):
                (self.acknowledged,) = vfs_writer.ACK.unpack(acks[-vfs_writer.ACK.size :])
        return self.acknowledged

    def begins(self, timeout: float = 20.0) -> int:
        """Wait until it commits; about its first commit."""
        end = time.monotonic() + timeout
        while not self.newest():
            assert time.monotonic() < end and self.alive(), f"no commit\n{self.tail()}"
            time.sleep(0.001)
        return self.newest()


class Arena:
    """One database, one journal mode, with or without a partner; killed in again and again."""

    def __init__(self, room: Path, journal: str, has_partner: bool, rng: random.Random) -> None:
        self.path, self.journal, self.rng = room / "db", journal, rng
        self.aims = itertools.cycle(self.possible_aims(has_partner))
        self.vfses = itertools.cycle(("ltx-os", "unix"))
        vfs_writer.prepare(self.path, journal)
        self.partner = self.writer(PARTNER, "unix", "pauses") if has_partner else None

    def possible_aims(self, has_partner: bool) -> list[Aim]:
        if self.journal != "WAL":
            return ROLLBACK_AIMS
        return WAL_AIMS if has_partner else [*LONELY_AIMS, *WAL_AIMS]

    def writer(self, name: str, vfs: str, work: str) -> Writer:
        return Writer(self.path, name, vfs, self.journal, work)

    def run(self, times: int, report: Report) -> None:
        with ended(self.partner):
            for _ in range(times):
                aim = next(self.aims)
                try:
                    self.once(aim, report)
                except (AssertionError, sqlite3.Error, OSError) as error:
                    partner = " with partner" if self.partner else ""
                    report.problems.append(f"{self.journal}{partner}, kill at {aim.name}: {error!r}")
            if self.partner is not None:
                report.partner_commits += self.partner.newest()
                self.partner.kill()

    def once(self, aim: Aim, report: Report) -> None:
        victim = self.writer(KILLED, "ltx-os", aim.work)
        with ended(victim):
            before = victim.begins() - 1
            time.sleep(self.rng.uniform(0, 0.05))
            with self.reader() if aim.keeps_reader else contextlib.nullcontext():
                reached = aim.byte is None or self.stops_at(aim, victim)
            victim.popen.kill()
            victim.popen.wait()
            acknowledged = victim.newest()
        report.kills += 1
        report.moments[aim.name if reached else f"{aim.name}, missed"] += 1
        report.acknowledged += acknowledged - before
        self.verify(acknowledged)

    def stops_at(self, aim: Aim, victim: Writer) -> bool:
        """Stop it until it is where it should die; it stays stopped there."""
        end = time.monotonic() + (1.0 if aim.keeps_reader else 3.0)
        while time.monotonic() < end:
            time.sleep(self.rng.uniform(0, 0.001))
            victim.send_signal(signal.SIGSTOP)
            _, status = os.waitpid(victim.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), f"the writer ended: {status}\n{victim.tail()}"
            if aim.is_reached(self.path):
                return True
            victim.send_signal(signal.SIGCONT)
        return False

    def connection(self, vfs: str) -> Any:
        uri = vfs_writer.uri(self.path, vfs)
        return contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=20))

    @contextlib.contextmanager
    def reader(self) -> Iterator[None]:
        """Keep the commits waiting."""
        with self.connection("unix") as c:
            # SQLite's own patience ends at ten attempts a second, and a writer that never pauses leaves it few gaps.
            c.execute("PRAGMA busy_timeout = 1")
            c.execute("BEGIN")
            vfs_writer.insist(c, "SELECT 1 FROM entry LIMIT 1")
            yield

    def verify(self, acknowledged: int) -> None:
        of_partner = self.partner.newest() if self.partner else 0
        with self.connection(next(self.vfses)) as c:
            c.execute("BEGIN")
            found = vfs_writer.done(c, KILLED)
            assert acknowledged <= found <= acknowledged + 1, f"{acknowledged} acknowledged, {found} there"
            assert vfs_writer.done(c, PARTNER) >= of_partner, "a commit of the partner is lost"
            (balance,) = c.execute("SELECT sum(balance) FROM account").fetchone()
            assert balance == 0, f"accounts do not balance: {balance}"
            (verdict,) = c.execute("PRAGMA integrity_check").fetchone()
            assert verdict == "ok", verdict
        if self.partner is not None:
            assert self.partner.alive(), f"the partner ended\n{self.partner.tail()}"


def run(room: Path, times: int, rng: random.Random) -> Report:
    """So many kills, spread over all journal modes, each with and without a partner."""
    began, report = time.monotonic(), Report()
    arenas = list(itertools.product(JOURNALS, (False, True)))
    for number, (journal, has_partner) in enumerate(arenas):
        share = times // len(arenas) + (number < times % len(arenas))
        place = room / f"{journal}-{has_partner}"
        place.mkdir()
        Arena(place, journal, has_partner, rng).run(share, report)
    report.seconds = time.monotonic() - began
    return report
