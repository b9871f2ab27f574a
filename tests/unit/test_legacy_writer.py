"""Databases that are replicated in the v0.3 layout: what is written, and what is restored from it."""

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import ltxcore
from ltxcore import DB, legacy
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import ConfigError, ReplicaError

from tests.unit.databases import eventually, insert, quietly_closed
from tests.unit.legacy_writing import FAST, Store, generations, opened, places, record, restored
from tests.unit.memory import run_sql


@pytest.fixture
def store() -> Store:
    return Store()


def test_each_commit_is_a_segment(database: Path, store: Store, tmp_path: Path) -> None:
    with opened(database, store) as db:
        for value in (1, 2, 3):
            insert(database, value)
            db.wait(timeout=20)
            assert restored(store, tmp_path) == list(range(1, value + 1))
        status = db.status()
        assert status.is_current and status.replica is not None
        assert status.replica.txid == status.pos.txid and status.replica.last_upload is not None
    assert len(generations(store)) == 1
    assert len(legacy.snapshots(store)) == 1
    assert places(store) == [(0, 0), (0, 1), (0, 2)]


def test_close_uploads_the_last_commits(database: Path, store: Store, tmp_path: Path) -> None:
    with opened(database, store):
        insert(database, 1)
    assert restored(store, tmp_path) == [1]


def test_a_generation_goes_on_after_a_restart(database: Path, store: Store, tmp_path: Path) -> None:
    for value in (1, 2, 3):
        with opened(database, ObjectReplicaClient(store, "app")) as db:
            insert(database, value)
            db.wait(timeout=20)
    client = ObjectReplicaClient(store, "app")
    assert all(key.startswith("app/generations/") for key in store.objects)
    assert len(generations(client)) == 1 and restored(client, tmp_path) == [1, 2, 3]


def test_what_was_written_meanwhile_goes_to_the_same_generation(
    database: Path, store: Store, tmp_path: Path
) -> None:
    with opened(database, store) as db:
        db.wait(timeout=20)
    insert(database, 1)
    run_sql(database, "PRAGMA wal_checkpoint(TRUNCATE)")
    insert(database, 2)
    with opened(database, store) as db:
        db.wait(timeout=20)
    assert len(generations(store)) == 1 and restored(store, tmp_path) == [1, 2]


def test_every_state_can_be_restored_by_its_time(database: Path, tmp_path: Path) -> None:
    replica, times = tmp_path / "replica", []
    with opened(database, replica) as db:
        db.wait(timeout=20)
        for value in range(5):
            insert(database, value)
            db.wait(timeout=20)
            if value == 2:
                db.snapshot()
            times.append(legacy.generations(replica)[-1].updated_at)
            time.sleep(0.01)
    assert sorted(set(times)) == times
    for value, when in enumerate(times):
        assert restored(replica, tmp_path, timestamp=when) == list(range(value + 1))


def test_objects_are_never_older_than_those_before(database: Path, tmp_path: Path) -> None:
    replica = tmp_path / "replica"
    with opened(database, replica) as db:
        for value in range(6):
            insert(database, value)
            db.wait(timeout=20)
            if value % 2:
                db.snapshot()
    generation = legacy.generations(replica)[0]
    snapshots = {file.index: file.created_at for file in generation.snapshots}
    last = snapshots[0]
    for segment in generation.segments:
        if segment.offset == 0:
            last = max(last, snapshots.get(segment.index, last))
        assert segment.created_at >= last
        last = segment.created_at


def test_a_snapshot_begins_a_wal(database: Path, store: Store, tmp_path: Path) -> None:
    with opened(database, store) as db:
        insert(database, 1)
        db.wait(timeout=20)
        made = db.snapshot()
        assert (made.level, made.max_txid) == (9, db.pos.txid)
        assert made.size == legacy.snapshots(store)[-1].size
        assert db.snapshot() == made, "nothing has changed"
        insert(database, 2)
        later = db.snapshot()
        assert later.max_txid == db.pos.txid
        insert(database, 3)
        db.wait(timeout=20)
    assert [each.index for each in legacy.snapshots(store)] == [0, 1, 2]
    assert restored(store, tmp_path) == [1, 2, 3]
    for index, rows in ((0, [1]), (1, [1, 2]), (2, [1, 2, 3])):
        assert restored(store, tmp_path, index=index, generation=generations(store)[0]) == rows


