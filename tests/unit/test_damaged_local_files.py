"""Local L0 files that are damaged or lost before their upload, or during it."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

import ltxcore
from ltxcore import FileClient, FileInfo
from ltxcore.errors import Error


@pytest.fixture
def application(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE t (v)")
        yield connection


def restored(replica: Path, output: Path) -> list[tuple[object]]:
    ltxcore.restore(replica, output, integrity_check="full")
    with closing(sqlite3.connect(output)) as connection:
        return connection.execute("SELECT v FROM t").fetchall()


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied"])
@pytest.mark.parametrize("is_newest", [True, False])
def test_a_damaged_local_file_is_not_uploaded(
    tmp_path: Path, application: sqlite3.Connection, damage: str, is_newest: bool
) -> None:
    """It was uploaded as it was: wait() returned, and nothing could be restored."""
    replica = ltxcore.Replica(FileClient(tmp_path / "replica"), sync_interval=3600.0)
    with ltxcore.DB(tmp_path / "app.db", replica=replica) as db:
        db.wait(timeout=10)
        application.execute("INSERT INTO t VALUES (1)")
        txid = db.sync().txid
        if not is_newest:
            application.execute("INSERT INTO t VALUES (2)")
            db.sync()
        path = db.meta_path / "ltx/0" / f"{txid}-{txid}.ltx"
        if damage == "flipped":
            size = path.stat().st_size
            with open(path, "r+b") as file:
                file.seek(size // 2)
                file.write(b"\xff" * 16)
        else:
            os.truncate(path, 100 if damage == "cut" else 0)
        application.execute("INSERT INTO t VALUES (3)")
        with suppress(Error):  # it may be the one that notices
            db.wait(timeout=10)
        db.wait(timeout=10)
        rows = application.execute("SELECT v FROM t").fetchall()
        assert restored(tmp_path / "replica", tmp_path / "out.db") == rows


class Paused(FileClient):
    """Uploads one file only when it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.began, self.go_on = threading.Event(), threading.Event()
        self.pauses = False

    def write_ltx_path(self, level: int, *rest: object) -> FileInfo:
        if self.pauses and level == 0:
            self.pauses = False
            with open(str(rest[-1]), "rb") as file:
                self.began.set()
                self.go_on.wait(10)
                return self.write_ltx_file(level, *rest[:-1], file)  # type: ignore[arg-type]  # passed on
        return super().write_ltx_path(level, *rest)  # type: ignore[arg-type]  # passed on


def test_a_file_that_is_being_uploaded_when_it_is_lost_keeps_its_txid(
    tmp_path: Path, application: sqlite3.Connection
) -> None:
    """The history went on below it, with another file under its TXID, and the next start was refused as a second writer."""
    client = Paused(tmp_path / "replica")
    with ltxcore.DB(tmp_path / "app.db", replica=client, monitor_interval=0.01) as db:
        db.wait(timeout=10)
        client.pauses = True
        application.execute("INSERT INTO t VALUES (1)")
        txid = db.sync().txid
        assert client.began.wait(10)
        (db.meta_path / "ltx/0" / f"{txid}-{txid}.ltx").unlink()
        application.execute("INSERT INTO t VALUES (2)")

        def sync() -> None:
            with suppress(Error):
                db.sync()

        syncing = threading.Thread(target=sync)
        syncing.start()
        syncing.join(0.3)
        client.go_on.set()
        syncing.join(10)
        assert not syncing.is_alive()
        db.wait(timeout=10)
    with ltxcore.DB(tmp_path / "app.db", replica=client) as db:
        application.execute("INSERT INTO t VALUES (3)")
        db.wait(timeout=10)
        assert restored(tmp_path / "replica", tmp_path / "out.db") == [(1,), (2,), (3,)]


def test_a_new_history_begins_above_what_lies_beyond_a_hole(
    tmp_path: Path, application: sqlite3.Connection
) -> None:
    """It began at 1, and the old files beyond the hole were taken for what follows: the rows were gone."""
    replica = tmp_path / "replica"
    with ltxcore.DB(tmp_path / "app.db", replica=replica) as db:
        for value in range(4):
            application.execute("INSERT INTO t VALUES (?)", (value,))
            top = db.wait(timeout=10).txid
    sorted((replica / "ltx/0").iterdir())[0].unlink()
    for path in (db.meta_path / "ltx/0").iterdir():
        os.truncate(path, 10)
    for value in range(4, 8):
        application.execute("INSERT INTO t VALUES (?)", (value,))
    with db:
        assert db.wait(timeout=10).txid == top + 1
        assert restored(replica, tmp_path / "out.db") == [(value,) for value in range(8)]
