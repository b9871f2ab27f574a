"""DB over a replica client in Python: following, uploading, failing, healing, closing."""

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, FileClient, Pos, Replica
from ltxcore.errors import (
    ConfigError,
    DatabaseError,
    NotOpenError,
    NotReadyError,
    ReplicaTimeoutError,
)

from tests.unit.databases import CREATE, eventually, insert, restored
from tests.unit.memory import MemoryClient, run_sql


def test_what_is_committed_is_in_the_replica_after_wait(db: DB, client: MemoryClient, tmp_path: Path) -> None:
    for value in (1, 2, 3):
        insert(db.path, value)
        pos = db.wait(timeout=10)
        assert pos.txid == db.pos.txid
    assert restored(client, tmp_path) == [1, 2, 3]
    assert client.txids(0) == [(n, n) for n in range(1, pos.txid + 1)]


def test_commits_are_uploaded_without_being_asked_for(db: DB, client: MemoryClient, tmp_path: Path) -> None:
    before = db.wait(timeout=10).txid
    insert(db.path, 1)
    eventually(lambda: (0, before + 1, before + 1) in client.files)


def test_a_database_that_does_not_exist_is_waited_for(tmp_path: Path, client: MemoryClient) -> None:
    path = tmp_path / "later.db"
    with DB(path, replica=client) as db:
        assert not db.status().is_ready
        assert db.pos == Pos()
        for call in (db.sync, db.wait, db.snapshot, db.checkpoint, lambda: db.page_size):
            with pytest.raises(NotReadyError):
                call()
        run_sql(path, *CREATE, "INSERT INTO t VALUES (7)")
        db.wait(timeout=10)
        assert db.page_size == 4096
    assert restored(client, tmp_path) == [7]


def test_what_is_restored_while_it_is_waited_for_is_not_uploaded_again(
    database: Path, tmp_path: Path, client: MemoryClient
) -> None:
    path = tmp_path / "later.db"
    with DB(database, replica=client) as db:
        run_sql(database, "CREATE TABLE large AS SELECT randomblob(400000)", "INSERT INTO t VALUES (1)")
        top = db.wait(timeout=10).txid
    with DB(path, replica=client) as db:
        ltxcore.restore(client, path)
        assert db.wait(timeout=10).txid == top
        insert(path, 2)
        assert db.wait(timeout=10).txid == top + 1
    assert not client.txids(9)
    assert len(client.files[0, top + 1, top + 1]) < 20_000
    assert restored(client, tmp_path) == [1, 2]


def test_a_look_at_the_replica_does_not_put_off_the_next_upload(database: Path, client: MemoryClient) -> None:
    replica = Replica(client, sync_interval=2.0)
    with DB(database, replica=replica) as db:
        insert(database, 1)
        txid = db.wait(timeout=10).txid
        time.sleep(2.1)
        db.compact(1)
        time.sleep(0.1)
        start = time.monotonic()
        insert(database, 2)
        eventually(lambda: (0, txid + 1, txid + 1) in client.files)
        assert time.monotonic() - start < 1.0


def test_a_close_ends_the_wait_of_another_thread(database: Path, client: MemoryClient) -> None:
    with DB(database, replica=client) as db, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(db.wait, 1 << 20, 20.0)
        eventually(waiting.running)
        db.close()
        with pytest.raises(NotOpenError, match="closed before"):
            waiting.result(5)


def test_a_database_that_never_came_can_be_closed(tmp_path: Path, client: MemoryClient) -> None:
    DB(tmp_path / "never.db", replica=client).open().close()
    assert client.files == {}


def test_without_a_replica_there_are_local_files_only(database: Path) -> None:
    with DB(database) as db:
        insert(database, 1)
        pos = db.sync()
        assert db.status().replica is None
        for call in (db.wait, db.snapshot, lambda: db.compact(1)):
            with pytest.raises(ConfigError, match="no replica"):
                call()
    files = sorted((database.parent / ".app.db-litestream/ltx/0").iterdir())
    assert files[-1].name == ltxcore.ltx.format_filename(pos.txid, pos.txid)


def test_what_is_no_database_fails_open(tmp_path: Path, client: MemoryClient) -> None:
    path = tmp_path / "noise.db"
    path.write_bytes(b"this is no SQLite database" * 1000)
    with pytest.raises(DatabaseError) as caught:
        DB(path, replica=client).open()
    assert caught.value.path == str(path)
    assert path.read_bytes() == b"this is no SQLite database" * 1000


