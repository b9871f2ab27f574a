"""Restoring a database that is not there beside what one that is gone has left: a container that starts again and again."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore
from ltxcore import errors
from ltxcore.cli import _missing

from tests.helpers.replicas import Source, content


@pytest.fixture
def source(tmp_path):
    (tmp_path / "origin").mkdir()
    made = Source(tmp_path / "origin")
    made.move()
    return made


def left(path: Path) -> None:
    """A `-wal` with a transaction, and `-shm`, of a database whose file is gone."""
    other = path.with_name("other.db")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE account (id, value, body)")
        for suffix in ("-wal", "-shm"):
            shutil.copy(f"{other}{suffix}", f"{path}{suffix}")
    other.unlink()


COMMANDS = {
    "replicate": lambda source, path: (
        "replicate",
        path,
        source.replica,
        "--once",
        "--restore-if-db-not-exists",
    ),
    "restore": lambda source, path: ("restore", source.replica, "-o", path, "--if-db-not-exists"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_database_has_left_is_renamed_and_the_restore_goes_on(run, source, tmp_path, command):
    """It was an error, at every start of a container again; beside the database, SQLite would have applied it."""
    path = tmp_path / "app.db"
    left(path)
    before = Path(f"{path}-wal").read_bytes()
    done = run(*COMMANDS[command](source, path))
    assert done.exit_code == 0, done.output
    assert f"{path}-wal belongs to a database that is gone; it is kept as {path}-wal.left-1" in done.stderr
    assert content(path) == content(source.path)
    assert Path(f"{path}-wal.left-1").read_bytes() == before
    again = run(*COMMANDS[command](source, path))
    assert again.exit_code == 0, again.output
    assert "left-2" not in again.stderr


def test_names_that_are_taken_are_not_used_again(run, source, tmp_path):
    path = tmp_path / "app.db"
    for number in (1, 2):
        Path(f"{path}-journal").write_text(str(number))
        assert run(*COMMANDS["restore"](source, path)).exit_code == 0
        path.unlink()
        assert Path(f"{path}-journal.left-{number}").read_text() == str(number)


def test_files_without_data_go(run, source, tmp_path):
    path = tmp_path / "app.db"
    for suffix, text in {"-wal": "", "-journal": "", "-shm": "x" * 32768}.items():
        Path(f"{path}{suffix}").write_text(text)
    done = run(*COMMANDS["restore"](source, path))
    assert done.exit_code == 0, done.output
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("app")] == ["app.db"]


def test_without_the_option_nothing_is_touched_and_the_next_step_is_named(run, source, tmp_path):
    path = tmp_path / "app.db"
    left(path)
    done = run("restore", source.replica, "-o", path)
    assert done.exit_code == 1
    assert f"{path}-wal already exists" in done.stderr
    assert "move it away, use --force to remove it" in done.stderr and "--if-db-not-exists" in done.stderr
    assert Path(f"{path}-wal").exists() and not path.exists()


def test_a_database_that_comes_meanwhile_is_not_an_error(tmp_path, capsys):
    """Another process restores it, or this restore has brought back one that was being replaced when a process died."""
    path = tmp_path / "app.db"

    def restore():
        path.touch()
        raise errors.OutputExistsError(f"{path} already exists", path=str(path))

    assert _missing.restore_missing(path, restore) is None
    assert f"{path} exists; nothing to restore" in capsys.readouterr().err


def test_what_was_being_replaced_is_brought_back(run, source, tmp_path):
    """A process died in `restore --force`, between two names."""
    path = tmp_path / "app.db"
    ltxcore.restore(source.client, tmp_path / "app.db.ltxcore-replaced", txid=1)
    old = (tmp_path / "app.db.ltxcore-replaced").read_bytes()
    done = run(*COMMANDS["replicate"](source, path))
    assert "exists; nothing to restore" in done.stderr
    assert path.read_bytes()[100:] == old[100:]


def test_other_errors_come_out(source, tmp_path):
    (tmp_path / "app.db").mkdir()
    with pytest.raises(errors.OutputExistsError):
        _missing.restore_missing(
            tmp_path / "app.db", lambda: ltxcore.restore(source.client, tmp_path / "app.db", overwrite=True)
        )
