"""`ltxcore replicate` where two processes write to one replica: the one that comes second ends, and says what to do."""

import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.databases import eventually

pytestmark = pytest.mark.process

LIMIT = 20.0


def insert(path: Path, value: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO t VALUES (?)", (value,))


@pytest.fixture
def clones(ltxcore, tmp_path: Path) -> tuple[Path, Path]:
    """Two machines with one database each, the second a clone of the first, and a replica that has what both hold."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    with closing(sqlite3.connect(first / "app.db", isolation_level=None)) as connection:
        for statement in ("PRAGMA journal_mode = wal", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)"):
            connection.execute(statement)
    ltxcore("replicate", first / "app.db", "replica", "--once")
    shutil.copytree(first, second)
    return first / "app.db", second / "app.db"


def files(replica: Path) -> int:
    return len(list(replica.glob("ltx/0/*.ltx")))


@pytest.mark.parametrize("order", [0, 1], ids=["original first", "clone first"])
def test_the_one_that_comes_second_ends_with_an_error(ltxcore, clones, tmp_path: Path, order: int) -> None:
    """It was tried again for ever, and the process served on as if nothing were wrong."""
    winner, loser = clones[order], clones[1 - order]
    replica = tmp_path / "replica"
    wins = ltxcore.start(
        "replicate", winner, replica, "--sync-interval", "50ms", "--monitor-interval", "50ms"
    )
    loses = ltxcore.start(
        "replicate", loser, replica, "--sync-interval", "50ms", "--monitor-interval", "50ms"
    )
    for process in (wins, loses):
        assert process.stderr is not None
        assert process.stderr.readline().startswith("replicating ")
    count = files(replica)
    insert(winner, 2)
    eventually(lambda: files(replica) > count, timeout=LIMIT)
    insert(loser, 3)
    _out, said = loses.communicate(timeout=LIMIT)
    assert loses.returncode == 3
    error = said[said.index("\nError: ") :]
    assert str(loser) in error
    assert "0000000000000002-0000000000000002.ltx" in error
    assert "both have TXID 0000000000000001" in error
    assert error.count("with checksum") >= 1
    assert "Hint: only one process may write to a replica: stop the other one" in error
    assert "Traceback" not in said
    # The other process goes on.
    assert wins.poll() is None
    count = files(replica)
    insert(winner, 4)
    eventually(lambda: files(replica) > count, timeout=LIMIT)
    wins.terminate()
    _out, said = wins.communicate(timeout=LIMIT)
    assert wins.returncode == 0, said
    ltxcore("restore", "replica", "-o", "out.db")
    with closing(sqlite3.connect(tmp_path / "out.db")) as connection:
        assert [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x")] == [1, 2, 4]


def test_the_command_that_it_runs_ends_too(ltxcore, clones, tmp_path: Path) -> None:
    """What the command wrote from then on would be in no replica. It gets the signal that an end asks with."""
    winner, loser = clones
    program = tmp_path / "program.py"
    program.write_text(
        "import pathlib, signal, sqlite3, sys, time\n"
        "def leave(*_):\n"
        "    pathlib.Path('asked').touch()\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "pathlib.Path('started').touch()\n"
        # Python may sleep on if a signal comes right before a sleep.
        "while True: time.sleep(0.1)\n"
    )
    line = f"{sys.executable} program.py"
    process = ltxcore.start("replicate", loser, "replica", "--sync-interval", "50ms", "--exec", line)
    eventually((tmp_path / "started").exists, timeout=LIMIT)
    ltxcore("replicate", winner, "replica", "--once")
    insert(winner, 2)
    ltxcore("replicate", winner, "replica", "--once")
    insert(loser, 3)
    _out, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 3
    assert (tmp_path / "asked").exists()
    assert "replication has ended: the command gets a SIGTERM" in said
    assert "\nError: the replica of " in said


def test_an_end_that_is_asked_for_does_not_wait_for_the_conflict(ltxcore, clones, tmp_path: Path) -> None:
    """The final sync is not tried again for the whole of its time."""
    winner, loser = clones
    insert(winner, 2)
    process = ltxcore.start(
        "replicate", loser, "replica", "--sync-interval", "1h", "--shutdown-timeout", "1h"
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("replicating ")
    ltxcore("replicate", winner, "replica", "--once")
    insert(loser, 3)
    process.terminate()
    _out, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 3
    assert "\nError: the replica of " in said
