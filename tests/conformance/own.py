"""What none of SQLite's programs notices when it is broken: tests of our own, in `c/own.c`."""

from __future__ import annotations

import re

from tests.conformance import outcome
from tests.conformance.outcome import Outcome
from tests.conformance.site import Site
from tests.conformance.subject import Subject, Usage

CASES = ("reserved", "last-close", "short-read", "controls", "symlink", "read-only", "descriptors")
TIMEOUT = 30.0
#: `PID fdatasync(3</a/db-journal>) = 0`: which file, whatever the call.
SYNC = re.compile(r"\b(?:fsync|fdatasync)\(\d+<[^>]*?([^/>]+)>\)\s+= 0")


def case(site: Site, subject: Subject, name: str) -> Outcome:
    """One of them, as an ordinary user."""
    directory = site.directory()
    argv = [site.scratch.program("own"), name, directory / "db"]
    environment = subject.environment(site.scratch.bin, directory)
    done = outcome.run(argv, directory, environment, TIMEOUT, site.ordinary_user())
    return Outcome("", [*done.faults(), *Usage.read(directory).faults(subject)], done.seconds)


def syncs(site: Site, subject: Subject) -> Outcome:
    """Which files and directories are synced, in which order: it must be the same as with stock."""
    directory = site.directory()
    trace = directory / "trace"
    strace = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", trace]
    argv = [*strace, site.scratch.program("own"), "syncs", directory / "db"]
    done = outcome.run(argv, directory, subject.environment(site.scratch.bin, directory), TIMEOUT)
    text = trace.read_text() if trace.exists() else ""
    order = [name.replace(directory.name, "directory") for name in SYNC.findall(text)]
    faults = [*done.faults(), *Usage.read(directory).faults(subject)]
    return Outcome(f"{len(order)} syncs", faults, done.seconds, tuple(order))
