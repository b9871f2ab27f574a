"""Two writers continue one history in one replica: no retry can help the one that comes second, so its replication ends."""

import io
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, TXID, FileClient, Replica, ReplicaClient
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import (
    BehindReplicaError,
    InternalError,
    LTXFileExistsError,
    ReplicaTimeoutError,
)

from tests.helpers.stores import DirectoryStore
from tests.unit.databases import eventually, insert, ltx_path, quietly_closed, restored
from tests.unit.memory import ltx_file, page
from tests.unit.test_threads_survive import end_follower, end_upload_thread

pytestmark = pytest.mark.usefixtures("looks_often")

CONFLICT = (LTXFileExistsError, BehindReplicaError)
#: Much less than a `close` or a `wait` is given here, and much more than they need.
SOON = 20.0
LONG = 120.0

Open = Callable[..., DB]
End = Callable[[DB, pytest.MonkeyPatch], None]


def directory(path: Path) -> ReplicaClient:
    return FileClient(path)


def objects(path: Path) -> ReplicaClient:
    return ObjectReplicaClient(DirectoryStore(path))


@pytest.fixture(params=[directory, objects], ids=["directory", "objects"])
def client(request: pytest.FixtureRequest, replica: Path) -> ReplicaClient:
    """The replica that both write to."""
    made = request.param(replica)
    assert isinstance(made, ReplicaClient)
    return made


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens databases, and lets them go in the end whatever they have to say."""
    with ExitStack() as stack:

        def start(path: Path, client: ReplicaClient) -> DB:
            db = DB(path, replica=Replica(client, sync_interval=0.05), monitor_interval=0.05).open()
            stack.callback(quietly_closed, db)
            return db

        yield start


def copy_of(database: Path, folder: Path) -> Path:
    """The database with its local files, as if its machine were cloned."""
    folder.mkdir()
    copy = folder / database.name
    shutil.copy(database, copy)
    shutil.copytree(DB(database).meta_path, DB(copy).meta_path)
    return copy


@pytest.fixture
def pair(
    database: Path, client: ReplicaClient, tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> tuple[DB, DB]:
    """A database and its copy, both open, with one replica, which has all that both hold."""
    with DB(database, replica=client) as db:
        for value in (1, 2, 3):
            insert(database, value)
            db.wait(timeout=10)
    copy = copy_of(database, tmp_path / "copy")
    monkeypatch.setattr("ltxcore.db._running.take", lambda _client, _path: None)
    first, second = opened(database, client), opened(copy, client)
    assert first.wait(timeout=10) == second.wait(timeout=10)
    return first, second


def assert_ended(db: DB, *words: str) -> None:
    """No attempt is made any more, and everything says why, at once."""
    eventually(lambda: db.status().has_ended, timeout=SOON)
    status = db.status()
    assert isinstance(status.last_error, CONFLICT)
    assert not status.is_current
    for word in words:
        assert word in str(status.last_error)
    assert status.last_error.hint and "only one process may write" in status.last_error.hint
    began = time.monotonic()
    db.join()
    refused: list[Callable[[], object]] = [
        db.wait,
        lambda: db.wait(timeout=LONG),
        db.snapshot,
        lambda: db.compact(1),
        lambda: db.close(timeout=LONG),
    ]
    for call in refused:
        with pytest.raises(CONFLICT) as caught:
            call()
        assert caught.value is status.last_error
    assert time.monotonic() - began < LONG / 2


def until_conflict(db: DB) -> None:
    """Wait until a wait fails: a storage that is no directory is listed once in a while only."""

    def fails() -> bool:
        try:
            db.wait(timeout=LONG)
        except CONFLICT:
            return True
        return False

    eventually(fails, timeout=SOON)


def files_in(replica: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(replica.rglob("*.ltx"))}


@pytest.mark.parametrize("second_writes", [False, True], ids=["idle", "writes"])
@pytest.mark.parametrize("order", [0, 1], ids=["original first", "copy first"])
def test_the_one_that_comes_second_ends(
    pair: tuple[DB, DB], client: ReplicaClient, replica: Path, tmp_path: Path, order: int, second_writes: bool
) -> None:
    winner, loser = pair[order], pair[1 - order]
    insert(winner.path, 10)
    top = winner.wait(timeout=10).txid
    if second_writes:
        insert(loser.path, 20)
    until_conflict(loser)
    before = files_in(replica)
    name = ltxcore.ltx.format_filename(top, top)
    assert_ended(loser, f"both have TXID {TXID(top - 1)}", name, "checksum")
    assert files_in(replica) == before
    # The other one of the same process goes on.
    insert(winner.path, 11)
    winner.wait(timeout=10)
    assert not winner.status().has_ended
    assert restored(client, tmp_path) == [1, 2, 3, 10, 11]


def test_a_new_start_begins_again(pair: tuple[DB, DB], client: ReplicaClient, tmp_path: Path) -> None:
    """The local files are refused by the start itself; with an empty destination all of it is there."""
    winner, loser = pair
    insert(winner.path, 10)
    winner.wait(timeout=10)
    insert(loser.path, 20)
    with pytest.raises(CONFLICT):
        loser.wait(timeout=LONG)
    assert_ended(loser)
    with pytest.raises(LTXFileExistsError, match="another history"):
        loser.open()
    elsewhere = FileClient(tmp_path / "elsewhere")
    with DB(loser.path, replica=elsewhere) as db:
        db.wait(timeout=10)
        assert not db.status().has_ended
    assert restored(elsewhere, tmp_path) == [1, 2, 3, 20]
    assert db.join() is None  # type: ignore[func-returns-value]


def test_a_writer_that_was_restored_elsewhere(
    database: Path,
    client: ReplicaClient,
    tmp_path: Path,
    opened: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has no local file that is in the replica yet when the first writer goes on."""
    first = opened(database, client)
    insert(database, 1)
    first.wait(timeout=10)
    copy = tmp_path / "restored.db"
    ltxcore.restore(client, copy)
    monkeypatch.setattr("ltxcore.db._running.take", lambda _client, _path: None)
    second = opened(copy, client)
    insert(database, 2)
    first.wait(timeout=10)
    insert(copy, 3)
    with pytest.raises(CONFLICT):
        second.wait(timeout=LONG)
    assert_ended(second)
    assert not first.status().has_ended


