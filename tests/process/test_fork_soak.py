"""A process with busy threads that forks again and again: no child hangs because of us, and nothing of it is left behind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.process import ROOT, environment

pytestmark = pytest.mark.process


def run(room: Path, forks: int, *flags: str, timeout: float) -> dict[str, Any]:
    """The report, with the last words of children that hung or failed."""
    room.mkdir()
    argv = [sys.executable, "-W", "ignore", "-m", "tests.helpers.fork_soak", str(room / "files")]
    done = subprocess.run(
        [*argv, "--forks", str(forks), *flags],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.stdout, done.stderr[-5000:]
    report: dict[str, Any] = json.loads(done.stdout)
    (room / "said").write_text(done.stderr)
    print(report, done.stderr[-20000:] if report["problems"] else "")
    return report


@pytest.mark.timeout(240)
def test_a_few_hundred_forks(tmp_path: Path) -> None:
    report = run(tmp_path / "ours", 200, timeout=230)
    assert report["problems"] == []
    assert report["forks"] == 200 and set(report["uses"]) == {"db", "stock", "os", "blob"}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_forks(tmp_path: Path) -> None:
    """And plain SQLite, without us, does not do better where children hang in it."""
    report = run(tmp_path / "ours", 10_000, timeout=5000)
    stock = run(tmp_path / "stock", 2000, "--without", timeout=2000)
    assert report["problems"] == stock["problems"] == []
    share, without = (each["hung"].get("stock", 0) / each["forks"] for each in (report, stock))
    assert share <= without * 1.1 + 0.01
