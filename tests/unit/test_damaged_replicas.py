"""Files in a replica that are damaged, or no part of the history: what is ours is sent again, what is not is said.

Nothing that may be the work of another writer is ever replaced.
"""

import logging
import os
import shutil
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, TXID, FileClient
from ltxcore.errors import BehindReplicaError, Error, FormatError, LTXFileExistsError, ReplicaTimeoutError

from tests.unit.databases import CREATE, insert, ltx_path, restored
from tests.unit.memory import EPOCH, ltx_file, page, run_sql

LAST = TXID((1 << 64) - 1)


def rows(replica: Path, tmp_path: Path) -> list[int]:
    return restored(FileClient(replica), tmp_path)


@pytest.mark.parametrize("size", [0, 100, 300])
@pytest.mark.parametrize("when", ["running", "closed"])
def test_a_stray_file_where_the_next_one_belongs_is_replaced(
    database: Path, replica: Path, tmp_path: Path, size: int, when: str
) -> None:
    """It made the position jump ahead, the local files were thrown away, and no restore ever worked again."""
    db = DB(database, replica=replica)
    with db:
        insert(database, 1)
        top = db.wait(timeout=10).txid
        if when == "running":
            ltx_path(replica, 0, top + 1).write_bytes(bytes(size))
            with pytest.raises(FormatError, match="damaged file") as caught:
                db.wait()
            assert caught.value.min_txid == top + 1
            assert caught.value.hint == f"delete ltx/0/{ltx_path(replica, 0, top + 1).name} from the replica"
            assert not db.status().is_current
            insert(database, 2)
            assert db.wait(timeout=10).txid == top + 1
    if when == "closed":
        ltx_path(replica, 0, top + 1).write_bytes(bytes(size))
        insert(database, 2)
        with db:
            assert db.wait(timeout=10).txid == top + 1
    assert rows(replica, tmp_path) == [1, 2]


@pytest.mark.parametrize("kind", ["empty", "copied", "of another history"])
@pytest.mark.parametrize("when", ["running", "closed"])
def test_a_file_at_the_end_of_all_numbers_does_not_move_the_position(
    database: Path, replica: Path, tmp_path: Path, kind: str, when: str
) -> None:
    """As long as it is there nothing newest can be restored, and `wait` says so; what is sound is uploaded all the same."""
    stray = ltx_path(replica, 0, LAST)

    def add_stray() -> None:
        if kind == "empty":
            stray.touch()
        elif kind == "copied":
            shutil.copy(ltx_path(replica, 0, 1), stray)
        else:
            stray.write_bytes(ltx_file({1: page(1)}, commit=1, min_txid=LAST, timestamp=EPOCH))

    db = DB(database, replica=replica).open()
    insert(database, 1)
    top = db.wait(timeout=10).txid
    if when == "closed":
        db.close()
    add_stray()
    db.open()
    insert(database, 2)
    with pytest.raises(Error, match="ffffffffffffffff") as caught:
        db.wait()
    assert caught.value.hint and "ffffffffffffffff" in caught.value.hint
    with pytest.raises(ReplicaTimeoutError, match="ffffffffffffffff"):
        db.wait(timeout=0.2)
    status = db.status()
    assert status.replica is not None
    assert (status.pos.txid, status.replica.txid, status.is_current) == (top + 1, top + 1, False)
    assert status.last_error is caught.value
    assert ltx_path(replica, 0, top + 1).exists()
    stray.unlink()
    db.wait(timeout=10)
    assert db.status().last_error is None
    db.close()
    assert rows(replica, tmp_path) == [1, 2]


def test_what_was_in_the_way_is_so_no_longer_once_it_is_passed(
    live: DB, replica: Path, tmp_path: Path
) -> None:
    """A snapshot that was cut: as long as it reached further than all other files, it counted for ever."""
    top = live.pos.txid
    short = ltx_path(replica, 9, 1, top + 2)
    short.parent.mkdir()
    short.write_bytes(bytes(100))
    insert(live.path, 4)
    with pytest.raises(FormatError, match=short.name):
        live.wait()
    insert(live.path, 5)
    assert live.wait(timeout=10).txid == top + 2
    assert rows(replica, tmp_path) == [1, 2, 3, 4, 5]


def test_no_snapshot_is_made_where_none_would_help(live: DB, replica: Path) -> None:
    """A stray file counts as the newest snapshot, whatever else is there."""
    stray = ltx_path(replica, 9, 1, LAST)
    stray.parent.mkdir()
    stray.touch()
    for value in (4, 5):
        insert(live.path, value)
        with pytest.raises(FormatError, match="ffffffffffffffff"):
            live.wait()
    assert list(stray.parent.iterdir()) == [stray]
    stray.unlink()
    live.wait(timeout=10)


def test_a_history_with_a_hole_is_not_begun_again_in_the_middle(
    database: Path, replica: Path, tmp_path: Path
) -> None:
    """Local files gone, and one in the middle of the replica as well: a new file in its place would join what follows it."""
    db = DB(database, replica=replica)
    with db:
        for value in (1, 2, 3, 4):
            insert(database, value)
            top = db.wait(timeout=10).txid
    shutil.rmtree(db.meta_path)
    ltx_path(replica, 0, 2).unlink()
    with db:
        assert db.wait(timeout=10).txid > top
    assert not ltx_path(replica, 0, 2).exists()
    assert rows(replica, tmp_path) == [1, 2, 3, 4]


