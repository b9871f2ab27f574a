"""SQLite's multi-process test: a dozen processes that write, read and crash, on one VFS or on two."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import outcome
from tests.conformance.outcome import Outcome
from tests.conformance.site import Site
from tests.conformance.subject import Subject, Usage

SCRIPTS = ("multiwrite01", "crash01", "config01", "config02")
JOURNALS = ("delete", "wal")
#: Not in WAL: the script changes the page size under the feet of others, which WAL does not allow, and waits for ever for what
#: that should have made. It does so over SQLite's own VFS, too.
ROLLBACK_ONLY = frozenset({"config01"})
TIMEOUT = 120.0
#: A control is stopped sooner: processes that wait for each other for ever are what it is meant to show.
CONTROL_TIMEOUT = 40.0
SUMMARY = re.compile(r"^Summary: (\d+) errors out of (\d+) tests", re.MULTILINE)
#: Without the number of the process, which is no part of an error.
ERROR = re.compile(r"^\d+\.[a-z0-9]+:\s?(ERROR: .*|FATAL.*)$", re.MULTILINE)
#: Scripts that look at the name of the VFS skip themselves over any other than `unix`, and count that as a success.
VFS_CONDITION = re.compile(r"^--if vfsname\(\) GLOB .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Protocol:
    """A VFS name, and what of mptester applies to it."""

    vfs: str
    journals: tuple[str, ...]
    scripts: tuple[str, ...]
    #: Whether its locks and those of `unix` exclude each other.
    is_mixable: bool
    reason: str


PROTOCOLS = (
    Protocol("ltx-os", JOURNALS, SCRIPTS, True, ""),
    Protocol("ltx-posix", JOURNALS, SCRIPTS, True, ""),
    Protocol(
        "ltx-flock",
        JOURNALS,
        SCRIPTS,
        False,
        "never mixed: flock and record locks do not see each other on Linux",
    ),
    Protocol(
        "ltx-dotfile",
        ("delete",),
        ("multiwrite01", "config01"),
        False,
        "never mixed: unix knows nothing of NAME.lock; no WAL: one process only; crash01 and config02 crash with the "
        "lock taken, and whether it is then stale is for a test of our own to say",
    ),
    Protocol(
        "ltx-excl", (), (), False, "one process at a time by design, and mptester is many; see programs.py"
    ),
    Protocol("ltx-none", (), (), False, "takes no locks: it is a negative control"),
)


def run(
    site: Site, subject: Subject, script: str, journal: str, *, timeout: float = TIMEOUT, repeat: int = 1
) -> Outcome:
    """One script. `compared` is what has to be as with stock: how many tests, which errors."""
    directory = site.directory()
    path = script_file(site, directory, script)
    argv = [site.scratch.program("mptester"), "db", path, "--journalmode", journal, "--repeat", repeat]
    done = outcome.run(argv, directory, subject.environment(site.scratch.bin, directory), timeout)
    usage = Usage.read(directory)
    faults = [*[fault for fault in done.faults() if "exit code" not in fault], *usage.faults(subject)]
    summary = SUMMARY.search(done.text)
    if summary is None:
        return Outcome("no summary", [*faults, outcome.last_words(done.text)], done.seconds)
    faults += integrity_faults(directory / "db")
    errors = tuple(sorted(normalised(error) for error in ERROR.findall(done.text)))
    figure = f"{summary[2]} tests, {summary[1]} errors"
    if subject.is_mixed:
        figure += f", {usage.processes['ours']}+{usage.processes['stock']} processes"
    if int(summary[2]) == 0:
        faults.append("no test was run")
    return Outcome(figure, faults, done.seconds, (summary[2], errors))


def script_file(site: Site, directory: Path, script: str) -> Path:
    """The script, and those that it sources, without the condition that would skip it over our VFS."""
    for source in (site.scratch.tree / "mptest").glob("*test"):
        text = VFS_CONDITION.sub("--if 1", source.read_text())
        (directory / source.name).write_text(text)
    return directory / f"{script}.test"


def normalised(error: str) -> str:
    """An error without what differs from run to run."""
    return re.sub(r"\S*/", "", error).strip()


def integrity_faults(db: Path) -> list[str]:
    """What SQLite itself thinks of the database that is left."""
    if not db.exists():
        return ["no database is left"]
    try:
        with contextlib.closing(sqlite3.connect(db)) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    except sqlite3.Error as error:
        return [f"integrity check: {error}"]
    return [] if found == ["ok"] else [f"integrity check: {found[0]}"]