def test_a_wal_of_enough_pages_is_followed_by_another(database: Path, store: Store, tmp_path: Path) -> None:
    with opened(database, store) as db:
        db.wait(timeout=20)
        for value in range(3):
            run_sql(database, "CREATE TABLE IF NOT EXISTS b (x)", "INSERT INTO b VALUES (zeroblob(5000000))")
            insert(database, value)
            db.wait(timeout=20)
    assert {index for index, _number in places(store)} >= {0, 1, 2}
    assert all(offset.offset < 1 << 27 for offset in legacy.wal_segments(store))
    assert len(legacy.snapshots(store)) == 1 and restored(store, tmp_path) == [0, 1, 2]


def test_snapshots_are_made_as_often_as_wanted(database: Path, store: Store) -> None:
    with opened(database, store, snapshot_interval=0.2) as db:
        insert(database, 1)
        db.wait(timeout=20)
        # Nobody writes or waits: it is due all the same, once.
        eventually(lambda: len(legacy.snapshots(store)) == 2)
        time.sleep(0.6)
        assert len(legacy.snapshots(store)) == 2


def test_what_is_too_old_is_deleted(database: Path, tmp_path: Path) -> None:
    replica = tmp_path / "replica"
    with opened(database, replica, retention=0.5, retention_check_interval=0.1) as db:
        value = 0

        def has_gone() -> bool:
            nonlocal value
            insert(database, value := value + 1)
            db.wait(timeout=20)
            assert restored(replica, tmp_path) == list(range(1, value + 1))
            return min(each.index for each in legacy.snapshots(replica)) > 1

        eventually(has_gone, timeout=60)

        def is_tidy() -> bool:
            """Segments are deleted after the snapshot that they follow."""
            (generation,) = legacy.generations(replica)
            first = generation.snapshots[0].index
            return all(segment.index >= first for segment in generation.segments)

        eventually(is_tidy)
    assert len(generations(replica)) == 1


def test_old_generations_are_deleted_with_their_folders(database: Path, tmp_path: Path) -> None:
    replica = tmp_path / "replica"
    options = {"retention": 0.5, "retention_check_interval": 0.1}
    with opened(database, replica, **options) as db:
        db.wait(timeout=20)
    shutil.rmtree(db.meta_path)
    with opened(database, replica, **options) as db:
        insert(database, 1)
        db.wait(timeout=20)
        assert len(list((replica / "generations").iterdir())) == 2
        # Nobody writes.
        eventually(lambda: len(list((replica / "generations").iterdir())) == 1, timeout=60)
    assert restored(replica, tmp_path) == [1]


def test_a_store_that_is_away_is_tried_again(database: Path, store: Store, tmp_path: Path) -> None:
    with opened(database, store) as db:
        db.wait(timeout=20)
        store.fails = True
        insert(database, 1)
        with pytest.raises(ReplicaError, match="away"):
            db.wait()
        status = db.status()
        assert status.replica is not None and status.replica.last_error is not None and not status.is_current
        store.fails = False
        db.wait(timeout=20)
        assert db.status().is_current
    assert len(generations(store)) == 1 and restored(store, tmp_path) == [1]


def test_what_is_lost_while_it_runs_is_noticed(database: Path, tmp_path: Path) -> None:
    replica = tmp_path / "replica"
    with opened(database, replica) as db:
        insert(database, 1)
        db.wait(timeout=20)
        shutil.rmtree(replica)
        assert not db.status().is_current
        db.wait(timeout=20)
        assert restored(replica, tmp_path) == [1]


