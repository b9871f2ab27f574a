"""A database that an application has for itself is waited for, and the reason is said."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore
from ltxcore.errors import DatabaseBusyError


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_an_exclusive_application_is_explained_and_waited_for(
    tmp_path: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """PRAGMA locking_mode = EXCLUSIVE keeps everybody out: open() failed with "database is locked", and nothing said why."""
    caplog.set_level(logging.INFO, "ltxcore")
    path, replica = tmp_path / "app.db", tmp_path / "replica"
    with closing(sqlite3.connect(path, isolation_level=None)) as application:
        application.execute("PRAGMA locking_mode = EXCLUSIVE")
        application.execute(f"PRAGMA journal_mode = {mode}")
        application.execute("CREATE TABLE t (v)")
        application.execute("INSERT INTO t VALUES (1)")
        db = ltxcore.DB(path, replica=replica, busy_timeout=0.1).open()
        error = db.status().last_error
        assert isinstance(error, DatabaseBusyError)
        assert "EXCLUSIVE" in (error.hint or "")
        assert not db.status().is_current
        assert any("locked" in record.getMessage() for record in caplog.records)
    with db:
        db.wait(timeout=10)
        assert db.status().is_current
    ltxcore.restore(replica, tmp_path / "out.db")
    with closing(sqlite3.connect(tmp_path / "out.db")) as restored:
        assert restored.execute("SELECT v FROM t").fetchall() == [(1,)]
