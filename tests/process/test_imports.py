"""Threads import nothing: a fork during an import leaves that module locked in the child, and whoever needs it there hangs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.process import ROOT, environment

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

WORK = """
import sqlite3, sys
from contextlib import closing
from pathlib import Path

import ltxcore
from ltxcore.blob_store import BlobStore

room = Path(sys.argv[1])
before = set(sys.modules)
with closing(sqlite3.connect(room / "app.db", isolation_level=None)) as connection:
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("CREATE TABLE t (x)")
    with ltxcore.DB(room / "app.db", replica=room / "replica") as db:
        for _ in range(2):
            connection.execute("INSERT INTO t VALUES (1)")
            db.wait(timeout=20)
        db.snapshot()
        db.compact(1)
    with ltxcore.DB(room / "app.db", replica=room / "replica") as db:
        connection.execute("INSERT INTO t VALUES (1)")
        db.wait(timeout=20)
with closing(ltxcore.OSVFS().register().connect(room / "app.db")) as connection:
    connection.execute("SELECT * FROM t").fetchall()
with ltxcore.follow(room / "replica", room / "copy.db") as copy:
    copy.wait(timeout=20)
with BlobStore(room / "blobs") as store:
    store["a"] = b"1"
    assert store.pop("a") == b"1"
print(sorted(set(sys.modules) - before))
"""


def test_work_imports_nothing(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", WORK, str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
