"""`python -m tests.conformance`: SQLite's test programs over our VFS, with negative controls; one table.

The exit code is 0 only if every check passed and every negative control was noticed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from tests.conformance import controls, table
from tests.conformance.checks import DEFAULT, Check, all_checks
from tests.conformance.outcome import Outcome
from tests.conformance.scratch import Scratch, ScratchError, say
from tests.conformance.site import Site
from tests.conformance.table import Line

ROOT = Path(__file__).parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare, run, show."""
    options = parser().parse_args(argv)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    scratch = Scratch(options.scratch)
    site = Site(scratch, None, quick=options.quick)
    chosen = [check for check in all_checks(site) if is_chosen(check, options.only)]
    if options.list or not chosen:
        print(*(check.title for check in chosen or all_checks(site)), sep="\n")
        return 0 if chosen else 2
    try:
        scratch.prepare(tcl=any(check.name == "tcl" for check in chosen))
        choose_object(site, options)
        return run_all(site, chosen, options)
    except ScratchError as error:
        say(str(error))
        return 2
    finally:
        site.clean()


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.split("\n", 1)[0])
    made.add_argument(
        "--quick", action="store_true", help="the checks that take seconds, one name, few controls"
    )
    made.add_argument(
        "--only", action="append", metavar="NAME", help="this check, or those of a pattern; may be repeated"
    )
    made.add_argument("--list", action="store_true", help="the names of the checks")
    made.add_argument("--no-controls", action="store_true", help="leave the negative controls out")
    made.add_argument("--so", type=Path, default=ROOT / "target" / "release" / "libltxcore.so")
    made.add_argument(
        "--stand-in", action="store_true", help="a second copy of SQLite instead: tests the harness itself"
    )
    made.add_argument("--scratch", type=Path, default=ROOT / "target" / "conformance", metavar="DIR")
    made.add_argument("--json", type=Path, metavar="FILE", help="the table as JSON")
    return made


def is_chosen(check: Check, patterns: Sequence[str] | None) -> bool:
    """Whether a check is asked for: by name, by its beginning, or by a pattern."""
    return patterns is None or any(
        fnmatchcase(check.title, pattern) or check.title.startswith(f"{pattern}/") for pattern in patterns
    )


def choose_object(site: Site, options: argparse.Namespace) -> None:
    """The shared object that registers what is tested."""
    if options.stand_in:
        site.so = site.scratch.program("foreign.so")
        site.extra = {"CONFORMANCE_FOREIGN": str(site.scratch.program("libforeign.so"))}
    elif options.so.exists():
        site.so = options.so.resolve()
    else:
        raise ScratchError(f"no {options.so}: cargo build --release -p ltxcore-ext")


def run_all(site: Site, checks: Sequence[Check], options: argparse.Namespace) -> int:
    """Every check with its controls; the table, and whether all is well."""
    began = time.monotonic()
    stock: dict[str, Outcome] = {}
    lines = [one(site, check, stock, has_controls=not options.no_controls) for check in checks]
    missing = unnoticed(lines) if options.only is None and not site.quick and not options.no_controls else []
    print(f"\n{table.render(lines)}\n")
    for line in lines:
        print(*line.reasons(), sep="\n", end="\n" * bool(line.reasons()))
    if missing:
        print(f"no check notices a broken {', '.join(missing)}")
    print(f"{sum(line.is_good for line in lines)} of {len(lines)} passed, {time.monotonic() - began:.0f} s")
    if options.json is not None:
        report = [
            {
                "title": line.title,
                "ours": line.ours,
                "faults": line.faults,
                "caught": line.caught,
                "missed": line.missed,
                "seconds": line.seconds,
            }
            for line in lines
        ]
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return int(bool(missing) or not all(line.is_good for line in lines))


def one(site: Site, check: Check, stock: dict[str, Outcome], *, has_controls: bool) -> Line:
    """One check: ours, stock beside it, then ours with broken methods."""
    subject = site.subject(check.vfs, is_mixed=check.is_mixed)
    ours = check.run(site, subject)
    line = Line(check.title, ours.seconds, ours.figure, faults=ours.faults)
    say(f"{check.title}: {ours.seconds:.1f} s, {'; '.join(ours.faults) or 'ok'}")
    if check.beside_stock:
        key = check.stock_key or check.title
        if key not in stock:
            stock[key] = check.run(site, site.stock)
        line.stock = stock[key].figure
        line.faults += difference(ours, stock[key])
    wanted = controls.CONTROLS.get(check.title, ()) if has_controls and check.vfs == DEFAULT else ()
    for method in wanted[:1] if site.quick else wanted:
        broken = (check.control or check.run)(site, subject.with_broken(method))
        noticed = broken.faults or (
            check.beside_stock and difference(broken, stock[check.stock_key or check.title])
        )
        (line.caught if noticed else line.missed).append(method)
        say(
            f"{check.title}: {method} broken: {'; '.join(broken.faults[:2]) or noticed or 'NOT NOTICED'}"[
                :300
            ]
        )
    return line


def difference(ours: Outcome, stock: Outcome) -> list[str]:
    """What stock does otherwise. Errors that it has as well are expected ones."""
    found = [f"stock fails too: {fault}" for fault in stock.faults]
    return (
        found
        if ours.compared == stock.compared
        else [*found, f"{ours.compared} where stock has {stock.compared}"[:400]]
    )


def unnoticed(lines: Sequence[Line]) -> list[str]:
    """Methods that can be broken without any check that notices."""
    caught = {method for line in lines for method in line.caught}
    return [method for method in controls.METHODS if method not in caught]


if __name__ == "__main__":
    sys.exit(main())
