"""The long acceptance runs, one command each, each ending with a table; status 1 if anything in it is wrong.

    python -m tests.helpers.acceptance restart-gap --variants 500
    python -m tests.helpers.acceptance kill9 --times 200
    python -m tests.helpers.acceptance v03-kill9 --times 100
    python -m tests.helpers.acceptance histories --count 500
    python -m tests.helpers.acceptance memory
    python -m tests.helpers.acceptance vfs-kill9 --times 500
    python -m tests.helpers.acceptance vfs-lost-commit --times 1000
    python -m tests.helpers.acceptance in-process-soak --minutes 10 --commits 1000000
    python -m tests.helpers.acceptance blob-kill9 --times 200
    python -m tests.helpers.acceptance blob-load --minutes 10
    python -m tests.helpers.acceptance blob-replicated --minutes 1
    python -m tests.helpers.acceptance blob-model
    python -m tests.helpers.acceptance operator-acts --steps 50000 [--only kill] [--without litestream] [--layout v0.3]

LTXCORE_TEST_SUBJECT=litestream runs them against the real Litestream instead.
"""

import argparse
import collections
import contextlib
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.helpers import (
    acceptance_acts,
    acceptance_blob,
    acceptance_vfs,
    gap,
    history,
    kill9,
    memory,
    profiles,
    replicators,
    v03_kill9,
)
from tests.helpers.process import ChildError
from tests.helpers.replicators import RestoreRefused
from tests.helpers.site import Site
from tests.helpers.tables import Row, table

FAULTS = (AssertionError, ChildError, RestoreRefused, OSError)


@contextlib.contextmanager
def temporary_site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="ltx-") as directory:
        site = Site(Path(directory))
        try:
            yield site
        finally:
            site.end()


def restart_gap(arguments: argparse.Namespace) -> bool:
    """Random gaps, ten in a row on one database; one that went wrong ends its row, since a loss stays."""
    rng = random.Random(arguments.seed)
    outcomes: list[gap.Outcome] = []
    while len(outcomes) < arguments.variants:
        with temporary_site() as site:
            replicator = site.running()
            with site.app(autocheckpoint=0) as app:
                for _ in range(min(10, arguments.variants - len(outcomes))):
                    outcomes.append(gap.run(site, app, replicator, gap.random_variant(rng)))
                    if outcomes[-1].problem:
                        break
    by_kind: dict[str, list[gap.Outcome]] = collections.defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.variant.stop].append(outcome)
        by_kind["all"].append(outcome)
    rows = [
        (kind, len(some), sum(bool(o.problem) for o in some), sum(o.full_image for o in some), seconds(some))
        for kind, some in sorted(by_kind.items())
    ]
    for outcome in [outcome for outcome in outcomes if outcome.problem][:10]:
        print(f"{outcome.problem}\n    {outcome.variant}")
    table(("stop", "variants", "wrong", "full images", "seconds"), rows)
    return not any(outcome.problem for outcome in outcomes)


def seconds(outcomes: Sequence[gap.Outcome]) -> str:
    return f"{sum(outcome.seconds for outcome in outcomes):.1f}"


def kills(arguments: argparse.Namespace) -> bool:
    return killed(kill9.Loop, arguments, "full images")


def v03_kills(arguments: argparse.Namespace) -> bool:
    return killed(v03_kill9.Loop, arguments, "new generations")


def killed(loop: type[kill9.Loop], arguments: argparse.Namespace, full: str) -> bool:
    with temporary_site() as site:
        report = loop(site, random.Random(arguments.seed)).run(arguments.times)
    for problem in report.problems[:10]:
        print(problem)
    row = (report.kills, report.promises, len(report.problems), report.full_images, f"{report.seconds:.1f}")
    table(("kills", "promises", "wrong", full, "seconds"), [row])
    return not report.problems and not report.full_images


def histories(arguments: argparse.Namespace) -> bool:
    from hypothesis import settings
    from hypothesis.stateful import run_state_machine_as_test

    profiles.register()
    began, verdict = time.monotonic(), "ok"
    limits = settings(max_examples=arguments.count, stateful_step_count=20, derandomize=False)
    try:
        run_state_machine_as_test(history.History, settings=limits)
    except Exception as error:  # whatever a machine runs into, the table says it
        traceback.print_exception(error)
        verdict = (str(error) or repr(error)).splitlines()[0]
    finally:
        history.Drivers.end()
    tally = history.TALLY
    took = f"{time.monotonic() - began:.1f}"
    head = ("histories", "transactions", "restores", "verdict", "seconds")
    table(head, [(tally.histories, tally.transactions, tally.restores, verdict, took)])
    return verdict == "ok"


def memory_table(arguments: argparse.Namespace) -> bool:
    """The four databases of the requirement; `--scale 10` makes each a tenth as large."""
    rows: list[Row] = []
    for name, prepare in MEMORY.items():
        with temporary_site() as site:
            prepare(site, arguments.scale)
            tasks: list[tuple[str, tuple[Path, ...]]] = [("restore", (site.replica, site.output()))]
            if not site.replica.exists():
                tasks.insert(0, ("replicate", (site.db, site.replica)))
            for task, paths in tasks:
                rows.append(measured_row(name, task, paths))
    table(("database", "task", "peak MiB", "limit MiB", "verdict", "seconds"), rows)
    return all(row[4] == "ok" for row in rows)


def measured_row(name: str, task: str, paths: tuple[Path, ...]) -> Row:
    began = time.monotonic()
    try:
        used = memory.peak(task, *paths)
    except FAULTS as error:
        return name, task, "-", memory.LIMIT // 1024, str(error).splitlines()[-1], "-"
    verdict = "ok" if used <= memory.LIMIT else "too much"
    return name, task, used // 1024, memory.LIMIT // 1024, verdict, f"{time.monotonic() - began:.1f}"


MEMORY: dict[str, Callable[[Site, int], None]] = {
    "1 GB": lambda site, scale: memory.big_database(site.db, 1000 // scale),
    "300 MB of 512 bytes": lambda site, scale: memory.big_database(site.db, 300 // scale, page_size=512),
    "200 MB in 2000 files": lambda site, scale: memory.many_files(site, 200 // scale, 2000 // scale),
    "4 GB sparse": lambda site, scale: memory.sparse_database(site.db, 4096 // scale),
}


OTHERS = acceptance_vfs.COMMANDS | acceptance_blob.COMMANDS | acceptance_acts.COMMANDS


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.helpers.acceptance", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Callable[[Any], bool], *options: tuple[str, int | str]) -> None:
        made = commands.add_parser(name)
        for option, default in options:
            made.add_argument(option, type=type(default), default=default)
        made.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
        made.set_defaults(run=run)

    command("restart-gap", restart_gap, ("--variants", 500))
    command("kill9", kills, ("--times", 200))
    command("v03-kill9", v03_kills, ("--times", 100))
    command("histories", histories, ("--count", 500))
    command("memory", memory_table, ("--scale", 1))
    for name, (run, *options) in OTHERS.items():
        command(name, run, *options)
    arguments = parser.parse_args(argv)
    print(f"subject {replicators.SUBJECT}, seed {arguments.seed}", flush=True)
    return 0 if arguments.run(arguments) else 1


if __name__ == "__main__":
    sys.exit(main())
