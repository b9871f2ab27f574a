"""What replication costs a writer at full speed, and what it costs while nothing happens."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import threading
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from benches import datasets, tools
from benches.rows_bulk import Samples
from benches.site import Site, say, settle
from benches.table import Row, Wanted

ALONE = "alone"
#: How long a replicator is left alone before it counts as idle.
CALM_SECONDS = 3.0
#: Between two looks at the size of the WAL.
WATCH_SECONDS = 0.02


def writer(site: Site) -> list[Row]:
    """One row a commit, as fast as it goes: alone, beside ltxcore, beside Litestream."""
    site.free_big_database()
    samples: Samples = defaultdict(list)
    for turn in range(site.sizes.rounds):
        for subject in (ALONE, *tools.NAMES):
            say(f"writer {subject if subject == ALONE else f'beside {subject}'}, round {turn + 1}")
            for key, value in one_run(site, subject, check=turn == 0).items():
                samples[f"{subject} {key}"].append(value)
    return writer_rows(dict(samples), site.sizes.seconds)


def one_run(site: Site, subject: str, *, check: bool) -> dict[str, float]:
    """One writer, beside one replicator or none, on a new database."""
    directory = site.directory()
    db, replica = directory / "db", directory / "replica"
    datasets.empty_database(db)
    settle([])
    try:
        with contextlib.ExitStack() as stack:
            process = None
            for name in tools.NAMES:
                if name == subject:
                    process = stack.enter_context(tools.replicating(name, db, replica))
            before = 0.0 if process is None else tools.cpu_seconds(process.pid)
            figures = write(site, directory, db)
            if process is not None:
                figures["processor %"] = (tools.cpu_seconds(process.pid) - before) / site.sizes.seconds * 100
                figures["peak MiB"] = tools.peak_mib(process.pid)
        if process is not None:
            site.notes += [
                f"{subject}, while written to: {line}"
                for line in tools.complaints(directory / "replica.log")[:3]
            ]
            if check:
                check_rows(site, subject, directory, int(figures["commits"]) + 1)
        return figures
    finally:
        shutil.rmtree(directory)


def write(site: Site, directory: Path, db: Path) -> dict[str, float]:
    """Let the application write, and watch its WAL from outside."""
    log = directory / "writer.log"
    with WalWatch(db) as watch:
        tools.run(tools.python_line("writer", db, site.sizes.seconds), log)
    figures: dict[str, float] = json.loads(log.read_text().splitlines()[-1])
    return figures | {"wal MiB": watch.highest / tools.MIB}


def check_rows(site: Site, subject: str, directory: Path, committed: int) -> None:
    """What was committed is in the replica: a fast replicator that loses rows is none."""
    output = directory / "restored"
    tools.run(tools.restore_line("ltxcore", directory / "replica", output), directory / "restore.log")
    with contextlib.closing(sqlite3.connect(output)) as connection:
        (found,) = connection.execute("SELECT count(*) FROM entry").fetchone()
    if found != committed:
        site.note(f"{subject}: {committed} rows were committed, its replica has {found}")
        site.wrong = site.wrong or subject == "ltxcore"


class WalWatch(threading.Thread):
    """Remembers the largest size that a WAL file had."""

    def __init__(self, db: Path) -> None:
        super().__init__(daemon=True)
        self.highest = 0
        self._wal = db.with_name(f"{db.name}-wal")
        self._end = threading.Event()

    def __enter__(self) -> WalWatch:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        while not self._end.wait(WATCH_SECONDS):
            with contextlib.suppress(FileNotFoundError):
                self.highest = max(self.highest, self._wal.stat().st_size)


def writer_rows(samples: Samples, seconds: float) -> list[Row]:
    """The lines about the writer. The worst is that of all rounds, everything else a median."""
    alone = median(samples[f"{ALONE} commits_per_s"])
    ours, theirs = (median(samples[f"{name} commits_per_s"]) for name in tools.NAMES)
    stall, their_stall = (max(samples[f"{name} max_ms"]) for name in tools.NAMES)
    calm, their_wal = max(samples[f"{ALONE} max_ms"]), max(samples["litestream wal MiB"])
    wal = max(samples["ltxcore wal MiB"])
    return [
        Row(
            f"writer beside it, {seconds:g} s",
            "commits/s",
            ours,
            alone,
            Wanted(0.85),
            "alone",
            samples=samples,
        ),
        Row("  against Litestream", "commits/s", ours, theirs),
        Row("  share of its speed alone", "", ours / alone, theirs / alone),
        Row(f"  worst stall (alone {calm:.0f} ms)", "ms", stall, their_stall, Wanted(100, "ours")),
        info("  p99 of a commit", "ms", samples, "p99_ms"),
        Row("  largest WAL file", "MiB", wal, their_wal, Wanted(64, "ours")),
        info("  replicator's processor", "%", samples, "processor %"),
        info("  replicator's peak memory", "MiB", samples, "peak MiB"),
    ]


def info(what: str, unit: str, samples: Samples, key: str) -> Row:
    """A line for information."""
    ours, theirs = (median(samples[f"{name} {key}"]) for name in tools.NAMES)
    return Row(what, unit, ours, theirs)


def idle(site: Site) -> list[Row]:
    """Processor time of one database that nobody writes to; both programs at once, each with its own."""
    directory, seconds = site.directory(), site.sizes.seconds
    with contextlib.ExitStack() as stack:
        processes = {}
        for name in tools.NAMES:
            db = directory / name
            datasets.empty_database(db)
            # An application that has the database open, as it would be.
            application = stack.enter_context(contextlib.closing(sqlite3.connect(db, isolation_level=None)))
            application.execute(datasets.INSERT, ("", ""))
            processes[name] = stack.enter_context(tools.replicating(name, db, directory / f"{name}-replica"))
        say(f"idle for {seconds:g} s")
        time.sleep(CALM_SECONDS)
        began = time.perf_counter()
        before = {name: tools.cpu_seconds(process.pid) for name, process in processes.items()}
        time.sleep(seconds)
        passed = time.perf_counter() - began
        used = {name: tools.cpu_seconds(process.pid) - before[name] for name, process in processes.items()}
        peaks = {name: tools.peak_mib(process.pid) for name, process in processes.items()}
    share = {name: value / passed * 100 for name, value in used.items()}
    return [
        Row(
            f"idle, 1 database, {seconds:g} s: of a core",
            "%",
            share["ltxcore"],
            share["litestream"],
            Wanted(0.01, "ours"),
        ),
        Row("  peak memory", "MiB", peaks["ltxcore"], peaks["litestream"]),
    ]
