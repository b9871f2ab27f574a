"""Chains of level-0 files in a replica: are they of this database?"""

import logging
import os
import shutil
import sqlite3
from pathlib import Path
from typing import NoReturn

import pytest

import ltxcore
from ltxcore import DB, TXID, FileClient, ltx
from ltxcore.db import _copier, _reconcile
from ltxcore.errors import LTXFileExistsError

from tests.unit.databases import CREATE, forget_local_files, insert, ltx_path
from tests.unit.memory import MemoryClient, run_sql

ROWS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 400)"


def fill(path: Path) -> None:
    run_sql(path, f"CREATE TABLE filler AS {ROWS} SELECT i, hex(randomblob(100)) AS v FROM n")


def commit_up_to(db: DB, last: int) -> None:
    """Single rows, until the position is there."""
    while db.wait(timeout=10).txid < last:
        insert(db.path, 7)


def lines(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def is_restored(replica: Path, database: Path, tmp_path: Path) -> bool:
    """Whether a restore is the database, which nobody replicates."""
    ltxcore.restore(FileClient(replica), tmp_path / "out.db", overwrite=True, integrity_check="quick")
    return lines(tmp_path / "out.db") == lines(database)


def snapshots(replica: Path) -> list[Path]:
    return list((replica / "ltx").glob("9/*.ltx"))


@pytest.fixture
def full(database: Path) -> Path:
    fill(database)
    return database


@pytest.mark.parametrize("retention", [0, 300])
def test_one_database_with_two_replicas_in_turn(
    full: Path, replica: Path, tmp_path: Path, retention: int
) -> None:
    """The first ends where the local files, which are those of the second, begin: they were put on top of it, and what had
    changed in between was in no file.
    """
    with DB(full, replica=replica) as db:
        commit_up_to(db, 4)
    shutil.rmtree(db.meta_path)
    run_sql(full, "UPDATE filler SET v = 'changed' WHERE i < 50")
    with DB(full, replica=tmp_path / "second", l0_retention=retention) as db:
        commit_up_to(db, 6)
    for txid in range(1, 5):
        (db.meta_path / "ltx/0" / ltx.format_filename(txid, txid)).unlink(missing_ok=True)
    with DB(full, replica=replica) as db:
        db.wait(timeout=10)
    assert is_restored(replica, full, tmp_path)
    assert len(snapshots(replica)) == 1


def test_one_database_with_two_other_storages_in_turn(full: Path, tmp_path: Path) -> None:
    """As in directories, at the price of reading the chain once."""
    first, second = MemoryClient(), MemoryClient()
    with DB(full, replica=first) as db:
        commit_up_to(db, 4)
    shutil.rmtree(db.meta_path)
    run_sql(full, "UPDATE filler SET v = 'changed' WHERE i < 50")
    with DB(full, replica=second) as db:
        commit_up_to(db, 6)
    for path in sorted((db.meta_path / "ltx/0").iterdir())[:-2]:
        path.unlink()
    with DB(full, replica=first) as db:
        db.wait(timeout=10)
    assert len(first.txids(9)) == 1
    ltxcore.restore(first, tmp_path / "out.db", integrity_check="quick")
    assert lines(tmp_path / "out.db") == lines(full)


def test_a_replica_of_another_database_with_the_same_tables(
    full: Path, replica: Path, tmp_path: Path
) -> None:
    """Its chain was gone on with, and a restore was a mixture of both databases, or malformed."""
    other = tmp_path / "other.db"
    run_sql(other, *CREATE)
    fill(other)
    with DB(other, replica=replica) as db:
        commit_up_to(db, 4)
    with DB(full, replica=tmp_path / "own") as db:
        commit_up_to(db, 5)
    forget_local_files(db)
    before = sorted(path.name for path in replica.rglob("*.ltx"))
    with pytest.raises(LTXFileExistsError, match="another history"):
        DB(full, replica=replica).open()
    assert sorted(path.name for path in replica.rglob("*.ltx")) == before
    assert is_restored(replica, other, tmp_path)


def test_an_older_history_is_put_back_while_the_database_is_replicated(
    full: Path, replica: Path, tmp_path: Path
) -> None:
    """What was known of the level-0 files had gone with them, after they were merged: the next one was put on top of others."""
    with DB(full, replica=replica) as db:
        commit_up_to(db, 4)
    replica.rename(tmp_path / "older")
    shutil.rmtree(db.meta_path)
    run_sql(full, "UPDATE filler SET v = 'changed' WHERE i < 50")
    with DB(full, replica=replica) as db:
        commit_up_to(db, 4)
        db.compact(1)
        shutil.rmtree(replica / "ltx/0")
        commit_up_to(db, 6)
        for path in sorted((db.meta_path / "ltx/0").iterdir())[:-2]:
            path.unlink()
        shutil.rmtree(replica)
        shutil.copytree(tmp_path / "older", replica)
        db.wait(timeout=10)
        assert len(snapshots(replica)) == 1
        commit_up_to(db, 7)
    assert is_restored(replica, full, tmp_path)
    assert len(snapshots(replica)) == 1


@pytest.mark.parametrize("older", ["here", "expired"])
def test_a_crash_before_the_newest_file_was_uploaded(
    full: Path, replica: Path, tmp_path: Path, older: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The file follows: no snapshot is needed, be it that only the pages show that the replica is of this database."""
    with DB(full, replica=replica) as db:
        commit_up_to(db, 5)
    if older == "expired":
        forget_local_files(db)
    ltx_path(replica, 0, 5).unlink()
    with caplog.at_level(logging.WARNING, "ltxcore"), DB(full, replica=replica) as db:
        assert db.wait(timeout=10).txid == 5
    assert caplog.records == []
    assert not snapshots(replica)
    assert is_restored(replica, full, tmp_path)


def test_an_older_copy_of_the_own_history_is_gone_on_with(full: Path, replica: Path, tmp_path: Path) -> None:
    """The local files begin after it: its pages show that they follow."""
    with DB(full, replica=replica, monitor_interval=0.05) as db:
        commit_up_to(db, 3)
        shutil.copytree(replica, tmp_path / "older")
        commit_up_to(db, 6)
        for path in sorted((db.meta_path / "ltx/0").iterdir())[:3]:
            path.unlink()
        shutil.rmtree(replica)
        shutil.copytree(tmp_path / "older", replica)
        db.wait(timeout=10)
    assert is_restored(replica, full, tmp_path)
    assert not snapshots(replica)


def test_a_hole_before_the_local_files_takes_one_snapshot(full: Path, replica: Path, tmp_path: Path) -> None:
    with DB(full, replica=replica) as db:
        commit_up_to(db, 6)
    forget_local_files(db)
    for txid in (4, 5, 6):
        ltx_path(replica, 0, txid).unlink()
    stored: list[int] = []

    class Counting(FileClient):
        def write_ltx_path(
            self, level: int, min_txid: TXID, max_txid: TXID, path: str | os.PathLike[str]
        ) -> ltxcore.FileInfo:
            stored.append(level)
            return super().write_ltx_path(level, min_txid, max_txid, path)

    with DB(full, replica=Counting(replica)) as db:
        db.wait(timeout=10)
    assert stored.count(9) == 1
    assert is_restored(replica, full, tmp_path)


def test_merged_files_alone_after_changes_that_nobody_replicated(
    full: Path, replica: Path, tmp_path: Path
) -> None:
    """Nothing of level 0 is left there, and the newest local file is not yet that of the database: it comes before they are
    compared.
    """
    with DB(full, replica=replica) as db:
        commit_up_to(db, 4)
        db.compact(1)
    shutil.rmtree(replica / "ltx/0")
    run_sql(full, "UPDATE filler SET v = 'changed' WHERE i < 50")
    with DB(full, replica=replica) as db:
        assert db.wait(timeout=10).txid == 5
    assert is_restored(replica, full, tmp_path)
    assert not snapshots(replica)


@pytest.mark.parametrize("act", ["nothing", "a commit", "local files lost", "restored"])
def test_a_chain_that_is_known_is_not_compared(
    full: Path, replica: Path, tmp_path: Path, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which would read all of it."""

    def refuse(*_arguments: object) -> NoReturn:
        pytest.fail("compared")

    with DB(full, replica=replica) as db:
        commit_up_to(db, 4)
    monkeypatch.setattr(_copier.Copier, "_compare", refuse)
    if act == "a commit":
        insert(full, 8)
    elif act == "local files lost":
        shutil.rmtree(db.meta_path)
    elif act == "restored":
        full = tmp_path / "restored.db"
        ltxcore.restore(FileClient(replica), full)
    for _ in range(2):
        with DB(full, replica=replica) as db:
            insert(full, 9)
            db.wait(timeout=10)
    assert is_restored(replica, full, tmp_path)
    assert not snapshots(replica)


def test_a_chain_that_is_too_large_to_be_compared(
    full: Path, replica: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merged files that were there before are what they were; a replica of which nothing is known takes a snapshot."""
    monkeypatch.setattr(_reconcile, "_MOST_BYTES", 0)
    with DB(full, replica=replica) as db:
        commit_up_to(db, 4)
        db.compact(1)
        db.wait(timeout=10)
        shutil.rmtree(replica / "ltx/0")
        commit_up_to(db, 6)
        assert not snapshots(replica)
    forget_local_files(db)
    ltx_path(replica, 0, 6).unlink()
    for _ in range(2):
        with DB(full, replica=replica) as db:
            db.wait(timeout=10)
        assert len(snapshots(replica)) == 1
    assert is_restored(replica, full, tmp_path)
