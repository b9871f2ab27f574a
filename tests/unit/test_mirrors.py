"""One database with several replicas: each has its own position and health, and none keeps the others waiting."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, FileClient, Replica
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.db import _agreement, _positions
from ltxcore.errors import (
    BehindReplicaError,
    ConfigError,
    LTXFileExistsError,
    ReplicaError,
    ReplicaTimeoutError,
)

from tests.helpers.stores import CountingStore
from tests.unit.databases import eventually, forget_local_files, insert, ltx_path, restored
from tests.unit.memory import MemoryClient, run_sql


class ElsewhereClient(FileClient):
    """Of another process, as it were."""

    @property
    def identity(self) -> str:
        return f"elsewhere {super().identity}"


def fails(_key: object) -> None:
    raise ReplicaError("away")


def opened(database: Path, *clients: ltxcore.ReplicaClient, **options: object) -> DB:
    first, *others = [Replica(client, sync_interval=0.05) for client in clients]
    settings: dict[str, object] = {"monitor_interval": 0.05, **options}
    return DB(database, replica=first, mirrors=others, **settings).open()  # type: ignore[arg-type]


def away(client: MemoryClient) -> None:
    client.before_list = client.before_write = fails


def back(client: MemoryClient) -> None:
    client.before_list = client.before_write = lambda _key: None


def wait_for_all(db: DB) -> None:
    for replica in (db.replica, *db.mirrors):
        db.wait(timeout=20, replica=replica)


def test_each_replica_can_be_restored(database: Path, client: MemoryClient, tmp_path: Path) -> None:
    mirrors = [MemoryClient(), FileClient(tmp_path / "mirror")]
    with opened(database, client, *mirrors) as db:
        for value in (1, 2, 3):
            insert(database, value)
            db.wait(timeout=10)
        wait_for_all(db)
        status = db.status()
        assert status.replica is not None and status.replica.replica is db.replica
        assert [each.replica for each in status.mirrors] == list(db.mirrors)
        assert [each.txid for each in (status.replica, *status.mirrors)] == [status.pos.txid] * 3
        assert all(each.is_current and each.last_upload for each in status.mirrors)
    for each in (client, *mirrors):
        assert restored(each, tmp_path) == [1, 2, 3]


def test_commits_are_mirrored_without_being_asked_for(database: Path, tmp_path: Path) -> None:
    client, mirror = MemoryClient(), MemoryClient()
    with opened(database, client, mirror) as db:
        wait_for_all(db)
        insert(database, 1)
        top = db.sync().txid
        eventually(lambda: (0, top, top) in mirror.files)


def test_close_uploads_to_all(database: Path, tmp_path: Path) -> None:
    client, mirror = MemoryClient(), MemoryClient()
    with opened(database, client, mirror):
        for value in range(5):
            insert(database, value)
    assert restored(client, tmp_path) == restored(mirror, tmp_path) == [0, 1, 2, 3, 4]


def test_a_mirror_that_is_away_keeps_nobody_waiting(
    database: Path, client: MemoryClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = MemoryClient()
    away(mirror)
    with caplog.at_level(logging.WARNING, "ltxcore"):
        db = opened(database, client, mirror)
        insert(database, 1)
        db.wait(timeout=10)
        eventually(lambda: db.status().mirrors[0].last_error is not None)
    status = db.status()
    assert status.is_current and status.last_error is None and not status.has_ended
    assert not status.mirrors[0].is_current and not status.mirrors[0].has_ended
    assert "mirror" in caplog.text and repr(mirror) in caplog.text
    with pytest.raises(ReplicaTimeoutError, match="away"):
        db.wait(timeout=0.2, replica=db.mirrors[0])
    back(mirror)
    wait_for_all(db)
    assert restored(mirror, tmp_path) == [1]
    away(mirror)
    insert(database, 2)
    with pytest.raises(ReplicaTimeoutError):
        db.wait(timeout=0.2, replica=db.mirrors[0])
    began = time.monotonic()
    with pytest.raises(ReplicaError, match="away"):
        db.close(timeout=60)
    assert time.monotonic() - began < 30
    assert restored(client, tmp_path) == [1, 2]


def test_a_mirror_that_hangs_keeps_no_database_from_being_opened(
    database: Path, client: MemoryClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_positions, "_PATIENCE", 0.1)
    hanging, mirror = threading.Event(), MemoryClient()
    mirror.before_list = lambda _level: hanging.wait(60) and None
    db = opened(database, client, mirror)
    try:
        insert(database, 1)
        db.wait(timeout=10)
        assert restored(client, tmp_path) == [1]
    finally:
        hanging.set()
    wait_for_all(db)
    db.close()
    assert restored(mirror, tmp_path) == [1]


def test_a_new_mirror_of_an_old_database_gets_a_snapshot(database: Path, tmp_path: Path) -> None:
    client, mirror = MemoryClient(), MemoryClient()
    with opened(database, client) as db:
        for value in (1, 2, 3):
            insert(database, value)
            db.wait(timeout=10)
        forget_local_files(db)
    with opened(database, client, mirror) as db:
        wait_for_all(db)
        assert restored(mirror, tmp_path) == [1, 2, 3]
        assert mirror.txids(9) and not client.txids(9)
        insert(database, 4)
        wait_for_all(db)
    assert restored(client, tmp_path) == restored(mirror, tmp_path) == [1, 2, 3, 4]


@pytest.mark.parametrize("ahead", ["replica", "mirror"])
def test_a_history_goes_on_behind_the_newest_of_all(database: Path, tmp_path: Path, ahead: str) -> None:
    """The other one is behind, and nothing is left of the local files."""
    client, mirror = MemoryClient(), MemoryClient()
    with opened(database, client, mirror) as db:
        for value in (1, 2):
            insert(database, value)
        wait_for_all(db)
    behind = mirror if ahead == "replica" else client
    with opened(database, mirror if behind is client else client) as db:
        insert(database, 3)
        top = db.wait(timeout=10).txid
        meta_path = db.meta_path
    run_sql(database, "PRAGMA wal_checkpoint(TRUNCATE)")
    meta_path.rename(meta_path.with_name("gone"))
    with opened(database, client, mirror) as db:
        insert(database, 4)
        wait_for_all(db)
        assert db.pos.txid > top
    assert restored(client, tmp_path) == restored(mirror, tmp_path) == [1, 2, 3, 4]


def test_local_files_are_kept_until_all_replicas_have_them(database: Path, tmp_path: Path) -> None:
    client, mirror = MemoryClient(), MemoryClient()
    with opened(database, client, mirror, l0_retention=0) as db:
        wait_for_all(db)
        away(mirror)
        first = db.pos.txid + 1
        for value in range(5):
            insert(database, value)
            db.wait(timeout=10)
        assert (db.meta_path / "ltx/0" / ltxcore.ltx.format_filename(first, first)).exists()
        back(mirror)
        wait_for_all(db)
        assert not mirror.txids(9)
        insert(database, 5)
        wait_for_all(db)
        eventually(lambda: not (db.meta_path / "ltx/0" / ltxcore.ltx.format_filename(first, first)).exists())
    assert restored(mirror, tmp_path) == [0, 1, 2, 3, 4, 5]


def test_local_files_are_not_kept_for_ever_for_a_mirror_that_is_away(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, mirror = MemoryClient(), MemoryClient()
    with opened(database, client, mirror, l0_retention=0) as db:
        wait_for_all(db)
        away(mirror)
        monkeypatch.setattr(_agreement, "PATIENCE", 0.0)
        first = db.pos.txid + 1
        for value in range(5):
            insert(database, value)
            db.wait(timeout=10)
        eventually(lambda: not (db.meta_path / "ltx/0" / ltxcore.ltx.format_filename(first, first)).exists())
        back(mirror)
        wait_for_all(db)
        assert mirror.txids(9) and not client.txids(9)
    assert restored(mirror, tmp_path) == [0, 1, 2, 3, 4]


def test_a_conflict_in_a_mirror_ends_the_mirror_alone(
    database: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process goes on with the files of the mirror."""
    replica, mirror = tmp_path / "replica", tmp_path / "mirror"
    other = tmp_path / "other.db"
    with opened(database, FileClient(replica), FileClient(mirror)) as db:
        insert(database, 1)
        wait_for_all(db)
        ltxcore.restore(mirror, other)
        with opened(other, ElsewhereClient(mirror)) as second:
            insert(other, 100)
            second.wait(timeout=10)
            # Something for both to disagree about.
            insert(database, 2)
            eventually(lambda: db.status().mirrors[0].has_ended, timeout=30)
        insert(database, 3)
        db.wait(timeout=10)
        status = db.status()
        assert status.is_current and not status.has_ended and status.last_error is None
        with pytest.raises((LTXFileExistsError, BehindReplicaError)):
            db.wait(timeout=10, replica=db.mirrors[0])
        with pytest.raises((LTXFileExistsError, BehindReplicaError)):
            db.close()
    assert "mirror ElsewhereClient" not in caplog.text and "mirror FileClient" in caplog.text
    assert restored(FileClient(replica), tmp_path) == [1, 2, 3]
    assert restored(FileClient(mirror), tmp_path) == [1, 100]


