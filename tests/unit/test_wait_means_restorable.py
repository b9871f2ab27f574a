"""`wait()` and `is_current` say yes only if a restore from the replica, as it is now, gives what was asked for.

The replica was looked at when it was opened, and then no more: whatever happened to it later, they went on saying yes.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

import ltxcore
from ltxcore import DB, TXID, FileClient
from ltxcore.errors import (
    BehindReplicaError,
    Error,
    FormatError,
    LTXFileExistsError,
    ReplicaError,
    ReplicaPermissionError,
    ReplicaTimeoutError,
)

from tests.unit.databases import CREATE, eventually, insert, restored
from tests.unit.memory import EPOCH, MemoryClient, ltx_file, page, run_sql

LAST = TXID((1 << 64) - 1)


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    return tmp_path / "replica"


@pytest.fixture
def live(database: Path, replica: Path) -> Iterator[DB]:
    """A database with three rows in a directory, one transaction each."""
    with DB(database, replica=ltxcore.Replica(replica, sync_interval=0.05), monitor_interval=0.05) as db:
        for value in (1, 2, 3):
            insert(database, value)
            db.wait(timeout=10)
        yield db


def file(replica: Path, level: int, low: int, high: int | None = None) -> Path:
    return replica / f"ltx/{level}" / ltxcore.ltx.format_filename(low, low if high is None else high)


def rows(replica: Path, tmp_path: Path) -> list[int]:
    return restored(FileClient(replica), tmp_path)


def forget_local_files(db: DB) -> None:
    """As if their retention were over: all but the newest go."""
    for path in sorted((db.meta_path / "ltx/0").iterdir())[:-1]:
        path.unlink()


# --- files that get lost while it is running ---------------------------------------------------------------------------


def lose_a_file(replica: Path, top: int) -> None:
    file(replica, 0, top - 1).unlink()


def lose_the_newest(replica: Path, top: int) -> None:
    file(replica, 0, top).unlink()


def lose_everything(replica: Path, _top: int) -> None:
    shutil.rmtree(replica)


def lose_the_levels(replica: Path, _top: int) -> None:
    shutil.rmtree(replica / "ltx")


def cut_a_file(replica: Path, top: int) -> None:
    os.truncate(file(replica, 0, top - 1), 100)


def cut_a_file_by_little(replica: Path, top: int) -> None:
    path = file(replica, 0, top)
    os.truncate(path, path.stat().st_size - 1)


def add_to_a_file(replica: Path, top: int) -> None:
    with file(replica, 0, top - 1).open("ab") as out:
        out.write(b"more")


LOSSES = [
    lose_a_file,
    lose_the_newest,
    lose_everything,
    lose_the_levels,
    cut_a_file,
    cut_a_file_by_little,
    add_to_a_file,
]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("local_files", ["here", "expired"])
def test_what_a_running_replica_loses_comes_back_before_wait_returns(
    live: DB, replica: Path, tmp_path: Path, loss: Callable[[Path, int], None], local_files: str
) -> None:
    top = live.pos.txid
    if local_files == "expired":
        forget_local_files(live)
    loss(replica, top)
    live.wait(timeout=10)
    assert rows(replica, tmp_path) == [1, 2, 3]
    insert(live.path, 4)
    assert live.wait(timeout=10).txid == live.pos.txid
    assert rows(replica, tmp_path) == [1, 2, 3, 4]
    assert live.status().is_current


def test_the_status_of_a_directory_is_what_is_there(live: DB, replica: Path) -> None:
    assert live.status().is_current
    file(replica, 0, 1).unlink()
    assert not live.status().is_current
    eventually(lambda: live.status().is_current)
    assert file(replica, 0, 1).exists()


def test_a_loss_is_reported_once(live: DB, replica: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (1, 2):
        file(replica, 0, number).unlink()
    with caplog.at_level(logging.WARNING, "ltxcore"):
        live.wait(timeout=10)
        insert(live.path, 4)
        live.wait(timeout=10)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "lost 2 files" in caplog.text


def test_a_replica_goes_back_to_an_older_copy(live: DB, replica: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(replica, older)
    for value in (4, 5):
        insert(live.path, value)
        live.wait(timeout=10)
    shutil.rmtree(replica)
    shutil.copytree(older, replica)
    live.wait(timeout=10)
    assert rows(replica, tmp_path) == [1, 2, 3, 4, 5]


def test_a_replica_is_away_for_a_while(live: DB, replica: Path, tmp_path: Path) -> None:
    """Renamed and back, as a disk that is not mounted. What came meanwhile is in it afterwards."""
    away = tmp_path / "away"
    replica.rename(away)
    insert(live.path, 4)
    live.wait(timeout=10)
    assert rows(replica, tmp_path) == [1, 2, 3, 4]
    shutil.rmtree(replica)
    away.rename(replica)
    insert(live.path, 5)
    live.wait(timeout=10)
    assert rows(replica, tmp_path) == [1, 2, 3, 4, 5]
    assert live.status().is_current


def test_nothing_is_written_below_a_mount_point(
    live: DB, replica: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its disk the directory is on another one: it is said, and nothing is put there."""
    client = FileClient(replica)
    client._mount_point = os.fspath(replica)
    with pytest.raises(ReplicaError, match="is not mounted") as caught:
        client.change_token()
    assert caught.value.hint == f"mount {replica} again"
    assert live.replica is not None
    monkeypatch.setattr(live.replica.client, "_mount_point", os.fspath(replica))
    shutil.rmtree(replica / "ltx")
    insert(live.path, 4)
    with pytest.raises(ReplicaError, match="is not mounted"):
        live.wait()
    assert not live.status().is_current
    assert not (replica / "ltx").exists()
    monkeypatch.undo()
    live.wait(timeout=10)


