"""`wait()` and `is_current` say yes only if a restore from the replica, as it is now, gives what was asked for.

The replica was looked at when it was opened, and then no more: whatever it lost later, they went on saying yes.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

import ltxcore
from ltxcore import DB, TXID, FileClient
from ltxcore.db import _uploader
from ltxcore.db._survey import Survey
from ltxcore.errors import Error, ReplicaError, ReplicaPermissionError

from tests.unit.databases import eventually, forget_local_files, insert, ltx_path, restored
from tests.unit.memory import MemoryClient


def rows(replica: Path, tmp_path: Path) -> list[int]:
    return restored(FileClient(replica), tmp_path)


def lose_a_file(replica: Path, top: int) -> None:
    ltx_path(replica, 0, top - 1).unlink()


def lose_the_newest(replica: Path, top: int) -> None:
    ltx_path(replica, 0, top).unlink()


def lose_everything(replica: Path, _top: int) -> None:
    shutil.rmtree(replica)


def lose_the_levels(replica: Path, _top: int) -> None:
    shutil.rmtree(replica / "ltx")


def cut_a_file(replica: Path, top: int) -> None:
    os.truncate(ltx_path(replica, 0, top - 1), 100)


def cut_a_file_by_little(replica: Path, top: int) -> None:
    path = ltx_path(replica, 0, top)
    os.truncate(path, path.stat().st_size - 1)


def add_to_a_file(replica: Path, top: int) -> None:
    with ltx_path(replica, 0, top - 1).open("ab") as out:
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
    ltx_path(replica, 0, 1).unlink()
    assert not live.status().is_current
    eventually(lambda: live.status().is_current)
    assert ltx_path(replica, 0, 1).exists()


def test_a_loss_is_reported_once(live: DB, replica: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (1, 2):
        ltx_path(replica, 0, number).unlink()
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
        ltx_path(replica, 0, number).unlink()
    insert(live.path, 4)
    live.wait(timeout=10)
    forget_local_files(live)
    for number in range(1, merged.max_txid + 1):
        ltx_path(replica, 0, number).unlink(missing_ok=True)  # which were sent again
    path = ltx_path(replica, level, 1, merged.max_txid)
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
        ltx_path(replica, 0, number).unlink()
    with caplog.at_level(logging.WARNING, "ltxcore"):
        insert(live.path, 4)
        live.wait(timeout=10)
    assert caplog.records == []
    assert not ltx_path(replica, 0, 1).exists()
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
        ltx_path(replica, 0, 1).unlink()
        with pytest.raises(ReplicaPermissionError):
            db.wait(top)
        assert not db.status().is_current
        client.is_read_only = False
        db.wait(timeout=10)
    assert rows(replica, tmp_path) == [1, 2]


def test_what_was_cut_in_place_is_found_while_nobody_asks(
    live: DB, replica: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The times of a directory do not tell of it: `is_current` said yes as long as nobody waited."""
    monkeypatch.setattr(_uploader, "_IDLE_INTERVAL", 0.2)
    live.wait(timeout=10)
    os.truncate(ltx_path(replica, 0, 2), 0)
    path = ltx_path(replica, 0, 2)
    eventually(lambda: path.exists() and path.stat().st_size > 0)
    eventually(lambda: live.status().is_current)
    assert restored(FileClient(replica), tmp_path)


def test_a_look_before_an_upload_confirms_nothing_after_it(live: DB, replica: Path) -> None:
    """Another file may have gone meanwhile."""
    live.wait(timeout=10)
    client = FileClient(replica)
    survey = Survey(client)
    began = time.monotonic()
    survey.look()
    survey.settle()
    assert survey.is_confirmed(began)
    ltx_path(replica, 0, 1).unlink()
    with survey.storing((0, 9, 9), 100):
        pass
    survey.extend(TXID(9))
    assert not survey.is_confirmed(began)


def test_a_doubt_that_comes_while_something_is_published_is_kept(live: DB, replica: Path) -> None:
    live.wait(timeout=10)

    class Doubted(Survey):
        """Another thread says that a file is damaged, just before what is known is written down."""

        def _publish(self, reach: TXID, obstacle: Error | None, doubt: object) -> None:
            self.forget()
            super()._publish(reach, obstacle, doubt)

    survey = Doubted(FileClient(replica))
    survey.look()
    survey.settle()
    assert survey.known is None
    assert not survey.is_settled()