def test_files_that_a_mirror_loses_are_sent_again(database: Path, tmp_path: Path) -> None:
    replica, mirror = tmp_path / "replica", tmp_path / "mirror"
    with opened(database, FileClient(replica), FileClient(mirror)) as db:
        for value in (1, 2, 3):
            insert(database, value)
            wait_for_all(db)
        ltx_path(mirror, 0, db.pos.txid - 1).unlink()
        wait_for_all(db)
        assert restored(FileClient(mirror), tmp_path) == [1, 2, 3]


def test_snapshots_and_compactions_of_a_mirror(database: Path, tmp_path: Path) -> None:
    client, mirror = MemoryClient(), MemoryClient()
    with opened(database, client, mirror) as db:
        insert(database, 1)
        wait_for_all(db)
        file = db.snapshot(replica=db.mirrors[0])
        assert mirror.txids(9) == [(1, file.max_txid)] and client.txids(9) == []
        assert db.compact(1, replica=db.mirrors[0]) is not None
        assert mirror.txids(1) and not client.txids(1)


def test_snapshots_of_all_replicas_at_once(database: Path, tmp_path: Path) -> None:
    """The files on their way are beside each other."""
    client, mirrors = MemoryClient(), [MemoryClient() for _ in range(3)]
    with opened(database, client, *mirrors) as db:
        insert(database, 1)
        wait_for_all(db)
        replicas: list[Replica | None] = [db.replica, *db.mirrors]
        threads = [threading.Thread(target=db.snapshot, kwargs={"replica": each}) for each in replicas * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for each in (client, *mirrors):
        assert each.txids(9)
        assert restored(each, tmp_path) == [1]


def refused(call: Callable[[], object], match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        call()
    assert caught.value.key in {"mirrors", "replica"}
    assert caught.value.hint


def test_what_makes_no_sense_is_refused(database: Path, client: MemoryClient, tmp_path: Path) -> None:
    refused(lambda: DB(database, mirrors=[client]), "without a replica")
    refused(lambda: DB(database, replica=client, mirrors=[client]), "in one place")
    refused(
        lambda: DB(database, replica=tmp_path / "a", mirrors=[tmp_path / "b", f"{tmp_path}/a"]), "one place"
    )
    refused(lambda: DB(database, replica=client, mirrors=str(tmp_path / "a")), "a list")
    refused(lambda: DB(database, replica=client, mirrors=[tmp_path / ".app.db-litestream"]), "overlaps")
    with opened(database, client, MemoryClient()) as db:
        refused(lambda: db.wait(replica=Replica(client)), "not a replica of")
        with pytest.raises(ConfigError, match="another database"):
            DB(tmp_path / "b.db", replica=MemoryClient(), mirrors=[client]).open()
    assert "mirrors=" in repr(db) and "mirrors" not in repr(DB(database, replica=client))


def test_an_idle_mirror_is_not_late(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had all there was for longer than one that is away is kept for; then it is away for a moment."""
    monkeypatch.setattr(_agreement, "PATIENCE", 1.0)
    client, mirror = MemoryClient(), MemoryClient()
    with opened(database, client, mirror, l0_retention=0) as db:
        insert(database, 1)
        wait_for_all(db)
        time.sleep(1.2)
        away(mirror)
        first = db.pos.txid + 1
        for value in (2, 3):
            insert(database, value)
            db.wait(timeout=10)
        back(mirror)
        wait_for_all(db)
        assert (first, first) in mirror.txids(0) and not mirror.txids(9)


def test_a_mirror_that_hangs_does_not_hold_up_the_status(database: Path, client: MemoryClient) -> None:
    hanging, mirror = threading.Event(), MemoryClient()
    with opened(database, client, mirror) as db:
        insert(database, 1)
        wait_for_all(db)
        assert db.status().mirrors[0].is_current

        def hang() -> None:
            hanging.wait(60)

        mirror.change_token = hang  # type: ignore[method-assign]
        began = time.monotonic()
        try:
            assert db.status().mirrors[0].txid == db.pos.txid
            assert time.monotonic() - began < 30
        finally:
            hanging.set()


def test_a_mirror_has_no_limit_of_its_own(database: Path, client: MemoryClient) -> None:
    mirror = Replica(ObjectReplicaClient(CountingStore(), "app"), max_requests_per_hour=60)
    refused(lambda: DB(database, replica=client, mirrors=[mirror]), "cannot have a limit")
