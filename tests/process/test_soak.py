"""A DB in the process of the application that it replicates, with everything that may go on there at once.

The long version: python -m tests.helpers.acceptance in-process-soak --minutes 10 --commits 1000000.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.process import ROOT, environment

pytestmark = pytest.mark.process

SCRIPT = """
import sys
from pathlib import Path
from tests.helpers import soak

report = soak.run(Path(sys.argv[1]), seconds=float(sys.argv[2]), commits=int(sys.argv[3]), seed=1)
print(report)
sys.exit(bool(report.problems) or min(report.reads, report.checkpoints, report.db_opened, report.watched) == 0)
"""


def run(tmp_path: Path, seconds: float, commits: int) -> None:
    """In a process of its own: what it is about is one process."""
    argv = [sys.executable, "-c", SCRIPT, str(tmp_path), str(seconds), str(commits)]
    done = subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(120)
def test_a_short_one(tmp_path: Path) -> None:
    run(tmp_path, 4, 1000)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_longer_one(tmp_path: Path) -> None:
    run(tmp_path, 20, 10_000)
