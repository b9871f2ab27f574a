"""What `ltxcore restore` says about replicas that are not there, outputs that are, and states that were merged away."""

import io
import json
import sqlite3
from contextlib import closing

import pytest

import ltxcore
from ltxcore import TXID, FileClient

from tests.unit.memory import after, history, ltx_file, page


@pytest.fixture
def replica(tmp_path):
    """Transactions 1 to 4 in one file of level 1, 5 to 8 in another, and of level 0 only 7 and 8."""
    client = FileClient(tmp_path / "replica")
    for first in (1, 5):
        pages = {1: page(first + 3)} | ({2: page(0)} if first == 1 else {})
        data = ltx_file(pages, commit=2, min_txid=first, max_txid=first + 3)
        client.write_ltx_file(1, TXID(first), TXID(first + 3), io.BytesIO(data))
    for number in (7, 8):
        data = history(8).files[0, number, number]
        client.write_ltx_file(0, TXID(number), TXID(number), io.BytesIO(data))
    return client.path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.db"


def test_what_was_restored_is_named_if_it_is_not_exactly_what_was_asked_for(run, replica, out):
    done = run("restore", replica, "-o", out, "--timestamp", after(7.5).isoformat())
    assert done.exit_code == 0, done.output
    assert "TXID 0000000000000004 of 2026-01-01T00:00:04.000Z" in done.stderr
    assert "merged" in done.stderr
    assert "TXID 0000000000000004 of 2026-01-01T00:00:04.000Z, 2 pages" in done.stdout
    found = json.loads(
        run("restore", replica, "-o", out, "--force", "--timestamp", after(7.5).isoformat(), "--json").stdout
    )
    assert (found["txid"], found["timestamp"]) == ("0000000000000004", "2026-01-01T00:00:04.000Z")
    assert found["exact"] is False
    exact = run("restore", replica, "-o", out, "--force", "--timestamp", after(8.5).isoformat())
    assert "merged" not in exact.stderr


def test_a_time_before_everything_names_the_earliest_state(run, replica, out):
    done = run("restore", replica, "-o", out, "--timestamp", after(0).isoformat())
    assert done.exit_code == 1
    assert "earliest state is transaction 0000000000000004 of 2026-01-01T00:00:04.000Z" in done.stderr


def test_an_output_that_exists_says_which_option_replaces_it(run, replica, out):
    out.touch()
    for more in ([], ["--follow"]):
        done = run("restore", replica, "-o", out, *more)
        assert done.exit_code == 1
        assert str(out) in done.stderr
        assert "--force" in done.stderr
        assert "overwrite" not in done.stderr
    out.unlink()
    out.mkdir()
    done = run("restore", replica, "-o", out)
    assert done.exit_code == 1
    assert "it is a directory" in done.stderr
    assert "--force" not in done.stderr and "overwrite" not in done.stderr
    done = run("restore", replica, "-o", out, "--force")
    assert done.exit_code == 1
    assert "is not a file" in done.stderr
    assert "--force" not in done.stderr


@pytest.mark.parametrize("more", [[], ["--txid", "0" * 15 + "1"], ["--dry-run"], ["--follow"]])
def test_a_place_without_a_replica_is_named(run, tmp_path, out, more):
    done = run("restore", tmp_path / "none", "-o", out, *more)
    assert done.exit_code == 1
    assert f"there is no replica: {tmp_path}/none does not exist" in done.stderr
    assert "Hint: check the path or URL" in done.stderr
    (tmp_path / "empty").mkdir()
    done = run("restore", f"file://{tmp_path}/empty", "-o", out, *more)
    assert done.exit_code == 1
    assert f"the replica is empty: {tmp_path}/empty" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize("more", [[], ["--level", "all"], ["--json"]])
def test_a_list_of_a_place_without_a_replica_names_it_too(run, tmp_path, more):
    """It was an empty list, with exit code 0."""
    done = run("ltx", tmp_path / "none", *more)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"there is no replica: {tmp_path}/none does not exist" in done.stderr
    (tmp_path / "empty").mkdir()
    assert run("ltx", f"file://{tmp_path}/empty", *more).exit_code == 0


def test_a_database_for_readers_that_cannot_write(run, tmp_path, out):
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        connection.execute("CREATE TABLE t (v)")
        with ltxcore.DB(path, replica=tmp_path / "wal") as db:
            db.wait(timeout=10)
    for mode, versions in (("keep", b"\2\2"), ("delete", b"\1\1")):
        done = run("restore", tmp_path / "wal", "-o", out, "--force", "-journal-mode", mode)
        assert done.exit_code == 0, done.output
        assert out.read_bytes()[18:20] == versions
    assert run("restore", tmp_path / "wal", "-o", out, "--journal-mode", "wal").exit_code == 2
