"""A DB that is opened before its database keeps it open as soon as an application uses it.

Two SQLite libraries of one process do not see each other: the first to close takes itself for the last, deletes the WAL, and
cuts the other off. While a DB has the database open, nobody is the last one.
"""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.process import ROOT, environment
from tests.helpers.profiles import marks, sized

CHILD = """
import sqlite3, sys, threading, time
import apsw, ltxcore
from ltxcore.clients.file import FileClient

path, how = sys.argv[1:]
answers = threading.Event()

class Slow(FileClient):
    def list_files(self, *arguments, **options):
        if how == "slow":
            answers.wait(60)
        return super().list_files(*arguments, **options)

db = ltxcore.DB(path, replica=Slow(path + "-replica"))
if how == "slow":
    opening = threading.Thread(target=db.open)
    opening.start()
else:
    db.open()
first = apsw.Connection(path)
first.execute("PRAGMA journal_mode = WAL")
first.execute("CREATE TABLE t (v)")
first.execute("INSERT INTO t VALUES (0)")
if how == "slow":
    opening.join(30)
ready = db.status().is_ready if how != "sync" else db.sync()
second = sqlite3.connect(path, isolation_level=None)
second.execute("SELECT count(*) FROM t").fetchone()
first.close()
first = apsw.Connection(path)
first.execute("INSERT INTO t VALUES (1)")
print(second.execute("SELECT count(*) FROM t").fetchone()[0], ready, flush=True)
answers.set()
first.close()
second.close()
db.close()
"""

pytestmark = [pytest.mark.process, *marks(120, 600)]


def child(path: Path, how: str) -> str:
    argv = [sys.executable, "-c", CHILD, str(path), how]
    done = subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=100)
    return done.stdout.split(" ")[0] or done.stderr[-300:]


@pytest.mark.parametrize("how", ["status", "sync", "slow"])
def test_the_other_library_is_not_cut_off(tmp_path: Path, how: str) -> None:
    pytest.importorskip("apsw", reason="a second SQLite library is needed")
    paths = []
    for n in range(sized(16, 200)):
        (room := tmp_path / str(n)).mkdir()
        paths.append(room / "app.db")
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda path: child(path, how), paths))
    assert answers == ["2"] * len(paths)