@pytest.mark.parametrize("size", [0, 100])
@pytest.mark.parametrize("cut", [1, 2, 4])
def test_the_newest_files_are_cut_and_no_local_ones_are_left(
    database: Path, replica: Path, tmp_path: Path, cut: int, size: int
) -> None:
    """Nobody could send them again, and as long as nobody committed they were in the way of every restore."""
    db = DB(database, replica=replica)
    with db:
        for value in (1, 2, 3):
            insert(database, value)
            top = db.wait(timeout=10).txid
    shutil.rmtree(db.meta_path)
    for txid in range(top, top - cut, -1):
        os.truncate(ltx_path(replica, 0, TXID(txid)), size)
    with db:
        assert db.wait(timeout=10).txid > top
        assert rows(replica, tmp_path) == [1, 2, 3]
        insert(database, 4)
        db.wait(timeout=10)
    assert rows(replica, tmp_path) == [1, 2, 3, 4]


@pytest.mark.parametrize("level", [1, 9])
@pytest.mark.parametrize("change", [-200, 10])
def test_a_merged_file_that_was_cut_while_nobody_replicated(
    database: Path, replica: Path, tmp_path: Path, level: int, change: int
) -> None:
    """What its size should be nobody knows, but its end is not that of an LTX file: a snapshot takes its place."""
    db = DB(database, replica=replica)
    with db:
        for value in (1, 2, 3):
            insert(database, value)
            db.wait(timeout=10)
        merged = db.compact(1) if level == 1 else db.snapshot()
        assert merged is not None
    for path in (replica / "ltx/0").iterdir():
        path.unlink()
    path = ltx_path(replica, level, 1, merged.max_txid)
    os.truncate(path, merged.size + change)
    with db:
        insert(database, 4)
        db.wait(timeout=10)
    assert rows(replica, tmp_path) == [1, 2, 3, 4]


@pytest.mark.parametrize("number", [1, -1, 0], ids=["in the middle", "newest", "first"])
def test_a_cut_file_is_replaced_by_the_local_one(
    database: Path, replica: Path, tmp_path: Path, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The copy of a replica to another disk was interrupted while nobody replicated."""
    db = DB(database, replica=replica)
    with db:
        for value in (1, 2, 3):
            insert(database, value)
            db.wait(timeout=10)
    path = sorted((replica / "ltx/0").iterdir())[number]
    size = path.stat().st_size
    os.truncate(path, size - 20)
    with caplog.at_level(logging.WARNING, "ltxcore"), db:
        insert(database, 4)
        db.wait(timeout=10)
    assert path.stat().st_size == size
    assert "damaged" in caplog.text
    assert rows(replica, tmp_path) == [1, 2, 3, 4]


def test_files_that_were_preallocated_and_never_filled_are_replaced(
    database: Path, replica: Path, tmp_path: Path
) -> None:
    """As a copy leaves them that was interrupted: the size is right, and there are zeros."""
    db = DB(database, replica=replica)
    with db:
        for value in (1, 2, 3):
            insert(database, value)
            db.wait(timeout=10)
    for path in sorted((replica / "ltx/0").iterdir())[1:]:
        path.write_bytes(bytes(path.stat().st_size))
    with db:
        db.wait(timeout=10)
    assert rows(replica, tmp_path) == [1, 2, 3]


def test_a_sound_file_of_somebody_else_is_never_replaced(
    database: Path, replica: Path, tmp_path: Path
) -> None:
    """It is shorter than ours, as a damaged one would be."""
    db = DB(database, replica=replica)
    with db:
        insert(database, 1)
        top = db.wait(timeout=10).txid
    foreign = ltx_file({1: page(1)}, commit=1, min_txid=top)
    ltx_path(replica, 0, top).write_bytes(foreign)
    with pytest.raises(LTXFileExistsError, match="another history"):
        db.open()
    assert ltx_path(replica, 0, top).read_bytes() == foreign


def test_a_damaged_local_file_replaces_nothing(database: Path, replica: Path, tmp_path: Path) -> None:
    with DB(database, replica=replica) as db:
        for value in (1, 2, 3):
            insert(database, value)
            top = db.wait(timeout=10).txid
        sound = ltx_path(replica, 0, top - 1).read_bytes()
        os.truncate(db.meta_path / f"ltx/0/{ltxcore.ltx.format_filename(top - 1, top - 1)}", 120)
        ltx_path(replica, 0, 1).unlink()  # so that files are compared
        db.wait(timeout=10)
        assert ltx_path(replica, 0, top - 1).read_bytes() == sound
    assert rows(replica, tmp_path) == [1, 2, 3]


def test_the_replica_becomes_that_of_another_database(
    live: DB, database: Path, replica: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    run_sql(other, *CREATE, "INSERT INTO t VALUES (zeroblob(3000))")
    with DB(other, replica=tmp_path / "elsewhere") as theirs:
        for value in range(6):
            insert(other, value)
            theirs.wait(timeout=10)
    shutil.rmtree(replica)
    shutil.copytree(tmp_path / "elsewhere", replica)
    before = sorted(path.name for path in replica.rglob("*.ltx"))
    insert(database, 4)
    with pytest.raises((LTXFileExistsError, BehindReplicaError)):
        live.wait()
    assert not live.status().is_current
    assert sorted(path.name for path in replica.rglob("*.ltx")) == before
    shutil.rmtree(replica)
    live.wait(timeout=10)
    assert rows(replica, tmp_path) == [1, 2, 3, 4]


def test_the_position_of_a_replica_is_what_can_be_restored(live: DB, replica: Path) -> None:
    assert ltxcore.Replica(replica).newest_txid() == live.pos.txid
    ltx_path(replica, 0, LAST).touch()
    assert ltxcore.Replica(replica).newest_txid() == live.pos.txid
    shutil.rmtree(replica / "ltx/0")
    assert ltxcore.Replica(replica).newest_txid() == 0
