"""Our file layer beside SQLite's own: speedtest1, processes that compete for one database, connections that come and go.

The programs are those of `make conformance`, built in its scratch folder from SQLite's source. Both layers run in the
same program and the same library; the VFS is all that differs. Each sample of ours is taken right beside one of the
other, and the ratio is the median of those of the pairs: what slows the machine down hits both halves of a pair.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from statistics import median

from benches import tools
from benches.site import Site, say, settle
from benches.table import Row, Wanted, times_better

from tests.conformance.scratch import Scratch, ScratchError
from tests.conformance.subject import Subject

OURS, STOCK = "ltx-os", "unix"
#: Rollback journal and WAL, as SQLite calls them and as the table does.
JOURNALS = {"delete": "rollback", "wal": "WAL"}
PROCESSES = 4
READERS = 400
SIZE, QUICK_SIZE = 100, 10
#: No more than 1.05 times what stock takes.
WANTED = Wanted(0.953)
#: What the program `connections` measures, as the table says it.
CONNECTIONS = {
    "alone": "open, read, close a WAL database, alone",
    "beside": "open, read, close a WAL database, beside another connection",
    "select": f"one read beside {READERS} readers, WAL",
    "close": f"close of one of {READERS} readers, WAL",
}
TOTAL = re.compile(r"^\s+TOTAL[. ]+([\d.]+)s$", re.MULTILINE)
Samples = dict[str, list[float]]


def vfs(site: Site) -> list[Row]:
    """Both, in turns, in both journal modes."""
    scratch, subjects = prepared()
    rows = connections(site, scratch, subjects[0])
    for journal in JOURNALS:
        rows += speedtest(site, scratch, subjects, journal)
        rows += contended(site, scratch, subjects, journal)
    return rows


def prepared() -> tuple[Scratch, list[Subject]]:
    """The programs, and the two layers."""
    cargo = shutil.which(os.environ.get("CARGO", "cargo"))
    if cargo is None:
        raise tools.BenchError("cargo is not installed")
    command = [cargo, "build", "--locked", "--release", "--quiet", "--package", "ltxcore-ext"]
    if subprocess.run(command, cwd=tools.ROOT, check=False).returncode != 0:
        raise tools.BenchError("ltxcore-ext cannot be built")
    scratch = Scratch(tools.ROOT / "target" / "conformance")
    try:
        scratch.prepare(tcl=False)
    except ScratchError as error:
        raise tools.BenchError(str(error)) from error
    return scratch, [Subject(OURS, tools.ROOT / "target" / "release" / "libltxcore.so"), Subject(STOCK)]


def run(scratch: Scratch, subject: Subject, directory: Path, *command: object) -> str:
    """One program in its own directory; what it printed."""
    done = subprocess.run(
        [str(scratch.program(str(command[0]))), *map(str, command[1:])],
        cwd=directory,
        env=os.environ | subject.environment(scratch.bin, directory, logged=False),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise tools.BenchError(
            f"{command[0]} over {subject.vfs}: exit code {done.returncode}: {done.stderr[-200:]}"
        )
    return done.stdout


def turns(site: Site, rounds: int) -> list[int]:
    """Which of the two is first, round after round: whoever is second has the warmer machine."""
    return [turn % 2 for turn in range(max(rounds, 2 if site.sizes.rounds < 3 else rounds))]


def connections(site: Site, scratch: Scratch, ours: Subject) -> list[Row]:
    """What connections cost: those that come and go, and one among many. Both VFSes in turns in one process."""
    directory = site.directory()
    settle([])
    rounds = 7 * site.sizes.rounds
    text = run(scratch, ours, directory, "connections", OURS, STOCK, rounds, READERS)
    found: dict[str, Samples] = {name: defaultdict(list) for name in CONNECTIONS}
    for line in text.splitlines():
        name, own, stock = line.split()
        found[name][OURS].append(float(own))
        found[name][STOCK].append(float(stock))
    shutil.rmtree(directory)
    return [row(what, "us", found[name], WANTED) for name, what in CONNECTIONS.items()]


def speedtest(site: Site, scratch: Scratch, subjects: list[Subject], journal: str) -> list[Row]:
    """The whole of speedtest1, which times itself; without syncs, since those are the disk's time."""
    quick = site.sizes.snapshot_mb < 100
    samples: Samples = defaultdict(list)
    for first in turns(site, 2 if quick else 3 * site.sizes.rounds):
        for subject in (subjects[first], subjects[1 - first]):
            directory = site.directory()
            settle([])
            size = QUICK_SIZE if quick else SIZE
            text = run(
                scratch,
                subject,
                directory,
                "speedtest1",
                "--size",
                size,
                "--nosync",
                "--journal",
                journal,
                "db",
            )
            found = TOTAL.search(text)
            if found is None:
                raise tools.BenchError("speedtest1 printed no total")
            samples[subject.vfs].append(float(found[1]))
            shutil.rmtree(directory)
        say(f"speedtest1, {JOURNALS[journal]}: {samples[OURS][-1]:.2f} s, {STOCK} {samples[STOCK][-1]:.2f} s")
    return [row(f"speedtest1, {JOURNALS[journal]}", "s", samples, WANTED)]


def contended(site: Site, scratch: Scratch, subjects: list[Subject], journal: str) -> list[Row]:
    """Four processes, one row a transaction, as fast as the lock allows; and how evenly they got it."""
    seconds = min(site.sizes.seconds, 5.0)
    total: Samples = defaultdict(list)
    fairness: Samples = defaultdict(list)
    for first in turns(site, site.sizes.rounds + 2):
        for subject in (subjects[first], subjects[1 - first]):
            directory = site.directory()
            settle([])
            text = run(scratch, subject, directory, "contend", "db", journal, PROCESSES, seconds)
            counts = list(map(int, text.split()))
            total[subject.vfs].append(sum(counts) / seconds)
            fairness[subject.vfs].append(min(counts) / max(counts))
            shutil.rmtree(directory)
        say(
            f"{PROCESSES} writers, {JOURNALS[journal]}: {total[OURS][-1]:.0f}/s, {STOCK} {total[STOCK][-1]:.0f}/s"
        )
    name = f"{PROCESSES} writing processes, {JOURNALS[journal]}"
    return [
        row(name, "/s", total, WANTED),
        row(f"{name}: the slowest's part of the fastest", "", fairness, None),
    ]


def row(what: str, unit: str, samples: Samples, wanted: Wanted | None) -> Row:
    """One line: medians of both, and of the ratios of the pairs."""
    pairs = zip(samples[OURS], samples[STOCK], strict=True)
    return Row(
        f"vfs: {what}",
        unit,
        ours=median(samples[OURS]),
        other=median(samples[STOCK]),
        wanted=wanted,
        against=STOCK,
        samples=dict(samples),
        paired=median(times_better(unit, own, stock) for own, stock in pairs),
    )
