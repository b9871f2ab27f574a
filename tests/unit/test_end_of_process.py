"""What happens to an open DB when its process ends or forks."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import ltxcore

pytestmark = pytest.mark.process

BEGIN = """
import os, sys
import ltxcore
from tests.unit.memory import run_sql
from pathlib import Path
database, replica = Path(sys.argv[1]), Path(sys.argv[2])
run_sql(database, "PRAGMA journal_mode = wal", "CREATE TABLE t (x)")
db = ltxcore.DB(database, replica=ltxcore.Replica(replica, sync_interval=60), monitor_interval=60).open()
db.wait(timeout=10)
run_sql(database, "INSERT INTO t VALUES (1)")
"""


def run(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", BEGIN + textwrap.dedent(script)]
    arguments = [str(tmp_path / "app.db"), str(tmp_path / "replica")]
    root = Path(__file__).parents[2]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=25, cwd=root)


def rows(tmp_path: Path) -> list[int]:
    import sqlite3

    ltxcore.restore(tmp_path / "replica", tmp_path / "out.db")
    connection = sqlite3.connect(tmp_path / "out.db")
    try:
        return [row[0] for row in connection.execute("SELECT x FROM t")]
    finally:
        connection.close()


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "del db"])
def test_a_forgotten_database_is_closed_at_exit(tmp_path: Path, end: str) -> None:
    done = run(tmp_path, end)
    assert (done.returncode, done.stderr) == (0, "")
    assert rows(tmp_path) == [1]


def test_a_last_upload_that_fails_at_exit_is_heard_of(tmp_path: Path) -> None:
    start = time.monotonic()
    done = run(
        tmp_path,
        """
        import shutil
        from ltxcore._process import runtime
        runtime.EXIT_TIMEOUT = 0.5
        shutil.rmtree(replica)
        replica.write_text("in the way")
        """,
    )
    assert "could not be closed at interpreter exit" in done.stderr
    assert "ReplicaError" in done.stderr
    assert time.monotonic() - start < 15


def test_a_forked_child_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        from ltxcore.errors import ForkedError
        child = os.fork()
        if child == 0:
            refused = 0
            for call in (db.sync, db.wait, db.status, db.close, db.open, db.checkpoint, lambda: db.pos):
                try:
                    call()
                except ForkedError as error:
                    refused += "after the parent has closed it" in error.hint
            ltxcore.DB(database, replica=replica)  # one of its own may be made
            del db
            sys.exit(refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        run_sql(database, "INSERT INTO t VALUES (2)")
        db.wait(timeout=10)
        db.close()
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert rows(tmp_path) == [1, 2]