def test_the_first_writer_ends_where_a_restored_one_has_gone_on(
    database: Path,
    client: ReplicaClient,
    tmp_path: Path,
    opened: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = opened(database, client)
    insert(database, 1)
    first.wait(timeout=10)
    copy = tmp_path / "restored.db"
    ltxcore.restore(client, copy)
    monkeypatch.setattr("ltxcore.db._running.take", lambda _client, _path: None)
    with DB(copy, replica=client) as second:
        insert(copy, 3)
        second.wait(timeout=10)
    insert(database, 2)
    with pytest.raises(CONFLICT):
        first.wait(timeout=LONG)
    assert_ended(first)
    assert restored(client, tmp_path) == [1, 3]


@pytest.mark.parametrize("merged", [0, 1], ids=["level 0", "merged"])
def test_files_of_another_writer_under_the_next_numbers(
    database: Path, client: ReplicaClient, opened: Open, merged: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Where they were merged and are gone from level 0, an upload beside them may succeed before they are noticed."""
    db = opened(database, client)
    insert(database, 1)
    top = db.wait(timeout=10).txid
    low, high = TXID(top + 1), TXID(top + 1 + merged)
    content = ltx_file({1: page(1)}, commit=1, min_txid=low, max_txid=high)
    with caplog.at_level(logging.ERROR, "ltxcore"):
        client.write_ltx_file(merged, low, high, io.BytesIO(content))
        insert(database, 2)
        until_conflict(db)
        eventually(lambda: "has ended" in caplog.text)
    name = ltxcore.ltx.format_filename(low, high)
    assert name in caplog.text
    assert_ended(db, name)
    assert client.read_ltx_file(merged, low, high) == content


@pytest.mark.parametrize("client", [directory], indirect=True)
def test_an_idle_database_ends_without_a_commit(pair: tuple[DB, DB]) -> None:
    """The directory has changed, and who asks for the status makes it look. Nothing else is looked at without a reason."""
    winner, loser = pair
    insert(winner.path, 10)
    winner.wait(timeout=10)
    eventually(lambda: not loser.status().is_current)
    assert_ended(loser)


def unproved(kind: str, replica: Path, top: int) -> Path:
    """A sound file of another writer that shares no history with ours, or may be no part of it."""
    places = {
        "snapshot": (9, 1, top + 1),
        "beyond a hole": (0, top + 9, top + 9),
        "merged from the first": (1, 1, top + 1),
    }
    path = ltx_path(replica, *places[kind])
    path.parent.mkdir(exist_ok=True)
    _level, low, high = places[kind]
    path.write_bytes(ltx_file({1: page(7)}, commit=1, min_txid=low, max_txid=high))
    return path


@pytest.mark.parametrize("kind", ["snapshot", "beyond a hole", "merged from the first"])
def test_a_stray_file_proves_nothing(
    database: Path, replica: Path, tmp_path: Path, opened: Open, kind: str
) -> None:
    """It can be deleted, and then all is well without a new start."""
    db = opened(database, FileClient(replica))
    for value in (1, 2, 3):
        insert(database, value)
        top = db.wait(timeout=10).txid
    stray = unproved(kind, replica, top)
    with pytest.raises(ReplicaTimeoutError):
        db.wait(timeout=2)
    assert not db.status().has_ended
    stray.unlink()
    insert(database, 4)
    db.wait(timeout=10)
    assert restored(FileClient(replica), tmp_path) == [1, 2, 3, 4]


def test_the_replica_of_another_database_proves_nothing(
    database: Path, replica: Path, tmp_path: Path, opened: Open
) -> None:
    """It may be there by mistake, and the right one come back."""
    other = tmp_path / "other.db"
    shutil.copy(database, other)
    with DB(other, replica=tmp_path / "theirs") as theirs:
        for value in range(6):
            insert(other, value)
            theirs.wait(timeout=10)
    db = opened(database, FileClient(replica))
    for value in (1, 2, 3):
        insert(database, value)
        db.wait(timeout=10)
    replica.rename(tmp_path / "aside")
    (tmp_path / "theirs").rename(replica)
    insert(database, 4)
    with pytest.raises(ReplicaTimeoutError) as caught:
        db.wait(timeout=3)
    assert isinstance(caught.value.__cause__, CONFLICT)
    assert not db.status().has_ended
    replica.rename(tmp_path / "theirs")
    (tmp_path / "aside").rename(replica)
    db.wait(timeout=10)
    assert restored(FileClient(replica), tmp_path) == [1, 2, 3, 4]


def test_a_damaged_file_under_the_next_number_proves_nothing(
    database: Path, replica: Path, tmp_path: Path, opened: Open
) -> None:
    db = opened(database, FileClient(replica))
    insert(database, 1)
    top = db.wait(timeout=10).txid
    content = ltx_file({1: page(1)}, commit=1, min_txid=top + 1)
    ltx_path(replica, 0, top + 1).write_bytes(content[:-20] + bytes(20))
    insert(database, 2)
    db.wait(timeout=10)
    assert restored(FileClient(replica), tmp_path) == [1, 2]


def test_files_of_ours_that_the_local_history_lost_prove_nothing(
    database: Path, replica: Path, tmp_path: Path, opened: Open
) -> None:
    """The meta directory is rolled back while it is in use: the newest files in the replica are still ours."""
    db = opened(database, FileClient(replica))
    insert(database, 1)
    db.wait(timeout=10)
    shutil.copytree(db.meta_path, tmp_path / "older")
    for value in (2, 3):
        insert(database, value)
        db.wait(timeout=10)
    shutil.rmtree(db.meta_path)
    shutil.copytree(tmp_path / "older", db.meta_path)
    insert(database, 4)
    db.wait(timeout=LONG)
    assert not db.status().has_ended
    assert restored(FileClient(replica), tmp_path) == [1, 2, 3, 4]


def test_join_returns_when_the_database_is_closed(database: Path, replica: Path) -> None:
    db = DB(database, replica=replica).open()
    joined = threading.Thread(target=db.join, daemon=True)
    joined.start()
    joined.join(0.2)
    assert joined.is_alive()
    db.close()
    joined.join(SOON)
    assert not joined.is_alive()


@pytest.mark.parametrize("end", [end_upload_thread, end_follower])
def test_join_returns_when_a_thread_has_ended_by_a_defect(
    database: Path, replica: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, end: End
) -> None:
    db = opened(database, FileClient(replica))
    end(db, monkeypatch)
    joined = threading.Thread(target=db.join, daemon=True)
    joined.start()
    joined.join(SOON)
    assert not joined.is_alive()
    assert isinstance(db.status().last_error, InternalError)
    assert db.status().has_ended


def test_a_file_put_in_place_of_an_uploaded_one(database: Path, replica: Path, opened: Open) -> None:
    """Another writer's, of the same name, after the local one has expired: as if the replica had been swapped for a fork."""
    db = opened(database, FileClient(replica))
    for value in (1, 2, 3):
        insert(database, value)
        top = db.wait(timeout=10).txid
    expired = db.meta_path / "ltx/0" / ltxcore.ltx.format_filename(top - 1, top - 1)
    os.unlink(expired)
    ltx_path(replica, 0, top - 1).write_bytes(ltx_file({1: page(1)}, commit=1, min_txid=top - 1))
    with pytest.raises(LTXFileExistsError):
        db.wait(timeout=LONG)
    assert_ended(db, "deleted after its upload")


def test_a_snapshot_replaces_nothing_of_others(
    pair: tuple[DB, DB], client: ReplicaClient, tmp_path: Path
) -> None:
    """It holds what its writer has not uploaded yet, and a restore reads it in place of the files of level 0."""
    insert(pair[0].path, 10)
    pair[0].wait(timeout=10)
    insert(pair[1].path, 20)
    with pytest.raises(CONFLICT):
        pair[1].snapshot()
    assert restored(client, tmp_path) == [1, 2, 3, 10]
