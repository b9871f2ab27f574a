"""When a replica in the v0.3 layout begins a new generation, and when it goes on although it looks as if it could not."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ltxcore import DB, legacy
from ltxcore.db._legacy_state import StateFile
from ltxcore.errors import ReplicaError
from ltxcore.stores import Capabilities

from tests.helpers.stores import MemoryStore
from tests.unit.databases import eventually, forget_local_files, insert
from tests.unit.legacy_writing import FAST, Store, generations, opened, places, record, restored
from tests.unit.memory import run_sql


@pytest.fixture
def store() -> Store:
    return Store()


def again(database: Path, store: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> str:
    """The database is replicated once more, in a new generation; why."""
    before = generations(store)
    caplog.clear()
    with caplog.at_level(logging.INFO, "ltxcore"), opened(database, store) as db:
        insert(database, 9)
        db.wait(timeout=20)
        assert restored(store, tmp_path)[-1] == 9
    new = set(generations(store)) - set(before)
    assert len(new) == 1, "no new generation, or several"
    assert generations(store)[-1] in new
    (message,) = [r.getMessage() for r in caplog.records if "generation" in r.getMessage()]
    return message


@pytest.fixture
def made(database: Path, store: Store) -> DB:
    """One that was replicated and closed."""
    with opened(database, store) as db:
        insert(database, 1)
        db.wait(timeout=20)
    return db


def changed(db: DB, **changes: Any) -> None:
    StateFile(db.meta_path, 0).save(replace(record(db), **changes))


def test_without_a_record(made: DB, database: Path, store: Store, tmp_path: Path, caplog: Any) -> None:
    (made.meta_path / "ltxcore/v03-0").unlink()
    assert "no record" in again(database, store, tmp_path, caplog)


def test_a_record_of_another_place(
    made: DB, database: Path, store: Store, tmp_path: Path, caplog: Any
) -> None:
    changed(made, place="elsewhere")
    assert "another replica" in again(database, store, tmp_path, caplog)


@pytest.mark.parametrize("what", ["snapshots", "wal"])
def test_a_replica_that_has_lost_something(
    made: DB, database: Path, store: Store, tmp_path: Path, caplog: Any, what: str
) -> None:
    for key in [key for key in store.objects if f"/{what}/" in key]:
        del store.objects[key]
    assert "has lost" in again(database, store, tmp_path, caplog)


def test_a_replica_that_was_emptied(
    made: DB, database: Path, store: Store, tmp_path: Path, caplog: Any
) -> None:
    store.objects.clear()
    assert "has lost" in again(database, store, tmp_path, caplog)


def test_a_segment_that_was_cut(made: DB, database: Path, store: Store, tmp_path: Path, caplog: Any) -> None:
    key = max(key for key in store.objects if "/wal/" in key)
    data, when = store.objects[key]
    store.objects[key] = data[:-1], when
    assert "has lost" in again(database, store, tmp_path, caplog)


def test_another_program_has_gone_on(
    made: DB, database: Path, store: Store, tmp_path: Path, caplog: Any
) -> None:
    state = record(made)
    key = state.segment_path(state.index, state.offset)
    store.objects[key] = store.objects[max(k for k in store.objects if "/wal/" in k)]
    assert "another program has written" in again(database, store, tmp_path, caplog)


def test_another_program_has_gone_on_for_longer(
    made: DB, database: Path, store: Store, tmp_path: Path, caplog: Any
) -> None:
    state = record(made)
    for offset in (state.offset, state.offset + 5000):
        store.objects[state.segment_path(state.index, offset)] = store.objects[max(store.objects)]
    assert "another program has written" in again(database, store, tmp_path, caplog)


def test_another_program_has_made_a_snapshot(
    made: DB, database: Path, store: Store, tmp_path: Path, caplog: Any
) -> None:
    state = record(made)
    key = min(store.objects)
    store.objects[state.snapshot_path(state.index + 1)] = store.objects[key]
    assert "another program has written" in again(database, store, tmp_path, caplog)


def test_the_page_size_has_changed(
    made: DB, database: Path, store: Store, tmp_path: Path, caplog: Any
) -> None:
    run_sql(
        database,
        "PRAGMA journal_mode = delete",
        "PRAGMA page_size = 8192",
        "VACUUM",
        "PRAGMA journal_mode = wal",
    )
    assert "no WAL can hold" in again(database, store, tmp_path, caplog)


def test_local_files_are_of_another_history(
    made: DB, database: Path, store: Store, tmp_path: Path, caplog: Any
) -> None:
    changed(made, mark=12345)
    assert "is not the one that was uploaded" in again(database, store, tmp_path, caplog)


def test_a_local_file_is_gone(made: DB, database: Path, store: Store, tmp_path: Path, caplog: Any) -> None:
    """Of those that were to be uploaded one is gone, and what follows it does not have every page."""
    with DB(database, **FAST) as db:  # type: ignore[arg-type]
        for value in (2, 3, 4):
            insert(database, value)
            db.sync()
        forget_local_files(db)
    assert "nothing proves" in again(database, store, tmp_path, caplog)


def test_the_last_number_of_a_wal(
    made: DB, database: Path, store: Store, tmp_path: Path, caplog: Any
) -> None:
    state = record(made)
    moved = {state.segment_path(0, 0): state.segment_path(0x7FFFFFFF, 0)}
    moved[state.snapshot_path(0)] = state.snapshot_path(0x7FFFFFFF)
    store.objects = {moved.get(key, key): value for key, value in store.objects.items()}
    assert state.segment is not None and state.snapshot is not None
    changed(
        made,
        index=0x7FFFFFFF,
        segment=replace(state.segment, index=0x7FFFFFFF),
        snapshot=replace(state.snapshot, index=0x7FFFFFFF),
    )
    assert "no further number" in again(database, store, tmp_path, caplog)


def test_a_local_file_with_every_page_goes_on(made: DB, database: Path, store: Store, tmp_path: Path) -> None:
    """All local files are gone. The TXIDs go on after the replica's, and the next file has every page."""
    shutil.rmtree(made.meta_path / "ltx")
    (made.meta_path / "ltxcore/page-checksums").unlink()
    txid = record(made).txid
    with opened(database, store) as db:
        insert(database, 2)
        assert db.wait(timeout=20).txid > txid
    assert len(generations(store)) == 1 and restored(store, tmp_path) == [1, 2]


