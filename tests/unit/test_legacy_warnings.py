"""What is said where two layouts, or two programs, meet in one place."""

import logging
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore
from ltxcore import legacy

from tests.unit.legacy_histories import FIRST, Made, make


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path / "old")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.execute("CREATE TABLE t (a)")
    return tmp_path / "app.db"


def test_ltx_files_beside_older_ones(made: Made, database: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "ltxcore"), ltxcore.DB(database, replica=made.path) as db:
        db.wait(timeout=20)
    assert "has files of Litestream 0.3" in caplog.text
    assert "--layout v0.3" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "ltxcore"), ltxcore.DB(database, replica=made.path) as db:
        db.wait(timeout=20)
    assert not caplog.text


def test_no_word_in_an_empty_place(tmp_path: Path, database: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "ltxcore"), ltxcore.DB(database, replica=tmp_path / "new") as db:
        db.wait(timeout=20)
    assert not caplog.text


def test_a_generation_that_is_deleted(made: Made, database: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path in made.path.rglob("*.lz4"):
        os.utime(path, (1_000_000, 1_000_000))
    replica = legacy.Replica(made.path, retention=0.5, retention_check_interval=0.1)
    with caplog.at_level(logging.WARNING, "ltxcore"), ltxcore.DB(database, replica=replica) as db:
        db.wait(timeout=20)
        with closing(sqlite3.connect(database)) as connection:
            until = time.monotonic() + 30
            while FIRST in {each.generation for each in legacy.generations(made.path)}:
                assert time.monotonic() < until
                connection.execute("INSERT INTO t VALUES (1)")
                connection.commit()
                db.wait(timeout=20)
    assert f"deletes generation {FIRST}" in caplog.text


def test_a_writer_that_comes_back_is_preferred(tmp_path: Path) -> None:
    """Another machine has taken over meanwhile: Litestream 0.5 reads the generation that has the newest snapshot."""
    place = tmp_path / "replica"

    def write(name: str) -> str:
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS t (a)")
            connection.execute("INSERT INTO t VALUES (?)", (name,))
            connection.commit()
        with ltxcore.DB(tmp_path / name, replica=legacy.Replica(place)) as db:
            db.wait(timeout=20)
        return legacy.snapshots(place)[-1].generation

    first = write("one.db")
    assert write("one.db") == first
    second = write("two.db")
    third = write("one.db")
    assert len({first, second, third}) == 3
    assert write("one.db") == third
    legacy.restore(place, tmp_path / "restored.db")
    with closing(sqlite3.connect(tmp_path / "restored.db")) as connection:
        assert connection.execute("SELECT a FROM t").fetchall() == [("one.db",)] * 4
