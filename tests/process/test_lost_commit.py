"""A commit must not be lost because a DB was opened or closed in the process that made it.

Seen with a plain open and close of the database file: another process took itself for the last one, deleted `-wal` and `-shm`,
and the next commit of the first process was there for nobody else, while integrity_check said ok.

The long version: python -m tests.helpers.acceptance vfs-lost-commit --times 1000.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.process import ROOT, environment
from tests.helpers.profiles import marks, sized

pytestmark = [pytest.mark.process, *marks(60, 600)]


def run(how: str, path: Path, tries: int) -> Any:
    argv = [sys.executable, "-m", "tests.helpers.lost_commit", how, str(path), str(tries), "6"]
    done = subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_commit_is_lost_while_a_db_comes_and_goes(tmp_path: Path) -> None:
    tries = sized(100, 1000)
    outcome = run("db", tmp_path / "db", tries)
    assert (outcome["tries"], outcome["lost"], outcome["unequal"]) == (tries, 0, 0)
    assert outcome["opened"] > tries / 20
    assert outcome["restored"]


def test_a_naked_close_loses_one(tmp_path: Path) -> None:
    """The hazard is real, and the test above would see it."""
    outcome = run("naked", tmp_path / "db", 20)
    assert outcome["lost"] == 1