def test_a_closed_database_says_so(database: Path, client: MemoryClient) -> None:
    db = DB(database, replica=client)
    calls = (db.sync, db.wait, db.snapshot, db.checkpoint, db.status, lambda: db.pos, lambda: db.page_size)
    for call in calls:
        with pytest.raises(NotOpenError):
            call()
    db.close()
    assert db.open().open() is db
    db.close()
    db.close()
    for call in calls:
        with pytest.raises(NotOpenError):
            call()


def test_a_second_replicator_is_refused(db: DB) -> None:
    with pytest.raises(DatabaseError, match="in use by another replicator") as caught:
        DB(db.path).open()
    assert caught.value.hint
    insert(db.path, 5)
    db.wait(timeout=10)


@pytest.mark.parametrize("where", ["before_list", "before_write"])
def test_a_replica_that_does_not_work_fails_open(database: Path, client: MemoryClient, where: str) -> None:
    raised = ConnectionError("no route")

    def fail(_what: object) -> None:
        raise raised

    setattr(client, where, fail)
    db = DB(database, replica=client)
    with pytest.raises(ConnectionError) as caught:
        db.open()
    assert caught.value is raised
    with pytest.raises(NotOpenError):
        db.sync()
    setattr(client, where, lambda _what: None)
    with db:
        db.wait(timeout=10)


def test_wait_raises_the_first_failure_or_is_patient(db: DB, client: MemoryClient) -> None:
    db.wait(timeout=10)
    raised = LookupError("mine")

    def fail(_key: object) -> None:
        raise raised

    client.before_write = fail
    insert(db.path, 1)
    with pytest.raises(LookupError) as caught:
        db.wait()
    assert caught.value is raised
    with pytest.raises(ReplicaTimeoutError) as late:
        db.wait(timeout=0.8)
    assert late.value.__cause__ is raised
    status = db.status()
    assert status.last_error is raised
    assert not status.is_current
    threading.Timer(0.3, setattr, (client, "before_write", lambda _key: None)).start()
    db.wait(timeout=10)
    eventually(lambda: db.status().last_error is None)
    assert db.status().is_current


def test_wait_for_a_txid_that_is_far_away(db: DB) -> None:
    reached = db.wait(timeout=10).txid
    assert db.wait(reached, timeout=0).txid == reached
    start = time.monotonic()
    with pytest.raises(ReplicaTimeoutError, match="is not in the replica yet") as caught:
        db.wait(reached + 5, timeout=0.2)
    assert caught.value.max_txid == reached + 5
    assert time.monotonic() - start < 2


def test_wait_async_leaves_the_loop_free(db: DB) -> None:
    async def both() -> tuple[Pos, int]:
        ticks = 0
        waiting = asyncio.ensure_future(db.wait_async(timeout=10))
        while not waiting.done():
            ticks += 1
            await asyncio.sleep(0.001)
        return await waiting, ticks

    insert(db.path, 1)
    pos, ticks = asyncio.run(both())
    assert pos.txid == db.pos.txid
    assert ticks


def test_failures_are_logged_once_and_recovery_too(
    db: DB, client: MemoryClient, caplog: pytest.LogCaptureFixture
) -> None:
    db.wait(timeout=10)
    failures: list[object] = []

    def fail(key: object) -> None:
        failures.append(key)
        if len(failures) < 4:
            raise ConnectionError("no route")

    client.before_write = fail
    insert(db.path, 1)
    with caplog.at_level(logging.INFO, "ltxcore"):
        db.wait(timeout=10)
        eventually(lambda: "works again" in caplog.text)
    assert len(failures) == 4
    assert caplog.text.count("no route") == 1


def test_close_uploads_what_is_left(database: Path, client: MemoryClient, tmp_path: Path) -> None:
    replica = ltxcore.Replica(client, sync_interval=60)
    db = DB(database, replica=replica, monitor_interval=60).open()
    db.wait(timeout=10)
    for value in (1, 2):
        insert(database, value)
    db.close()
    assert restored(client, tmp_path) == [1, 2]


