"""Test suites of others that use SQLite from Python, with our VFS as the default one of their process.

Each is run without and with it. What fails with it alone is a fault, unless `peer_suites.py` names it with a reason.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import venv
from dataclasses import dataclass
from pathlib import Path

import ltxcore

from tests.conformance import outcome
from tests.conformance.outcome import Outcome
from tests.conformance.peer_suites import KNOWN, Suite
from tests.conformance.scratch import ScratchError, say
from tests.conformance.site import Site
from tests.conformance.subject import Subject

TIMEOUT = 1800.0
#: What every Python of a run does first. It goes on after an error in here, so this ends it.
CUSTOMIZE = f"""\
import os, sys
sys.path.append({str(Path(ltxcore.__file__).parents[1])!r})

def use(name, lock, module):
    import importlib, ltxcore
    module = importlib.import_module(module)
    ltxcore.OSVFS(name=name, lock=lock).register(module, make_default=True)
    path = f"{{os.path.dirname(__file__)}}/{{os.getpid()}}.db"
    connection = (getattr(module, "connect", None) or module.Connection)(path)
    assert list(connection.execute("PRAGMA ltx_lock")), "it is not the default"
    connection.close()
    os.unlink(path)

if chosen := os.environ.get("CONFORMANCE_PEER"):
    try:
        use(*chosen.split(":"))
    except BaseException as error:
        print("the VFS is not in use:", repr(error), file=sys.stderr, flush=True)
        os._exit(99)
"""
#: `FAIL: test_a (package.Class.test_a)` of unittest, `FAILED tests/test_a.py::test_a - Error` of pytest.
FAILED = re.compile(
    r"^(?:(?:FAIL|ERROR): (?P<unit>\S+(?: \([^)\s]+\))?)|(?:FAILED|ERROR) (?P<pytest>\S+?)(?: - .*)?$)", re.M
)
COUNT = re.compile(r"^Ran (\d+) tests?|^=*.*?\b(\d+) passed\b", re.M)
#: The suites of CPython; each Python has its own.
CPYTHON = Suite("cpython", (), ("-m", "test", "-v", "test_sqlite3"))


@dataclass(frozen=True, slots=True)
class Result:
    """What a suite said."""

    tests: int
    failed: frozenset[str]
    seconds: float
    #: Why it did not come to its end.
    ended: str = ""


def interpreters() -> dict[str, Path]:
    """Every Python from 3.11 on that this machine has with its tests, by version; this one is first."""
    here = Path(sys.executable).resolve()
    folders = [*Path.home().glob(".pyenv/versions/*/bin"), Path("/usr/bin"), Path("/usr/local/bin")]
    paths = [here, *(folder / f"python3.{minor}" for folder in folders for minor in range(11, 20))]
    found: dict[str, Path] = {}
    for path in paths:
        library = path.resolve().parents[1] / "lib" / path.resolve().name
        if path.exists() and (library / "test" / "test_sqlite3").is_dir():
            found.setdefault(path.resolve().name.removeprefix("python"), path.resolve())
    return found


def cpython(site: Site, subject: Subject, python: Path) -> Outcome:
    """The tests that a Python brings for its own module."""
    return compare(site, subject, CPYTHON, python)


def peer(site: Site, subject: Subject, suite: Suite) -> Outcome:
    """The tests of a package, in an environment of its own."""
    return compare(site, subject, suite, environment_of(site, suite))


def compare(site: Site, subject: Subject, suite: Suite, python: Path) -> Outcome:
    """Ours beside stock. What fails must fail twice before that counts."""
    stock, ours = run(site, None, suite, python), run(site, subject, suite, python)
    known = {*KNOWN.get(suite.name, {})}
    found = ours.failed - stock.failed - known
    if found:
        found &= run(site, subject, suite, python).failed
    faults = [f"only with it: {name}" for name in sorted(found)]
    if stock.ended or ours.ended:
        faults.append(f"{ours.ended or 'ended'}; without it: {stock.ended or 'ended'}")
    elif ours.tests < stock.tests * 0.98:
        faults.append(f"only {ours.tests} of {stock.tests} tests were run")
    if unneeded := known & stock.failed | known - ours.failed:
        faults.append(f"named as a difference, which it is not: {sorted(unneeded)}")
    return Outcome(f"{ours.tests} tests, {len(stock.failed)} fail without it", faults, ours.seconds)


def run(site: Site, subject: Subject | None, suite: Suite, python: Path) -> Result:
    """One run, in a copy of the source of its own."""
    directory = site.directory()
    if suite.source:
        with tarfile.open(source_of(site, suite)) as archive:
            archive.extractall(directory, filter="data")
        (tree,) = [path for path in directory.iterdir() if path.is_dir()]
    else:
        tree = directory
    for name, text in suite.files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text.replace("DIRECTORY", str(directory)))
    # Else a suite without settings of its own takes ours.
    (directory / "pytest.ini").write_text("")
    start = directory / "start"
    start.mkdir()
    (start / "sitecustomize.py").write_text(CUSTOMIZE)
    lock = subject.vfs.removeprefix("ltx-").replace("os", "auto") if subject else ""
    environment = {
        "PYTHONPATH": str(start),
        "CONFORMANCE_PEER": f"{subject.vfs}:{lock}:{suite.module}" if subject else "",
        "HOME": str(directory),
        "TMPDIR": str(directory),
    }
    # In its own folder, since the output of a run is written to the one that it has.
    argv = ["env", "-C", tree / suite.folder, python, *suite.arguments]
    done = outcome.run(argv, directory, environment, TIMEOUT)
    shutil.rmtree(directory, ignore_errors=True)
    return result(done)


def result(done: outcome.Finished) -> Result:
    """Read what it printed; an exit code of 1 says no more than the tests that failed."""
    failed = frozenset(found["unit"] or found["pytest"] for found in FAILED.finditer(done.text))
    counts = [int(one or other) for one, other in COUNT.findall(done.text)]
    tests = counts[-1] if counts else 0
    ended = "" if tests and done.code is not None else "; ".join(done.faults()) or "it counted no tests"
    return Result(tests, failed, done.seconds, ended)


def environment_of(site: Site, suite: Suite) -> Path:
    """The Python of a suite's environment, made once for what it needs."""
    folder = site.scratch.root / "peers" / suite.name
    mark, wanted = folder / "packages", "\n".join(suite.packages)
    if not mark.exists() or mark.read_text() != wanted:
        say(f"installing {', '.join(suite.packages)}")
        venv.create(folder, with_pip=True, clear=True)
        pip(folder, "install", *suite.packages)
        mark.write_text(wanted)
    return folder / "bin" / "python"


def source_of(site: Site, suite: Suite) -> Path:
    """Its source distribution, fetched once."""
    environment_of(site, suite)
    folder = site.scratch.root / "peers" / suite.name
    kept = folder / "source" / suite.source
    if not kept.is_dir():
        unfinished = outcome.empty_directory(folder / "source" / "unfinished")
        pip(folder, "download", "--no-deps", "--no-binary", ":all:", "--dest", str(unfinished), suite.source)
        unfinished.rename(kept)
    (archive,) = kept.iterdir()
    return archive


def pip(folder: Path, *arguments: str) -> None:
    """One command of an environment's pip."""
    command = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ScratchError(f"pip {' '.join(arguments)}: {outcome.last_words(done.stderr)}")
