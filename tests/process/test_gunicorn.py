"""Django under gunicorn with a preloaded application: workers are forked from a process with an open DB, and killed."""

from pathlib import Path

import pytest

from tests.helpers import gunicorn_soak

pytest.importorskip("django", reason="Django is not installed")
pytest.importorskip("gunicorn", reason="gunicorn is not installed")

pytestmark = pytest.mark.process


def run(room: Path, *, seconds: float, vfs: str, opens: str, seed: int) -> None:
    report = gunicorn_soak.run(room, seconds=seconds, vfs=vfs, opens=opens, seed=seed)
    print(report)
    assert report.problems == []
    # It is about workers that were killed and forked again while clients wrote.
    assert report.acknowledged > 0 and report.kills > 0 and report.workers > 4


@pytest.mark.timeout(180)
@pytest.mark.parametrize("vfs, opens", [("ltx-os", "import"), ("unix", "when_ready")])
def test_killed_workers(tmp_path: Path, vfs: str, opens: str) -> None:
    run(tmp_path, seconds=8, vfs=vfs, opens=opens, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("vfs, opens", [("ltx-os", "when_ready"), ("unix", "import")])
def test_killed_workers_for_minutes(tmp_path: Path, vfs: str, opens: str) -> None:
    run(tmp_path, seconds=300, vfs=vfs, opens=opens, seed=2)
