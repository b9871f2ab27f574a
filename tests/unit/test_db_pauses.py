"""What a DB notices while it waits before the next attempt, because the last ones have failed."""

import logging
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore
from ltxcore import TXID
from ltxcore._process.backoff import Backoff


def test_a_database_written_over_is_let_go_while_nothing_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application that came before the next attempt, seconds later, believed the wal-index that was still kept."""
    failed = Backoff.failed
    monkeypatch.setattr(Backoff, "failed", lambda backoff, error: failed(backoff, error) + 60)
    path, backup = tmp_path / "app.db", tmp_path / "backup.db"
    for name in (path, backup):
        with closing(sqlite3.connect(name, isolation_level=None)) as application:
            application.execute("PRAGMA journal_mode = wal")
            application.execute("CREATE TABLE t (v)")
            application.execute("INSERT INTO t VALUES (?)", (name.name,))
    caplog.set_level(logging.WARNING)
    with ltxcore.DB(path, replica=tmp_path / "replica", meta_path=tmp_path / "meta") as db:
        following = TXID(db.wait(timeout=10).txid + 1)
        in_the_way = tmp_path / f"meta/ltx/0/{following}-{following}.ltx.tmp"
        in_the_way.mkdir()
        with closing(sqlite3.connect(path, isolation_level=None)) as application:
            application.execute("INSERT INTO t VALUES ('not replicated yet')")
        until(lambda: db.status().last_error is not None)
        shutil.copyfile(backup, path)
        until(lambda: "was written by something other than SQLite" in caplog.text)
        in_the_way.rmdir()
        db.wait(timeout=10)
    ltxcore.restore(tmp_path / "replica", tmp_path / "restored.db")
    with closing(sqlite3.connect(tmp_path / "restored.db")) as restored:
        assert restored.execute("SELECT v FROM t").fetchall() == [("backup.db",)]


def until(holds: Callable[[], bool]) -> None:
    """Wait for it, much shorter than the next attempt is away."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
