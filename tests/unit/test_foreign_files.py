"""Files of another database in a replica: what a restore would read of them is not taken for ours."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, FileClient, FileInfo
from ltxcore.errors import FormatError, LTXFileExistsError, ReplicaTimeoutError

from tests.unit.databases import CREATE, eventually, insert, restored
from tests.unit.memory import run_sql


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    return tmp_path / "replica"


def fill(path: Path, mark: str) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200)"
    run_sql(path, f"CREATE TABLE filler AS {numbers} SELECT '{mark}' || hex(randomblob(100)) AS v FROM n")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The replica of another database: one snapshot up to TXID 3, and nothing of level 0."""
    path, replica = tmp_path / "other.db", tmp_path / "other"
    run_sql(path, "PRAGMA journal_mode = wal", *CREATE)
    fill(path, "other")
    with DB(path, replica=replica) as db:
        for value in (1, 2):
            insert(path, value)
            db.wait(timeout=10)
        db.snapshot()
    for file in (replica / "ltx/0").iterdir():
        file.unlink()
    return replica


def damage(path: Path) -> None:
    """One bit in the middle, in place: never shorter, not even for a moment."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        was = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([was ^ 1]))


class Slow(FileClient):
    """After each deletion, the next call waits for a word."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.deleted, self.may_go_on = threading.Event(), threading.Event()

    def delete_ltx_files(self, files: Sequence[FileInfo]) -> None:
        super().delete_ltx_files(files)
        self.deleted.set()
        assert self.may_go_on.wait(10)


def commit(db: DB, values: range) -> None:
    """One row each, every one of them in the replica."""
    for value in values:
        insert(db.path, value)
        db.wait(timeout=10)


def replicate_to(database: Path, replica: Path, values: range) -> None:
    with DB(database, replica=replica) as db:
        commit(db, values)


@pytest.fixture
def mine(database: Path, replica: Path) -> Path:
    """A database whose replica holds six rows."""
    fill(database, "mine")
    replicate_to(database, replica, range(6))
    return database


@pytest.mark.parametrize("running", [False, True])
def test_the_replica_of_another_database_is_not_gone_on_with(
    mine: Path, replica: Path, other: Path, tmp_path: Path, running: bool
) -> None:
    db = DB(mine, replica=replica)
    if running:
        db.open()
    replica.rename(tmp_path / "aside")
    other.rename(replica)
    insert(mine, 6)
    if running:
        with pytest.raises(ReplicaTimeoutError, match="another history"):
            db.wait(timeout=3)
        with pytest.raises(LTXFileExistsError):
            db.close(timeout=0)
    else:
        with pytest.raises(LTXFileExistsError, match="another history"):
            db.open()
    assert not list((replica / "ltx").glob("9/*7.ltx"))


@pytest.mark.parametrize("running", [False, True])
def test_a_stray_snapshot_of_another_database_is_told_of(
    mine: Path, replica: Path, other: Path, tmp_path: Path, running: bool
) -> None:
    db = DB(mine, replica=replica)
    if running:
        db.open()
        db.wait(timeout=10)
    stray = replica / "ltx/9" / next((other / "ltx/9").iterdir()).name
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(next((other / "ltx/9").iterdir()).read_bytes())
    if running:
        with pytest.raises(ReplicaTimeoutError, match=f"delete ltx/9/{stray.name}") as caught:
            db.wait(timeout=3)
        assert isinstance(caught.value.__cause__, LTXFileExistsError)
    else:
        with pytest.raises(LTXFileExistsError):
            db.open()
        db.close()
    stray.unlink()
    with db:
        db.wait(timeout=10)
    assert restored(FileClient(replica), tmp_path) == list(range(6))


def test_a_snapshot_that_was_made_elsewhere_is_compared_and_used(
    database: Path, replica: Path, tmp_path: Path
) -> None:
    fill(database, "mine")
    replicate_to(database, replica, range(4))
    ltxcore.Replica(replica).compact(1)
    replicate_to(database, replica, range(4, 6))
    assert restored(FileClient(replica), tmp_path) == list(range(6))
    assert not list((replica / "ltx").glob("9/*.ltx"))


def test_damage_that_a_compaction_finds_is_healed(database: Path, replica: Path, tmp_path: Path) -> None:
    """It keeps its size, so that no listing shows it."""
    with DB(database, replica=replica) as db:
        commit(db, range(4))
        damage(sorted((replica / "ltx/0").iterdir())[2])
        with pytest.raises(FormatError):
            db.compact(1)
        db.wait(timeout=10)
        assert restored(FileClient(replica), tmp_path) == list(range(4))
        eventually(lambda: db.status().is_current)


def test_a_compaction_waits_for_a_file_that_is_being_replaced(
    database: Path, replica: Path, tmp_path: Path
) -> None:
    """Between the deletion of a damaged file and the upload of the good one there is a gap, and none to be told of."""
    client = Slow(replica)
    with DB(database, replica=client) as db, ThreadPoolExecutor() as pool:
        commit(db, range(4))
        damage(sorted((replica / "ltx/0").iterdir())[2])
        with pytest.raises(FormatError):
            db.compact(1)
        insert(database, 4)
        assert client.deleted.wait(10)
        merged = pool.submit(db.compact, 1)
        with pytest.raises(TimeoutError):
            merged.result(timeout=0.3)
        client.may_go_on.set()
        assert merged.result(timeout=10) is not None
        db.wait(timeout=10)
    assert restored(FileClient(replica), tmp_path) == list(range(5))
