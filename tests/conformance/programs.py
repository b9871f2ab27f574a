"""Programs of SQLite in one process: speedtest1 with a hash of its results, kvtest, the thread tests."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.conformance import outcome
from tests.conformance.outcome import Outcome
from tests.conformance.site import Site
from tests.conformance.subject import Subject, Usage

TIMEOUT = 300.0
HASH = re.compile(r"^Verification Hash: (\S+ \S+)", re.MULTILINE)
#: How threadtest4 gives up over stock too, in about one run of eight: its threads wait for each other, or for the locks of
#: a shared cache, which never reach a VFS. It is then run again; a lock of ours that is kept would show every time.
GIVING_UP = ("Deadlock in thread", "(6,262)")
ATTEMPTS = 5
#: Chosen for the time they take; the rest do the same for longer.
THREAD_TESTS = ("walthread1", "walthread5", "cgt_pager_1", "checkpoint_starvation_1", "stress1", "vacuum1")
QUICK_THREAD_TESTS = ("cgt_pager_1",)
FAILED_THREAD_TEST = re.compile(r"^.*(?:SQLite error|: *FAIL|[1-9]\d* errors?).*$", re.MULTILINE)


def speedtest(site: Site, subject: Subject, journal: str, timeout: float = TIMEOUT) -> Outcome:
    """Everything that it does, and a hash over all that it read."""
    options = ["--verify", "--size", 5 if site.quick else 25, "--journal", journal]
    done, faults = single(site, subject, ["speedtest1", *options, "db"], timeout)
    found = HASH.search(done.text)
    if found is None:
        faults.append("no verification hash")
    return Outcome(found[1][:16] if found else "no hash", faults, done.seconds, found and found[1])


def kvtest(site: Site, subject: Subject, journal: str, timeout: float = TIMEOUT) -> Outcome:
    """Blobs in one table: made, updated, read at random and in order."""
    directory = site.directory()
    program = site.scratch.program("kvtest")
    environment = subject.environment(site.scratch.bin, directory)
    count = 200 if site.quick else 2000
    steps: list[list[object]] = [
        ["init", "db", "--count", count, "--size", 10000, "--variance", 2000],
        ["run", "db", "--count", count, "--update", "--random", "--jmode", journal, "--stats"],
        ["run", "db", "--count", count, "--blob-api", "--desc", "--jmode", journal, "--stats"],
        ["run", "db", "--count", count, "--asc", "--multitrans", "--jmode", journal, "--integrity-check"],
    ]
    faults, seconds = [], 0.0
    for step in steps:
        done = outcome.run([program, *step], directory, environment, timeout)
        seconds += done.seconds
        faults += done.faults()
        if "integrity" in done.text and "ok" not in done.text:
            faults.append(outcome.last_words(done.text))
    return Outcome(f"{count} blobs", [*faults, *Usage.read(directory).faults(subject)], seconds)


def threads(site: Site, subject: Subject, timeout: float = TIMEOUT) -> Outcome:
    """Many connections in many threads of one process, in WAL mode for most of it."""
    names = QUICK_THREAD_TESTS if site.quick else THREAD_TESTS
    done, faults = single(site, subject, ["threadtest3", *names], timeout)
    found = FAILED_THREAD_TEST.findall(done.text)
    faults += [line.strip() for line in found if not line.strip().startswith("0 errors")][:3]
    return Outcome(f"{len(names)} tests", faults, done.seconds)


def more_threads(site: Site, subject: Subject, *, wal: bool, timeout: float = TIMEOUT) -> Outcome:
    """Threads that write and vacuum, with and without a shared cache."""
    command: list[object] = ["threadtest4", *(["-wal"] if wal else []), 4]
    for _ in range(ATTEMPTS):
        done, faults = single(site, subject, command, timeout)
        if not any(words in done.text for words in GIVING_UP):
            break
    return Outcome("4 threads", faults, done.seconds)


def memory_threads(site: Site, subject: Subject, timeout: float = TIMEOUT) -> Outcome:
    """Statements of one connection in several threads."""
    done, faults = single(site, subject, ["threadtest5", "db"], timeout)
    return Outcome("", faults, done.seconds)


def single(
    site: Site, subject: Subject, command: Sequence[object], timeout: float
) -> tuple[outcome.Finished, list[str]]:
    """Run one program; the faults that its end and its use of VFSes show."""
    directory = site.directory()
    argv = [site.scratch.program(str(command[0])), *command[1:]]
    done = outcome.run(argv, directory, subject.environment(site.scratch.bin, directory), timeout)
    return done, [*done.faults(), *Usage.read(directory).faults(subject)]
