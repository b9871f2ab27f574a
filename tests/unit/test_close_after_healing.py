"""The last upload of close() sends what is new, whatever else has happened to the replica."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore


@pytest.mark.parametrize("act", ["cut", "touched", "removed"])
def test_close_uploads_although_the_replica_looked_different(tmp_path: Path, act: str) -> None:
    """A replica that looked different and was not was taken for one that has everything: close() returned, a commit was missing."""
    path, replica = tmp_path / "app.db", tmp_path / "replica"
    with closing(sqlite3.connect(path, isolation_level=None)) as application:
        application.execute("PRAGMA journal_mode = wal")
        application.execute("CREATE TABLE t (v)")
        db = ltxcore.DB(
            path, replica=ltxcore.Replica(f"file://{replica}", sync_interval=3600.0), monitor_interval=0.01
        ).open()
        db.wait(timeout=10)
        newest = max((replica / "ltx" / "0").iterdir())
        if act == "cut":
            os.truncate(newest, 100)
        elif act == "removed":
            newest.unlink()
        db.wait(timeout=10)
        if act == "touched":
            (newest.parent / "note").touch()  # the directory has changed, the files have not
        application.execute("INSERT INTO t VALUES (1)")
        db.close()
    ltxcore.restore(replica, tmp_path / "out.db")
    with closing(sqlite3.connect(tmp_path / "out.db")) as restored:
        assert restored.execute("SELECT v FROM t").fetchall() == [(1,)]