@pytest.mark.parametrize("legacy_first", [True, False])
def test_mirrors_of_both_layouts(database: Path, store: Store, tmp_path: Path, legacy_first: bool) -> None:
    other = tmp_path / "ltx-replica"
    old, new = legacy.Replica(store, sync_interval=0.0), ltxcore.Replica(other, sync_interval=0.0)
    first, second = (old, new) if legacy_first else (new, old)
    for value in (1, 2):
        with DB(database, replica=first, mirrors=[second], **FAST) as db:  # type: ignore[arg-type]
            insert(database, value)
            for each in (first, second):
                assert db.wait(timeout=20, replica=each).txid == db.pos.txid
            for each in (first, second):
                db.snapshot(replica=each)
    assert restored(store, tmp_path) == [1, 2] and len(generations(store)) == 1
    ltxcore.restore(other, tmp_path / "out.db")
    assert not (other / "generations").exists()


def test_what_does_not_exist_there(database: Path, store: Store) -> None:
    replica = legacy.Replica(store)
    with opened(database, replica) as db:
        db.wait(timeout=20)
        with pytest.raises(ConfigError, match="levels"):
            db.compact(1)
    for call in (
        replica.newest_txid,
        replica.files,
        replica.write_listing,
        replica.acquire_lease,
        lambda: replica.compact(1),
    ):
        with pytest.raises(ConfigError) as raised:
            call()
        assert raised.value.hint
    for options in ({"retention": 0}, {"snapshot_interval": 0}, {"retention_check_interval": -1}):
        with pytest.raises(ConfigError):
            legacy.Replica(store, **options)  # type: ignore[arg-type]
    quietly_closed(db)


def test_an_empty_database_begins_with_its_first_table(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "new.db"
    with opened(path, store) as db:
        time.sleep(0.2)
        assert not store.objects
        run_sql(path, "PRAGMA journal_mode = wal", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
        eventually(lambda: db.status().is_ready)
        db.wait(timeout=20)
    assert restored(store, tmp_path) == [1]


def test_nothing_is_tried_for_a_database_that_is_gone(database: Path, store: Store) -> None:
    """Snapshots and deletions are due by time; without a database they wait without a pass."""
    with opened(database, store, snapshot_interval=0.1, retention_check_interval=0.1) as db:
        insert(database, 1)
        db.wait(timeout=20)
        for name in ("app.db", "app.db-wal", "app.db-shm"):
            database.with_name(name).unlink(missing_ok=True)
        eventually(lambda: db.status().last_error is not None)
        assert db._running is not None and db._running.uploader is not None
        time.sleep(0.3)
        before = db._running.uploader._passes
        time.sleep(1.0)
        assert db._running.uploader._passes - before < 10
        quietly_closed(db)


class HangingStore(Store):
    """One upload hangs, and is carried out when it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs, self.released, self.answered = False, threading.Event(), threading.Event()

    def write(self, *arguments: Any, **options: Any) -> Any:
        if not self.hangs:
            return super().write(*arguments, **options)
        self.hangs = False
        self.released.wait(60)
        try:
            return super().write(*arguments, **options)
        finally:
            self.answered.set()


@pytest.mark.parametrize("is_reopened", [False, True])
def test_an_upload_that_was_given_up_changes_no_record(
    database: Path, tmp_path: Path, is_reopened: bool
) -> None:
    """It may end long after the database was opened again, and gone on with."""
    store = HangingStore()
    db = opened(database, store)
    db.wait(timeout=20)
    store.hangs = True
    insert(database, 1)
    eventually(lambda: not store.hangs)
    with pytest.raises(ReplicaError):
        db.close(timeout=0)
    if is_reopened:
        with opened(database, store) as db:
            insert(database, 2)
            db.wait(timeout=20)
    known = record(db)
    store.released.set()
    assert store.answered.wait(20)
    time.sleep(0.3)
    assert record(db) == known
    # It may be there now without being noted, as after a kill.
    with opened(database, store) as db:
        insert(database, 3)
        db.wait(timeout=20)
    assert len(generations(store)) == 1
    assert restored(store, tmp_path) == ([1, 2, 3] if is_reopened else [1, 3])
