"""`ltxcore doctor`: SQLite's known defects, and looking at a database without disturbing its users."""

import json
import sqlite3
import subprocess
import sys

import pytest

from ltxcore.cli import _probe


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "app.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size = 1024")
    yield path, connection
    connection.close()


def facts(run, path, code=0):
    done = run("doctor", path, "--json")
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_without_a_database(run):
    done = run("doctor")
    assert done.exit_code == 0
    assert sqlite3.sqlite_version in done.output
    assert "engine sqlite" in done.output
    assert "host sqlite reached by" in done.output


def test_a_wal_database(run, database):
    path, connection = database
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY)")
    found = facts(run, path)
    assert found["database"] == str(path)
    assert (found["page_size"], found["journal_mode"], found["shm"]) == (1024, "wal", True)
    assert found["wal"].startswith("generation 0, salts ")
    assert found["wal_frames_at_most"] == (path.with_name("app.db-wal").stat().st_size - 32) // 1048


def test_people_read_words(run, database):
    """It printed True and False, and "wal  empty"."""
    path, connection = database
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY)")
    told = lines(run, path)
    assert (told["-shm file"], told["rollback journal"], told["WAL between processes works"]) == (
        "yes",
        "no",
        "yes",
    )
    assert told["write-ahead log"].startswith("generation 0, salts ")
    assert (told["page size"], told["its frames, at most"].isdecimal()) == ("1024 bytes", True)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    told = lines(run, path)
    assert (told["write-ahead log"], told["its size"]) == ("a file without transactions", "0 bytes")
    connection.execute("PRAGMA journal_mode = delete")
    told = lines(run, path)
    assert (told["write-ahead log"], told["-shm file"]) == ("no file", "no")
    assert not {"True", "False", "None"} & set(told.values())


def lines(run, path):
    done = run("doctor", path)
    facts = done.stdout.partition("\n\n")[0].splitlines()
    return {name: value.strip() for name, _, value in (line.partition("  ") for line in facts)}


def test_a_rollback_database(run, database):
    path, connection = database
    connection.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY)")
    found = facts(run, path)
    assert (found["journal_mode"], found["wal"], found["page_count"]) == ("rollback", "none", 2)
    assert found["rollback_journal"] is False


def test_the_locks_of_this_process_survive(run, database):
    """The whole point of the child process: `open` and `close` here would let the other process in."""
    path, connection = database
    connection.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY)")
    connection.execute("BEGIN EXCLUSIVE")
    facts(run, path)
    intruder = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], timeout=0)\n"
        "try: connection.execute('BEGIN IMMEDIATE')\n"
        "except sqlite3.OperationalError as error: print(error)\n"
        "connection.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", intruder, path], capture_output=True, text=True, check=True)
    assert done.stdout == "database is locked\n"


def test_what_is_no_database(run, tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 20)
    assert facts(run, path, code=1)["journal_mode"] == "not a SQLite database"
    path.write_bytes(b"")
    assert facts(run, path)["journal_mode"] == "empty file"


def test_a_database_that_is_not_there(run, tmp_path):
    assert run("doctor", tmp_path / "none.db").exit_code == 2


def test_the_place_is_tried_out(run, database, tmp_path):
    path, _connection = database
    found = facts(run, path)
    assert found["lock_modes"][-1] == "none"
    assert found["shared_memory"] is True
    assert _probe.directory_facts(tmp_path / "nowhere")["lock_modes"].startswith("unknown")


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"wal_size": 65 << 20}, "longer"),
        ({"file_system": "nfs", "file_system_warning": "not safe on a network"}, "network"),
        ({"lock_modes": ["flock", "none"]}, "locks"),
        ({"rollback_journal": True}, "journal"),
    ],
)
def test_warnings(changed, word):
    healthy = {"journal_mode": "wal", "rollback_journal": False, "file_system": "ext", "lock_modes": ["ofd"]}
    assert _probe.warnings(healthy) == []
    (warning,) = _probe.warnings(healthy | changed)
    assert word in warning