def test_close_tries_again(db: DB, client: MemoryClient, tmp_path: Path) -> None:
    db.wait(timeout=10)
    insert(db.path, 3)
    attempts: list[object] = []

    def fail(key: object) -> None:
        attempts.append(key)
        if len(attempts) < 3:
            raise ConnectionError("not yet")

    client.before_write = fail
    db.close(timeout=10)
    assert restored(client, tmp_path) == [3]


def test_a_failed_close_raises_once_and_loses_nothing(
    database: Path, client: MemoryClient, tmp_path: Path
) -> None:
    db = DB(database, replica=client).open()
    db.wait(timeout=10)
    raised = ConnectionError("gone")

    def fail(_key: object) -> None:
        raise raised

    client.before_write = fail
    insert(database, 4)
    start = time.monotonic()
    with pytest.raises(ConnectionError) as caught:
        db.close(timeout=0)
    assert caught.value is raised
    assert time.monotonic() - start < 3
    db.close()
    client.before_write = lambda _key: None
    with db:
        db.wait(timeout=10)
    assert restored(client, tmp_path) == [4]


def test_close_never_hangs(database: Path, client: MemoryClient) -> None:
    db = DB(database, replica=client).open()
    db.wait(timeout=10)
    stuck = threading.Event()
    client.before_write = lambda _key: stuck.wait(20) and None
    insert(database, 1)
    start = time.monotonic()
    with pytest.raises(ReplicaTimeoutError):
        db.close(timeout=0.3)
    assert time.monotonic() - start < 5
    stuck.set()


def test_snapshots_and_compaction(db: DB, client: MemoryClient, tmp_path: Path) -> None:
    insert(db.path, 1)
    top = db.wait(timeout=10).txid
    snapshot = db.snapshot()
    assert (snapshot.level, snapshot.min_txid, snapshot.max_txid) == (9, 1, top)
    merged = db.compact(1)
    assert merged is not None
    assert (merged.level, merged.min_txid, merged.max_txid) == (1, 1, top)
    assert db.compact(1) is None
    for txid in range(1, top + 1):
        del client.files[0, txid, txid]
    insert(db.path, 2)
    db.wait(timeout=10)
    assert restored(client, tmp_path) == [1, 2]


def test_checkpoints_report_what_sqlite_reports(db: DB) -> None:
    insert(db.path, 1)
    result = db.checkpoint("PASSIVE")
    assert result.wal_frames >= result.checkpointed_frames >= 0
    assert not db.checkpoint("TRUNCATE").busy
    with pytest.raises(ValueError, match="SOMETIMES"):
        db.checkpoint("SOMETIMES")  # type: ignore[arg-type]  # the point of the test
    insert(db.path, 2)
    db.wait(timeout=10)


def test_status_tells_how_it_is_going(db: DB, client: MemoryClient) -> None:
    insert(db.path, 1)
    top = db.wait(timeout=10).txid
    status = db.status()
    assert status.replica is not None
    assert (status.pos.txid, status.replica.txid) == (top, top)
    assert status.is_ready
    assert status.is_current
    assert status.wal_size > 0
    assert status.last_sync is not None
    assert status.replica.last_upload is not None
    assert status.full_syncs + status.diff_syncs + status.incremental_syncs == top
    assert status.last_error is None


def test_a_new_page_size_brings_a_snapshot(database: Path, client: MemoryClient, tmp_path: Path) -> None:
    db = DB(database, replica=client)
    with db:
        insert(database, 1)
    run_sql(database, "PRAGMA journal_mode = delete", "PRAGMA page_size = 8192", "VACUUM")
    with db:
        insert(database, 2)
        db.wait(timeout=10)
        assert db.page_size == 8192
    assert client.txids(9)
    assert restored(client, tmp_path) == [1, 2]


def test_replicate_is_the_one_liner(database: Path, tmp_path: Path) -> None:
    with ltxcore.replicate(database, f"file://{tmp_path}/replica", busy_timeout=2) as db:
        insert(database, 8)
        db.wait(timeout=10)
    assert restored(FileClient(tmp_path / "replica"), tmp_path) == [8]


@pytest.mark.parametrize("options", [{"busy_timeout": -1}, {"l0_retention": float("nan")}])
def test_impossible_options_are_refused(database: Path, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        DB(database, **options)  # type: ignore[arg-type]
