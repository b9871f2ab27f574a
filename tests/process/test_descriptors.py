"""Descriptors are kept, so that closing one takes no lock away; but not so many that a long-lived process runs out of them."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.helpers.process import ROOT, environment
from tests.helpers.profiles import marks, sized

pytestmark = [pytest.mark.process, *marks(60, 180)]

TIMES = sized(500, 2000)

BEGIN = """
import os, shutil, sys
import ltxcore
from pathlib import Path

room = Path(sys.argv[1])
vfs = ltxcore.OSVFS().register()

def count():
    return len(os.listdir("/proc/self/fd")) - 1  # listing takes one

def over_vfs(path, journal="wal"):
    c = vfs.connect(path, isolation_level=None)
    c.execute(f"PRAGMA journal_mode = {journal}")
    c.execute("PRAGMA synchronous = OFF")
    c.execute("CREATE TABLE IF NOT EXISTS t (x)")
    c.close()

def over_db(path):
    if not path.exists():
        shutil.copy(room / "template", path)
    with ltxcore.DB(path) as db:
        db.sync()

over_vfs(room / "template")
"""


def descriptors(tmp_path: Path, script: str) -> tuple[int, int]:
    """How many more a process has after a script than before, and at most meanwhile."""
    text = BEGIN + "before = most = count()\n" + textwrap.dedent(script) + "\nprint(before, most, count())"
    argv = [sys.executable, "-c", text, str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    before, most, after = map(int, done.stdout.split())
    return after - before, most - before


@pytest.mark.parametrize("use", ["over_vfs(path)", "over_vfs(path, 'delete')", "over_db(path)"])
def test_different_databases(use: str, tmp_path: Path) -> None:
    kept, most = descriptors(
        tmp_path,
        f"""
        for number in range({TIMES}):
            path = room / f"db-{{number}}"
            {use}
            most = max(most, count())
        """,
    )
    assert kept <= 64 + 4
    assert most <= 64 + 16


@pytest.mark.parametrize("use", ["over_vfs(path)", "over_db(path)"])
def test_the_same_database(use: str, tmp_path: Path) -> None:
    kept, _ = descriptors(
        tmp_path,
        f"""
        path = room / "db"
        for number in range({TIMES}):
            {use}
        """,
    )
    assert kept <= 8


def test_many_connections_at_once(tmp_path: Path) -> None:
    """What was open together is parked together, and comes down to the limit."""
    kept, most = descriptors(
        tmp_path,
        """
        path = room / "db"
        connections = [vfs.connect(path, isolation_level=None) for _ in range(200)]
        for connection in connections:
            connection.execute("PRAGMA user_version").fetchone()
        most = count()
        for connection in connections:
            connection.close()
        """,
    )
    assert most >= 200
    assert kept <= 64 + 4