def test_a_segment_that_arrived_without_being_noted_is_not_written_twice(
    made: DB, database: Path, store: Store, tmp_path: Path
) -> None:
    before = StateFile(made.meta_path, 0).load()
    with opened(database, store) as db:
        insert(database, 2)
        db.wait(timeout=20)
    assert before is not None
    objects = dict(store.objects)
    StateFile(made.meta_path, 0).save(before)
    with opened(database, store) as db:
        db.wait(timeout=20)
        assert store.objects == objects
        insert(database, 3)
        db.wait(timeout=20)
    assert len(generations(store)) == 1 and restored(store, tmp_path) == [1, 2, 3]


@pytest.mark.parametrize(
    "capabilities", [Capabilities(), Capabilities(creates_if_absent=True), Capabilities(keeps_time=True)]
)
def test_stores_that_can_do_less(database: Path, tmp_path: Path, capabilities: Capabilities) -> None:
    store = MemoryStore(capabilities)
    for value in (1, 2):
        with opened(database, store) as db:
            insert(database, value)
            db.wait(timeout=20)
    assert len(generations(store)) == 1 and restored(store, tmp_path) == [1, 2]
    state = record(db)
    store.objects[state.segment_path(state.index, state.offset)] = store.objects[max(store.objects)]
    with opened(database, store) as db:
        insert(database, 3)
        db.wait(timeout=20)
    assert len(generations(store)) == 2 and restored(store, tmp_path) == [1, 2, 3]


def test_a_first_snapshot_that_failed_keeps_its_generation(
    database: Path, store: Store, tmp_path: Path
) -> None:
    store.fails = True
    with pytest.raises(ReplicaError):
        opened(database, store)
    db = DB(database, replica=legacy.Replica(store, sync_interval=0.0), **FAST)  # type: ignore[arg-type]
    first = record(db)
    assert first.snapshot is None
    insert(database, 1)
    store.fails = False
    with db:
        insert(database, 2)
        db.wait(timeout=20)
    assert generations(store) == [first.name] and restored(store, tmp_path) == [1, 2]


def test_a_snapshot_that_may_have_arrived_is_not_replaced_by_another(
    database: Path, store: Store, tmp_path: Path
) -> None:
    with opened(database, store) as db:
        insert(database, 1)
        db.wait(timeout=20)
        store.fails = True
        with pytest.raises(ReplicaError):
            db.snapshot()
        # It arrives all the same: what is in the replica has to fit to it.
        state = record(db)
        assert (state.index, state.offset) == (1, 0)
        insert(database, 2)
        db.sync()
        store.fails = False
        db.wait(timeout=20)
        assert db.snapshot().max_txid == db.pos.txid
    assert [each.index for each in legacy.snapshots(store)] == [0, 2]
    assert (1, 0) in places(store)
    assert restored(store, tmp_path) == [1, 2]


def segments(store: Store) -> list[str]:
    return sorted(key for key in store.objects if "/wal/" in key)


@pytest.mark.parametrize("how", ["lost", "cut"])
def test_a_segment_in_the_middle_is_missed(
    made: DB, database: Path, store: Store, tmp_path: Path, caplog: Any, how: str
) -> None:
    """Its number and size are known, also after a restart: what cannot be restored is not said to be durable."""
    with opened(database, store) as db:
        for value in (2, 3, 4):
            insert(database, value)
            db.wait(timeout=20)
    key = segments(store)[1]
    data, when = store.objects.pop(key)
    if how == "cut":
        store.objects[key] = data[:-1], when
    assert "has lost WAL segments" in again(database, store, tmp_path, caplog)


def test_segments_of_before_the_newest_snapshot_are_not_missed(
    made: DB, database: Path, store: Store, tmp_path: Path
) -> None:
    with opened(database, store) as db:
        db.snapshot()
        insert(database, 2)
        db.wait(timeout=20)
    del store.objects[segments(store)[0]]
    with opened(database, store) as db:
        insert(database, 3)
        db.wait(timeout=20)
    assert len(generations(store)) == 1 and restored(store, tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("how", ["lost", "cut"])
def test_a_segment_is_missed_while_the_database_is_replicated(
    database: Path, tmp_path: Path, how: str
) -> None:
    replica = tmp_path / "replica"
    with opened(database, replica) as db:
        for value in (1, 2, 3):
            insert(database, value)
            db.wait(timeout=20)
        path = sorted(replica.glob("generations/*/wal/*"))[1]
        if how == "lost":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-1])

        def is_noticed() -> bool:
            """On a slow machine, what has the same name is listed now and then only."""
            db.wait(timeout=20)
            return len(generations(replica)) == 2

        eventually(is_noticed)
        assert db.status().is_current and restored(replica, tmp_path) == [1, 2, 3]
