"""How long after a lonely commit its file is visible in the replica."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import re
import select
import sqlite3
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

from benches import datasets, tools
from benches.site import Site, say
from benches.table import Row, Wanted

#: Least seconds between two commits to one database, and what is added by chance: without it, a program that looks
#: at the database once a second would always be met at the same point of its second.
SPACING, JITTER = 1.2, 0.6
TIMEOUT = 30.0
FILE_NAME = re.compile(rb"[0-9a-f]{16}-[0-9a-f]{16}\.ltx")
#: inotify(7): a name that appeared complete, by rename or as a link.
IN_MOVED_TO, IN_CREATE = 0x80, 0x100
EVENT = struct.Struct("iIII")


@dataclass
class Subject:
    """One replicator with a database of its own."""

    connection: sqlite3.Connection
    arrivals: Arrivals
    lags: list[float] = field(default_factory=list)
    last_commit: float = 0.0

    def measure(self, rng: random.Random) -> None:
        """One commit, and the milliseconds from its return to the file's name in the replica."""
        due = self.last_commit + SPACING + rng.uniform(0, JITTER)
        time.sleep(max(0.0, due - time.monotonic()))
        self.arrivals.drain()
        self.connection.execute(datasets.INSERT, ("token", "note"))
        began = time.perf_counter()
        self.last_commit = time.monotonic()
        self.arrivals.wait(TIMEOUT)
        self.lags.append((time.perf_counter() - began) * 1000)


class Arrivals:
    """Tells when an LTX file gets its name in a directory, without looking there again and again."""

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if (
            self._fd < 0
            or libc.inotify_add_watch(self._fd, os.fsencode(directory), IN_MOVED_TO | IN_CREATE) < 0
        ):
            raise OSError(ctypes.get_errno(), "inotify", str(directory))

    def close(self) -> None:
        """Watch no longer."""
        os.close(self._fd)

    def drain(self) -> None:
        """Forget what has arrived so far."""
        while self._names():
            pass

    def wait(self, timeout: float) -> None:
        """Return when the next file arrives."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            select.select([self._fd], [], [], left)
            if any(FILE_NAME.fullmatch(name) for name in self._names()):
                return
        raise tools.BenchError(f"a commit was not in the replica after {timeout:g} s")

    def _names(self) -> list[bytes]:
        try:
            data = os.read(self._fd, 64 << 10)
        except BlockingIOError:
            return []
        names, offset = [], 0
        while offset < len(data):
            length = EVENT.unpack_from(data, offset)[3]
            offset += EVENT.size
            names.append(data[offset : offset + length].rstrip(b"\0"))
            offset += length
        return names


def lag(site: Site) -> list[Row]:
    """Commits to two databases in turns, each with its replicator; never at the same time."""
    directory, rng = site.directory(), random.Random(5)
    with contextlib.ExitStack() as stack:
        subjects = {name: started(stack, name, directory) for name in tools.NAMES}
        say(f"lag of {site.sizes.commits} commits")
        for turn in range(site.sizes.commits + 1):
            for subject in subjects.values():
                subject.measure(rng)
                if turn == 0:
                    # The first one may still belong to the start.
                    subject.lags.clear()
    lags = {str(name): sorted(subject.lags) for name, subject in subjects.items()}
    return [
        line(
            f"lag of a lone commit, n={site.sizes.commits}: p50", lags, 50, Wanted(10, "ours"), samples=lags
        ),
        line("  p99", lags, 99, Wanted(50, "ours"), samples={}),
    ]


def started(stack: contextlib.ExitStack, name: tools.Name, directory: Path) -> Subject:
    """A database with an application and a replicator at default settings."""
    db, replica = directory / name, directory / f"{name}-replica"
    datasets.empty_database(db)
    connection = stack.enter_context(contextlib.closing(sqlite3.connect(db, isolation_level=None)))
    connection.execute("PRAGMA synchronous = NORMAL")
    stack.enter_context(tools.replicating(name, db, replica))
    arrivals = stack.enter_context(contextlib.closing(Arrivals(replica / "ltx" / "0")))
    return Subject(connection, arrivals)


def line(
    what: str, lags: dict[str, list[float]], percent: int, wanted: Wanted, samples: dict[str, list[float]]
) -> Row:
    """A percentile of both programs; with few samples, the highest percentiles are the worst of them."""
    ours, theirs = (
        lags[name][min(len(lags[name]) - 1, len(lags[name]) * percent // 100)] for name in tools.NAMES
    )
    return Row(what, "ms", ours, theirs, wanted, samples=samples)
