"""Ctrl-C in the middle of `DB.close()`: nothing is forgotten, and nothing is left locked."""

import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ltxcore

pytestmark = pytest.mark.process

BEGIN = """
import os, signal, sys, threading, time
from pathlib import Path
import ltxcore
from tests.unit.memory import run_sql

class Slow(ltxcore.FileClient):
    seconds = 0.0

    def write_ltx_path(self, *args):
        time.sleep(Slow.seconds)
        return super().write_ltx_path(*args)

def interrupted(call, after):
    threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        call()
    except KeyboardInterrupt as error:
        return error  # a notebook keeps the last traceback
    raise SystemExit("was not interrupted")

database = Path(sys.argv[1])
run_sql(database, "PRAGMA journal_mode = wal", "CREATE TABLE t (x)")
db = ltxcore.DB(database, replica=Slow(sys.argv[2])).open()
db.wait(timeout=10)
Slow.seconds = 1.5
run_sql(database, "INSERT INTO t VALUES (1)")
"""


def run(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BEGIN + textwrap.dedent(script)]
    arguments = [str(tmp_path / "app.db"), str(tmp_path / "replica")]
    root = Path(__file__).parents[2]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=25, cwd=root)


def rows(tmp_path: Path) -> list[int]:
    ltxcore.restore(tmp_path / "replica", tmp_path / "out.db")
    connection = sqlite3.connect(tmp_path / "out.db")
    try:
        return [row[0] for row in connection.execute("SELECT x FROM t")]
    finally:
        connection.close()


@pytest.mark.parametrize("after", [0.02, 0.5])
def test_another_close_goes_on_with_it(tmp_path: Path, after: float) -> None:
    """It did nothing: the database counted as closed, and nobody uploaded what was left."""
    done = run(
        tmp_path,
        f"""
        kept = interrupted(db.close, {after})
        try:
            db.sync()
            raise SystemExit("is open")
        except ltxcore.errors.NotOpenError:
            pass
        db.close()
        assert len(list(Path(sys.argv[2]).glob("ltx/0/*.ltx"))) == 2
        with db.open():
            db.wait(timeout=10)
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert rows(tmp_path) == [1]


def test_open_goes_on_after_it(tmp_path: Path) -> None:
    """It answered that somebody else replicates the database, for as long as the traceback was kept."""
    done = run(
        tmp_path,
        """
        kept = interrupted(db.close, 0.5)
        db.open()
        run_sql(database, "INSERT INTO t VALUES (2)")
        db.wait(timeout=20)
        db.close()
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert rows(tmp_path) == [1, 2]


def test_the_end_of_the_process_finishes_it(tmp_path: Path) -> None:
    done = run(tmp_path, "kept = interrupted(db.close, 0.5)")
    assert (done.returncode, done.stderr) == (0, "")
    assert rows(tmp_path) == [1]


def test_signals_at_any_moment_leave_nothing_locked(tmp_path: Path) -> None:
    """Ctrl-C again and again, at other moments of `wait` and `close` each time."""
    done = run(
        tmp_path,
        """
        Slow.seconds = 0.005
        # Python drops a KeyboardInterrupt that comes in the callback of a weak reference. Then there is another one.
        dropped = threading.Event()
        sys.unraisablehook = lambda args: dropped.set()
        def strike_again():
            while dropped.wait():
                dropped.clear()
                os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=strike_again, daemon=True).start()
        for number in range(60):
            def work():
                while True:
                    db.open()
                    db.sync()
                    db.wait(timeout=10)
                    db.close()
            interrupted(work, 0.01 + number * 0.0007)
        db.close()
        db.open()
        db.wait(timeout=10)
        db.close()
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert rows(tmp_path) == [1]