@pytest.mark.parametrize("level", [1, 9])
@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_a_file_of_a_higher_level_is_lost(
    live: DB, replica: Path, tmp_path: Path, level: int, damage: str
) -> None:
    """Its transactions are nowhere else, so a snapshot takes its place."""
    merged = live.compact(1) if level == 1 else live.snapshot()
    assert merged is not None
    for number in range(1, merged.max_txid + 1):
        file(replica, 0, number).unlink()
    insert(live.path, 4)
    live.wait(timeout=10)
    forget_local_files(live)
    for number in range(1, merged.max_txid + 1):
        file(replica, 0, number).unlink(missing_ok=True)  # which were sent again
    path = file(replica, level, 1, merged.max_txid)
    path.unlink() if damage == "lost" else os.truncate(path, path.stat().st_size // 2)
    insert(live.path, 5)
    live.wait(timeout=10)
    assert rows(replica, tmp_path) == [1, 2, 3, 4, 5]


def test_files_that_are_merged_and_deleted_are_no_loss(
    live: DB, replica: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As the retention of another program does it."""
    merged = live.compact(1)
    assert merged is not None
    for number in range(1, merged.max_txid + 1):
        file(replica, 0, number).unlink()
    with caplog.at_level(logging.WARNING, "ltxcore"):
        insert(live.path, 4)
        live.wait(timeout=10)
    assert caplog.records == []
    assert not file(replica, 0, 1).exists()
    assert not list((replica / "ltx").glob("9/*"))
    assert rows(replica, tmp_path) == [1, 2, 3, 4]


# --- other storages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["one", "all"])
def test_another_storage_is_listed_now_and_then(
    db: DB, client: MemoryClient, tmp_path: Path, lost: str
) -> None:
    for value in (1, 2, 3):
        insert(db.path, value)
        top = db.wait(timeout=10).txid
    if lost == "one":
        del client.files[0, top - 1, top - 1]
    else:
        client.files.clear()

    def is_back() -> bool:
        db.wait(timeout=10)
        return len(client.txids(0)) == top

    eventually(is_back)
    assert restored(client, tmp_path) == [1, 2, 3]


def test_an_idle_storage_gets_no_request(database: Path, client: MemoryClient) -> None:
    with DB(database, replica=client, monitor_interval=0.05) as db:
        db.wait(timeout=10)
        time.sleep(0.3)
        requests: list[object] = []
        client.before_list = client.before_read = client.before_write = requests.append
        time.sleep(1.5)
        assert db.status().is_current
        assert requests == []


def test_what_the_storage_answers_is_compared(db: DB, client: MemoryClient) -> None:
    db.wait(timeout=10)

    plain = client.write_ltx_file

    def write(level: int, low: TXID, high: TXID, data: BinaryIO) -> ltxcore.FileInfo:
        plain(level, low, high, data)
        client.files[level, low, high] = client.files[level, low, high][:120]
        return client._info((level, low, high))

    client.write_ltx_file = write  # type: ignore[method-assign]  # the point of the test
    insert(db.path, 1)
    with pytest.raises(ReplicaError, match=r"stored \d+ of \d+ bytes"):
        db.wait()
    client.write_ltx_file = plain  # type: ignore[method-assign]
    db.wait(timeout=10)


# --- snapshots that are needed -----------------------------------------------------------------------------------------


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
    with pytest.raises(FormatError, match="pages of"):
        rows(replica, tmp_path)
    with DB(database, replica=replica) as db:
        db.wait(timeout=10)
    assert rows(replica, tmp_path) == [1]


def test_wait_covers_the_snapshot_that_a_hole_needs(database: Path, replica: Path, tmp_path: Path) -> None:
    client = NoSnapshots(replica)
    with DB(database, replica=client, monitor_interval=0.05) as db:
        for value in (1, 2, 3):
            insert(database, value)
            top = db.wait(timeout=10).txid
        forget_local_files(db)
        file(replica, 0, top - 1).unlink()
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
        file(replica, 0, 1).unlink()
        for value in (4, 5):
            insert(database, value)
            with pytest.raises(ReplicaTimeoutError):
                db.wait(timeout=0.7)
        here = [path.name for path in (db.meta_path / "ltx/0").iterdir()]
        assert {ltxcore.ltx.format_filename(n, n) for n in (top + 1, top + 2)} <= set(here)
        client.refuses = False


# --- files that are damaged, or not part of the history ----------------------------------------------------------------


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
            file(replica, 0, top + 1).write_bytes(bytes(size))
            with pytest.raises(FormatError, match="damaged file") as caught:
                db.wait()
            assert caught.value.min_txid == top + 1
            assert caught.value.hint == f"delete ltx/0/{file(replica, 0, top + 1).name} from the replica"
            assert not db.status().is_current
            insert(database, 2)
            assert db.wait(timeout=10).txid == top + 1
    if when == "closed":
        file(replica, 0, top + 1).write_bytes(bytes(size))
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
    stray = file(replica, 0, LAST)

    def add_stray() -> None:
        if kind == "empty":
            stray.touch()
        elif kind == "copied":
            shutil.copy(file(replica, 0, 1), stray)
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
    assert (status.pos.txid, status.replica_txid, status.is_current) == (top + 1, top + 1, False)
    assert status.last_error is caught.value
    assert file(replica, 0, top + 1).exists()
    stray.unlink()
    db.wait(timeout=10)
    assert db.status().last_error is None
    db.close()
    assert rows(replica, tmp_path) == [1, 2]


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
    file(replica, 0, 2).unlink()
    with db:
        assert db.wait(timeout=10).txid > top
    assert not file(replica, 0, 2).exists()
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
    file(replica, 0, top).write_bytes(foreign)
    with pytest.raises(LTXFileExistsError, match="another file"):
        db.open()
    assert file(replica, 0, top).read_bytes() == foreign


def test_a_damaged_local_file_replaces_nothing(database: Path, replica: Path, tmp_path: Path) -> None:
    with DB(database, replica=replica) as db:
        for value in (1, 2, 3):
            insert(database, value)
            top = db.wait(timeout=10).txid
        sound = file(replica, 0, top - 1).read_bytes()
        os.truncate(db.meta_path / f"ltx/0/{ltxcore.ltx.format_filename(top - 1, top - 1)}", 120)
        file(replica, 0, 1).unlink()  # so that files are compared
        db.wait(timeout=10)
        assert file(replica, 0, top - 1).read_bytes() == sound
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


def test_a_replica_that_cannot_be_written_any_more(database: Path, replica: Path, tmp_path: Path) -> None:
    class ReadOnly(FileClient):
        is_read_only = False

        def write_ltx_path(self, *arguments: object) -> ltxcore.FileInfo:  # type: ignore[override]
            if self.is_read_only:
                raise ReplicaPermissionError("read-only file system")
            return super().write_ltx_path(*arguments)  # type: ignore[arg-type]

    client = ReadOnly(replica)
    with DB(database, replica=client) as db:
        insert(database, 1)
        top = db.wait(timeout=10).txid
        client.is_read_only = True
        assert db.wait(top, timeout=0).txid == top  # which is there
        insert(database, 2)
        with pytest.raises(ReplicaPermissionError):
            db.wait()
        file(replica, 0, 1).unlink()
        with pytest.raises(ReplicaPermissionError):
            db.wait(top)
        assert not db.status().is_current
        client.is_read_only = False
        db.wait(timeout=10)
    assert rows(replica, tmp_path) == [1, 2]


def test_the_position_of_a_replica_is_what_can_be_restored(live: DB, replica: Path) -> None:
    assert ltxcore.Replica(replica).pos.txid == live.pos.txid
    file(replica, 0, LAST).touch()
    assert ltxcore.Replica(replica).pos.txid == live.pos.txid
    shutil.rmtree(replica / "ltx/0")
    assert ltxcore.Replica(replica).pos.txid == 0
