"""DB says why a file holds more than what the WAL added, and why a database is opened again."""

import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ltxcore import DB
from ltxcore.db._reports import _repair

WAIT = 10.0


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "ltxcore"]


def test_full_files_and_differences_say_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing did: a start that uploaded everything looked like any other."""
    caplog.set_level(logging.INFO, "ltxcore")
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE t (v)")
        with DB(path, replica=tmp_path / "replica", monitor_interval=0.01) as db:
            db.wait(timeout=WAIT)
            connection.execute("INSERT INTO t VALUES (1)")
            db.wait(timeout=WAIT)
        assert messages(caplog) == []
        connection.execute("INSERT INTO t VALUES (2)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("INSERT INTO t VALUES (3)")
    with DB(path, replica=tmp_path / "replica", monitor_interval=0.01) as db:
        top = db.wait(timeout=WAIT).txid
        (said,) = messages(caplog)
        assert said.startswith(f"{path}: the file for TXID {top} holds the pages that differ: ")
        caplog.clear()
        shutil.rmtree(db.meta_path)
        db.wait(timeout=WAIT)
        said = "\n".join(messages(caplog))
        assert f"{path} is opened again: " in said or "failed: " in said
        assert "compared with its replica at TXID" in said


def test_what_the_newest_file_holds() -> None:
    assert _repair((0, 0, 0), (1, 0, 0)) == "every page"
    assert _repair((1, 0, 0), (1, 0, 1)) is None
    assert _repair((1, 0, 5), (1, 1, 5)) == "the pages that differ"
    # Opened again: everything counts from 0.
    assert _repair((1, 0, 5), (0, 1, 0)) == "the pages that differ"
    assert _repair((1, 0, 0), (1, 0, 0)) == "every page"
    assert _repair((1, 0, 5), (0, 0, 1)) is None
