"""`ltxcore replicate` with a database that is not there, or not any more, and with a replica that never answers."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.databases import eventually

pytestmark = pytest.mark.process


def create(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in ("PRAGMA journal_mode = wal", "CREATE TABLE t (x)", *statements):
            connection.execute(statement)


class Said:
    """What a process writes to stderr, line by line, as it comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.lines: list[str] = []
        self._process = process
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line.rstrip())

    def has(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self._process.send_signal(number)
        code = self._process.wait(20)
        self._reader.join(10)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code


def test_a_database_that_is_not_there_is_said_to_be_waited_for(ltxcore, tmp_path: Path) -> None:
    """It said that it was replicating, and waited in silence for a name with a typing error."""
    said = Said(ltxcore.start("replicate", "later.db", "out"))
    eventually(lambda: said.has("waiting for"))
    assert not said.has("replicating")
    create(tmp_path / "later.db")
    eventually(lambda: said.has("replicating"))
    eventually(lambda: any((tmp_path / "out").glob("ltx/0/*.ltx")))
    assert said.end() == 0
    waiting, replicating = said.lines[:2]
    assert waiting == f"waiting for {tmp_path}/later.db: the file does not exist yet"
    assert replicating == f"replicating {tmp_path}/later.db to out"


def test_a_database_that_never_came_is_no_failure(ltxcore, tmp_path: Path) -> None:
    said = Said(ltxcore.start("replicate", "never.db", "out"))
    eventually(lambda: said.has("waiting for"))
    assert said.end(signal.SIGTERM) == 0
    assert not list(tmp_path.glob("out/**/*.ltx"))


def remove(directory: Path) -> None:
    """Remove a directory into which the replicator may write a last file meanwhile."""

    def is_gone() -> bool:
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    eventually(is_gone)


@pytest.mark.parametrize("replica_too", [True, False])
def test_a_database_that_is_deleted_is_an_error_at_the_end(
    ltxcore, tmp_path: Path, replica_too: bool
) -> None:
    """The replica that was deleted with it was made again, with files that nothing could be restored from, and all was well."""
    create(tmp_path / "app.db")
    said = Said(ltxcore.start("replicate", "app.db", "out"))
    eventually(lambda: any((tmp_path / "out").glob("ltx/0/*.ltx")))
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
    before = None
    for path in tmp_path.glob("app.db*"):
        path.unlink()
    remove(tmp_path / ".app.db-litestream")
    if replica_too:
        remove(tmp_path / "out")
    else:
        before = sorted(path.name for path in tmp_path.glob("out/**/*.ltx"))
    eventually(lambda: said.has("the database is gone, nothing is replicated"), timeout=15)
    time.sleep(1.5)
    assert said.end() == 1
    assert sum("nothing is replicated" in line for line in said.lines) == 1
    assert said.lines[-2] == f"Error: the database is gone: {tmp_path}/app.db"
    assert said.lines[-1].startswith("Hint: ")
    if replica_too:
        assert not (tmp_path / "out").exists()
    else:
        assert sorted(path.name for path in tmp_path.glob("out/**/*.ltx")) == before


def test_a_database_that_comes_back_is_replicated_again(ltxcore, tmp_path: Path) -> None:
    create(tmp_path / "app.db")
    said = Said(ltxcore.start("replicate", "app.db", "out"))
    eventually(lambda: any((tmp_path / "out").glob("ltx/0/*.ltx")))
    for path in tmp_path.glob("app.db*"):
        path.unlink()
    eventually(lambda: said.has("the database is gone, nothing is replicated"), timeout=15)
    create(tmp_path / "app.db", "INSERT INTO t VALUES (7)")
    eventually(lambda: said.has("there again"), timeout=15)
    assert said.end() == 0
    ltxcore("restore", "out", "-o", "restored.db")
    with closing(sqlite3.connect(tmp_path / "restored.db")) as connection:
        assert connection.execute("SELECT x FROM t").fetchall() == [(7,)]


HANGS = """
import sys, time
from ltxcore.cli import app
from ltxcore.clients.file import FileClient

def hang(client, level, *rest):
    time.sleep(600)

FileClient.write_ltx_path = hang
app.main(sys.argv[1:], prog_name="ltxcore")
"""


def test_the_end_does_not_wait_for_an_upload_that_never_ends(tmp_path: Path) -> None:
    """It took longer than --shutdown-timeout says, and it must not take for ever, whatever hangs in a thread."""
    create(tmp_path / "app.db")
    argv = [
        sys.executable,
        "-c",
        textwrap.dedent(HANGS),
        "replicate",
        "app.db",
        "out",
        "--shutdown-timeout",
        "3s",
    ]
    process = subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    said = Said(process)
    eventually(
        lambda: said.has("replicating"), timeout=15
    )  # the first upload is waited for, for five seconds
    began = time.monotonic()
    assert said.end() == 1
    assert 2.9 < time.monotonic() - began < 4.5
    assert said.has("did not end in time")
