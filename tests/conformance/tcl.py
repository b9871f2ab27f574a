"""SQLite's Tcl suite, file by file, as an ordinary user; what fails with stock too is no fault of ours."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import outcome, tcl_files
from tests.conformance.outcome import Outcome
from tests.conformance.scratch import say
from tests.conformance.site import Site
from tests.conformance.subject import Subject, Usage

FILE_TIMEOUT = 150.0
CONTROL_TIMEOUT = 30.0
TOTAL = re.compile(r"^(\d+) errors out of (\d+) tests", re.MULTILINE)
FAILED = re.compile(r"^!? ?!?Failures on these tests: (.*)$", re.MULTILINE)
#: Files that need no database, or open one through a VFS of their own.
LIST_SCRIPT = """\
set testdir {testdir}
set argv0 $testdir/conformance.test
source $testdir/permutations.test
foreach file $allquicktests {{ puts "file: $file" }}
exit
"""


@dataclass(frozen=True, slots=True)
class FileResult:
    """One test file."""

    tests: int = 0
    failed: tuple[str, ...] = ()
    #: Why it did not come to its end.
    ended: str = ""
    databases: int = 0
    stock_databases: int = 0


def suite(
    site: Site, subject: Subject, names: Iterable[str] | None = None, timeout: float = FILE_TIMEOUT
) -> dict[str, FileResult]:
    """Run files, as many at once as there are processors; by default all that apply."""
    files = list(names) if names is not None else applicable(site)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        results = pool.map(lambda name: one_file(site, subject, name, timeout), files)
        return dict(zip(files, results, strict=True))


def applicable(site: Site) -> list[str]:
    """The files that SQLite's own quick suite has, without those that cannot apply."""
    directory = site.directory()
    script = directory / "list.tcl"
    script.write_text(LIST_SCRIPT.format(testdir=site.scratch.tree / "test"))
    environment = site.stock.environment(site.scratch.bin, directory, logged=False)
    done = outcome.run([site.scratch.program("testfixture"), script], directory, environment, FILE_TIMEOUT)
    names = [line.removeprefix("file: ") for line in done.text.splitlines() if line.startswith("file: ")]
    return sorted({Path(name).name for name in names if tcl_files.reason(name) is None})


def one_file(site: Site, subject: Subject, name: str, timeout: float) -> FileResult:
    """Run one file in a directory and a process of its own, so that it can fail alone."""
    directory = site.directory(in_memory=True)
    path = site.scratch.tree / "test" / name
    environment = {"HOME": str(directory), **subject.environment(site.scratch.bin, directory)}
    argv = [site.scratch.program("testfixture"), path]
    done = outcome.run(argv, directory, environment, timeout, site.ordinary_user())
    total, failed = TOTAL.search(done.text), FAILED.search(done.text)
    usage = Usage.read(directory)
    meant = "broken" if subject.broken else subject.vfs
    ended = "" if total else (done.faults() or ["no summary"])[0]
    result = FileResult(
        tests=int(total[2]) if total else 0,
        failed=tuple(failed[1].split()) if failed else (),
        ended=ended,
        databases=usage.databases[meant],
        stock_databases=0 if subject.is_stock else usage.databases[site.stock.vfs],
    )
    outcome.remove(directory)
    return result


def stock_results(site: Site, names: Iterable[str]) -> dict[str, FileResult]:
    """What stock SQLite does, from the run before if there was one: neither it nor its tests change."""
    path = site.scratch.root / "tcl" / "stock.json"
    known = (
        {key: FileResult(**value) for key, value in json.loads(path.read_text()).items()}
        if path.exists()
        else {}
    )
    missing = [name for name in names if name not in known]
    if missing:
        say(f"tcl: {len(missing)} files over stock, for comparison")
        known |= suite(site, site.stock, missing)
        path.write_text(json.dumps({name: dataclasses.asdict(result) for name, result in known.items()}))
    return known


def compare(site: Site, subject: Subject, names: list[str] | None, timeout: float = FILE_TIMEOUT) -> Outcome:
    """Ours beside stock. A file that fails is run once more, alone, before that counts."""
    began = time.monotonic()
    files = names if names is not None else applicable(site)
    stock = stock_results(site, files)
    ours = suite(site, subject, files, timeout)
    if not subject.broken:
        for name in [name for name in files if differences(name, ours[name], stock[name])]:
            ours[name] = one_file(site, subject, name, timeout)
    faults = [fault for name in files for fault in differences(name, ours[name], stock[name])]
    databases = sum(result.databases for result in ours.values())
    through_stock = sum(result.stock_databases for result in ours.values())
    if databases == 0 or through_stock * 20 > databases:
        faults.append(f"{databases} databases were opened through it, {through_stock} through stock")
    figure = f"{len(files)} files, {sum(result.tests for result in ours.values())} tests"
    return Outcome(figure, faults, time.monotonic() - began)


def differences(name: str, ours: FileResult, stock: FileResult) -> list[str]:
    """What one file shows that stock does not have."""
    if ours.ended:
        return [] if stock.ended else [f"{name}: {ours.ended}"]
    known = {*stock.failed}
    found = [test for test in ours.failed if test not in known and not tcl_files.may_differ(test)]
    if found:
        return [f"{name}: {' '.join(found[:6])}{' ...' if len(found) > 6 else ''}"]
    if ours.tests < stock.tests * 0.98 and name not in tcl_files.FEWER_TESTS:
        return [f"{name}: only {ours.tests} of {stock.tests} tests were run"]
    return []
