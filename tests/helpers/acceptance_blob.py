"""The long acceptance runs of the blob store."""

import argparse
import dataclasses
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.helpers import blob_kill9, blob_load
from tests.helpers.process import ROOT
from tests.helpers.tables import table


def show(report: Any) -> bool:
    for problem in report.problems[:20]:
        print(problem)
    facts = {name: value for name, value in dataclasses.asdict(report).items() if name != "problems"}
    facts["seconds"] = f"{report.seconds:.1f}"
    table([name.replace("_", " ") for name in (*facts, "wrong")], [(*facts.values(), len(report.problems))])
    return not report.problems


def kills(arguments: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory(prefix="ltx-") as room:
        report = blob_kill9.run(Path(room), arguments.times, random.Random(arguments.seed))
    return show(report) and report.kills == arguments.times


def load(arguments: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory(prefix="ltx-") as room:
        report = blob_load.load(Path(room), 60 * arguments.minutes, arguments.seed)
    return show(report) and report.descriptors <= 0 and report.threads <= 0 and report.rss_growth_mib < 16


def replicated(arguments: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory(prefix="ltx-") as room:
        report = blob_load.replicated(Path(room), 60 * arguments.minutes, arguments.seed)
    return show(report) and report.restored > 5


def model(_arguments: argparse.Namespace) -> bool:
    """The state machine in its slow profile: at least 10,000 steps, or it fails."""
    command = [sys.executable, "-m", "pytest", "-q", "--timeout", "3000", "tests/property/test_blob_store.py"]
    env = os.environ | {"LTXCORE_HYPOTHESIS": "slow"}
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode == 0


COMMANDS: dict[str, Any] = {
    "blob-kill9": (kills, ("--times", 200)),
    "blob-load": (load, ("--minutes", 10)),
    "blob-replicated": (replicated, ("--minutes", 1)),
    "blob-model": (model,),
}
