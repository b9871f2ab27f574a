"""The long acceptance runs of the OS VFS, and of a DB beside the application's connections in one process."""

import argparse
import dataclasses
import random
import tempfile
from pathlib import Path
from typing import Any

from tests.helpers import lost_commit, soak, vfs_kill9
from tests.helpers.tables import table


def temporary_room() -> Any:
    return tempfile.TemporaryDirectory(prefix="ltx-")


def kills(arguments: argparse.Namespace) -> bool:
    with temporary_room() as room:
        report = vfs_kill9.run(Path(room), arguments.times, random.Random(arguments.seed))
    for problem in report.problems[:10]:
        print(problem)
    table(("killed at", "times"), sorted(report.moments.items()))
    print()
    head = ("kills", "acknowledged", "of partners", "wrong", "seconds")
    figures = (report.kills, report.acknowledged, report.partner_commits, len(report.problems))
    table(head, [(*figures, f"{report.seconds:.1f}")])
    return not report.problems and report.kills == arguments.times


def lost_commits(arguments: argparse.Namespace) -> bool:
    """In this process, since that is the point; the negative control shows that a loss would be seen."""
    rows = []
    for how, tries in (("naked", 10), ("db", arguments.times)):
        with temporary_room() as room:
            outcome = lost_commit.run(how, Path(room) / "db", tries, arguments.seed)
        rows.append((how, outcome.tries, outcome.opened, outcome.lost, outcome.unequal, outcome.restored))
    table(("beside", "tries", "DB opened", "lost", "views differ", "restored"), rows)
    return rows[0][3] == 1 and rows[1][1:] == (arguments.times, rows[1][2], 0, 0, True)


def in_process_soak(arguments: argparse.Namespace) -> bool:
    with temporary_room() as room:
        report = soak.run(
            Path(room), seconds=60 * arguments.minutes, commits=arguments.commits, seed=arguments.seed
        )
    for problem in report.problems:
        print(problem)
    facts = {name: value for name, value in dataclasses.asdict(report).items() if name != "problems"}
    facts["seconds"] = f"{report.seconds:.1f}"
    table([name.replace("_", " ") for name in (*facts, "wrong")], [(*facts.values(), len(report.problems))])
    return not report.problems and report.commits >= arguments.commits


COMMANDS: dict[str, Any] = {
    "vfs-kill9": (kills, ("--times", 500)),
    "vfs-lost-commit": (lost_commits, ("--times", 1000)),
    "in-process-soak": (in_process_soak, ("--minutes", 10), ("--commits", 1_000_000)),
}
