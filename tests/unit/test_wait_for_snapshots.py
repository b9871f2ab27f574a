"""Snapshots that a restore needs: `wait()` does not return before they are in the replica, and no crash forgets them."""

import os
import shutil
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, TXID, FileClient
from ltxcore.errors import ReplicaTimeoutError

from tests.unit.databases import forget_local_files, insert, ltx_path, restored
from tests.unit.memory import run_sql


def rows(replica: Path, tmp_path: Path) -> list[int]:
    return restored(FileClient(replica), tmp_path)


class NoSnapshots(FileClient):
    """Refuses snapshots while it is told to."""

    refuses = False

    def write_ltx_path(
        self, level: int, min_txid: TXID, max_txid: TXID, path: str | os.PathLike[str]
    ) -> ltxcore.FileInfo:
        if level == 9 and self.refuses:
            raise ConnectionError("no snapshots today")
        return super().write_ltx_path(level, min_txid, max_txid, path)


def change_page_size(path: Path) -> None:
    run_sql(path, "PRAGMA journal_mode = delete", "PRAGMA page_size = 8192", "VACUUM")
    run_sql(path, "PRAGMA journal_mode = wal")


def test_wait_covers_the_snapshot_that_a_new_page_size_needs(
    database: Path, replica: Path, tmp_path: Path
) -> None:
    client = NoSnapshots(replica)
    db = DB(database, replica=client)
    with db:
        insert(database, 1)
        before = db.wait(timeout=10).txid
    change_page_size(database)
    client.refuses = True
    with pytest.raises(ConnectionError):
        db.open()
    assert rows(replica, tmp_path) == [1]  # what was there before is not spoilt
    client.refuses = False
    with db:
        assert db.wait(timeout=10).txid > before
        assert db.status().is_current
        assert rows(replica, tmp_path) == [1]
        insert(database, 2)
        db.wait(timeout=10)
    assert rows(replica, tmp_path) == [1, 2]


def test_a_snapshot_that_is_needed_is_remembered_by_the_next_process(
    database: Path, replica: Path, tmp_path: Path
) -> None:
    """The L0 file of a new page size is in the replica, by a version that uploaded it first; then the process died."""
    with DB(database, replica=replica) as db:
        insert(database, 1)
        db.wait(timeout=10)
    change_page_size(database)
    client = NoSnapshots(replica)
    client.refuses = True
    with pytest.raises(ConnectionError):
        DB(database, replica=client).open()
    newest = sorted((db.meta_path / "ltx/0").iterdir())[-1]
    shutil.copy(newest, replica / "ltx/0")
    with DB(database, replica=replica) as db:
        db.wait(timeout=10)
    assert list((replica / "ltx/9").iterdir())
    assert rows(replica, tmp_path) == [1]


def test_wait_covers_the_snapshot_that_a_hole_needs(database: Path, replica: Path, tmp_path: Path) -> None:
    client = NoSnapshots(replica)
    with DB(database, replica=client, monitor_interval=0.05) as db:
        for value in (1, 2, 3):
            insert(database, value)
            top = db.wait(timeout=10).txid
        forget_local_files(db)
        ltx_path(replica, 0, top - 1).unlink()
        client.refuses = True
        insert(database, 4)
        with pytest.raises(ReplicaTimeoutError, match="no snapshots today"):
            db.wait(timeout=1)
        with pytest.raises(ReplicaTimeoutError):
            db.wait(top, timeout=0)  # it was there, and is not any more
        assert not db.status().is_current
        client.refuses = False
        db.wait(timeout=10)
        assert rows(replica, tmp_path) == [1, 2, 3, 4]


def test_local_files_are_kept_while_the_replica_has_a_hole(database: Path, replica: Path) -> None:
    client = NoSnapshots(replica)
    with DB(database, replica=client, l0_retention=0, monitor_interval=0.05) as db:
        for value in (1, 2, 3):
            insert(database, value)
            top = db.wait(timeout=10).txid
        client.refuses = True
        ltx_path(replica, 0, 1).unlink()
        for value in (4, 5):
            insert(database, value)
            with pytest.raises(ReplicaTimeoutError):
                db.wait(timeout=0.7)
        here = [path.name for path in (db.meta_path / "ltx/0").iterdir()]
        assert {ltxcore.ltx.format_filename(n, n) for n in (top + 1, top + 2)} <= set(here)
        client.refuses = False
