"""A database whose replica has to have a lease: when it is acquired, what happens without it, and when it is given back."""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, Replica, ReplicaClient
from ltxcore.clients import _lease
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import (
    ConfigError,
    Error,
    LeaseHeldError,
    LeaseLostError,
    ObjectExistsError,
    ReplicaError,
    ReplicaPermissionError,
    ReplicaTimeoutError,
)
from ltxcore.replica import _held_lease
from ltxcore.stores import Capabilities, Version

from tests.unit.databases import eventually, insert, quietly_closed, restored
from tests.unit.leases import KEY, Clock, Storage

LONG = 20.0

Open = Callable[[], DB]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(_lease, "now_or_asleep", made)
    monkeypatch.setattr(_held_lease, "RENEWAL_INTERVAL", 0.05)
    monkeypatch.setattr(_held_lease, "_PAUSE", 0.01)
    return made


@pytest.fixture
def storage() -> Iterator[Storage]:
    made = Storage()
    yield made
    made.goes_on.set()


@pytest.fixture
def client(storage: Storage) -> ReplicaClient:
    return ObjectReplicaClient(storage, "app")


@pytest.fixture
def opened(database: Path, client: ReplicaClient) -> Iterator[Open]:
    with ExitStack() as stack:

        def start() -> DB:
            replica = Replica(client, sync_interval=0.05, lease=True)
            db = DB(database, replica=replica, monitor_interval=0.05).open()
            stack.callback(quietly_closed, db)
            return db

        yield start


def replica_txid(db: DB) -> int:
    status = db.status().replica
    assert status is not None
    return status.txid or 0


def test_it_is_held_while_the_database_is_open(
    opened: Open, storage: Storage, client: ReplicaClient, database: Path, tmp_path: Path
) -> None:
    db = opened()
    assert storage.owner is not None
    assert storage.owner.endswith(f":{os.getpid()}")
    insert(database, 1)
    db.wait(timeout=LONG)
    before = storage.requests
    eventually(lambda: storage.requests > before + 3)
    db.close()
    assert storage.owner is None
    assert restored(client, tmp_path) == [1]
    before = storage.requests
    time.sleep(0.2)
    assert storage.requests == before, "renewed after it was given back"
    db.open()
    assert storage.owner is not None


def test_without_being_told_to_there_is_none(storage: Storage, client: ReplicaClient, database: Path) -> None:
    storage.put()
    with DB(database, replica=client) as db:
        insert(database, 1)
        db.wait(timeout=LONG)
    assert storage.requests == 0


def test_one_that_another_program_holds_is_refused(opened: Open, storage: Storage) -> None:
    storage.put()
    for _ in range(2):
        with pytest.raises(LeaseHeldError, match="there:2"):
            opened()
    assert storage.owner == "there:2"
    assert storage.files == []
    del storage.objects[KEY]
    opened().wait(timeout=LONG)
    assert storage.files


def test_two_databases_of_one_process(opened: Open, storage: Storage, client: ReplicaClient) -> None:
    opened()
    with pytest.raises(LeaseHeldError, match=f":{os.getpid()} until"):
        Replica(client).acquire_lease()


def test_a_start_that_fails_gives_it_back(
    opened: Open, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise ReplicaError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(storage, "write", fail)
        with pytest.raises(ReplicaError, match="no room"):
            opened()
    assert storage.owner is None
    opened()


@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "busy"])
def test_one_that_another_program_has_taken_ends_the_uploads(
    opened: Open,
    storage: Storage,
    client: ReplicaClient,
    database: Path,
    tmp_path: Path,
    is_busy: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    db = opened()
    insert(database, 1)
    db.wait(timeout=LONG)
    with caplog.at_level(logging.ERROR, "ltxcore"):
        storage.put()
        before = storage.files
        if is_busy:
            insert(database, 2)
        eventually(lambda: db.status().has_ended)
        db.join()
    assert caplog.text.count("was taken by there:2") == 1
    status = db.status()
    assert isinstance(status.last_error, LeaseLostError)
    assert (status.last_error.owner, status.last_error.transient) == ("there:2", False)
    insert(database, 3)
    refused: list[Callable[[], object]] = [
        db.wait,
        lambda: db.wait(timeout=600),
        db.snapshot,
        lambda: db.compact(1),
        lambda: db.close(timeout=600),
    ]
    for call in refused:
        with pytest.raises(LeaseLostError) as caught:
            call()
        assert caught.value is status.last_error
    # What was under way when it was taken may have got there.
    assert storage.files[: len(before)] == before
    assert len(storage.files) <= len(before) + 1
    assert storage.owner == "there:2"
    with pytest.raises(LeaseHeldError):
        db.open()
    del storage.objects[KEY]
    with db.open():
        db.wait(timeout=LONG)
    assert restored(client, tmp_path)[-1] == 3


def test_no_upload_begins_while_it_cannot_be_renewed(
    opened: Open, storage: Storage, client: ReplicaClient, database: Path, tmp_path: Path, clock: Clock
) -> None:
    db = opened()
    insert(database, 1)
    db.wait(timeout=LONG)
    storage.failure = ReplicaError("the service is away")
    eventually(lambda: "the service is away" in str(db.status().last_error))
    assert not db.status().has_ended
    insert(database, 2)
    db.wait(timeout=LONG)  # it is held for a while yet
    before = storage.files
    clock.ahead += _lease.TTL
    insert(database, 3)
    with pytest.raises(ReplicaTimeoutError) as raised:
        db.wait(timeout=1)
    assert isinstance(raised.value.__cause__, LeaseLostError)
    assert raised.value.__cause__.transient
    assert "could not be renewed in time: the service is away" in str(raised.value)
    for call in (db.snapshot, lambda: db.compact(1)):
        with pytest.raises(LeaseLostError, match="could not be renewed"):
            call()
    assert storage.files == before
    assert not db.status().has_ended
    storage.failure = None
    db.wait(timeout=LONG)
    assert restored(client, tmp_path) == [1, 2, 3]
    eventually(lambda: db.status().last_error is None)


def test_one_that_could_not_be_renewed_and_was_taken(
    opened: Open, storage: Storage, database: Path, clock: Clock
) -> None:
    db = opened()
    storage.failure = ReplicaError("the service is away")
    clock.ahead += _lease.TTL
    storage.put()
    time.sleep(0.1)
    assert not db.status().has_ended
    storage.failure = None
    eventually(lambda: db.status().has_ended)
    with pytest.raises(LeaseLostError, match="was taken by there:2"):
        db.close()


def test_uploads_go_on_by_themselves(opened: Open, storage: Storage, database: Path, clock: Clock) -> None:
    """Nobody waits for them, and the pause after a failure has grown long."""
    db = opened()
    insert(database, 1)
    before = db.wait(timeout=LONG).txid
    storage.failure = ReplicaError("the service is away")
    eventually(lambda: db.status().last_error is not None)
    clock.ahead += _lease.TTL
    insert(database, 2)
    eventually(lambda: isinstance(db.status().last_error, LeaseLostError))
    storage.failure = None
    eventually(lambda: replica_txid(db) > before, timeout=LONG)


def test_errors_that_pass_are_tried_again_at_a_start(
    opened: Open, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([ReplicaError("reset"), ReplicaError("reset", transient=True)])
    request = storage._request

    def sometimes() -> None:
        request()
        for failure in failures:
            raise failure

    monkeypatch.setattr(storage, "_request", sometimes)
    opened()


@pytest.mark.parametrize(
    ("failure", "requests"),
    [
        (ReplicaPermissionError("access denied"), 1),
        (ReplicaError("no such bucket", transient=False), 1),
        (ReplicaError("the service is away"), 2),
    ],
)
def test_others_are_raised(
    opened: Open, storage: Storage, failure: Error, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_held_lease, "_RETRIES_TIMEOUT", 0.2)
    storage.failure = failure
    with pytest.raises(type(failure), match=str(failure)):
        opened()
    assert requests <= storage.requests <= requests * 50
    assert storage.files == []


def test_a_storage_that_hangs_holds_up_neither_a_start_nor_an_end(
    opened: Open, storage: Storage, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_held_lease, "_ACQUIRE_TIMEOUT", 0.5)
    storage.goes_on.clear()
    with pytest.raises(ReplicaTimeoutError, match="not acquired in time"):
        opened()
    storage.goes_on.set()
    eventually(lambda: storage.owner is None and not lease_threads())
    db = opened()
    before = storage.requests
    storage.goes_on.clear()
    eventually(lambda: storage.requests > before)
    began = time.monotonic()
    db.close()
    assert time.monotonic() - began < LONG
    storage.goes_on.set()
    eventually(lambda: storage.owner is None)


def lease_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("ltxcore-lease")]


def test_it_expires_while_an_upload_that_hangs_may_still_arrive(
    opened: Open, storage: Storage, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = opened()
    insert(database, 1)
    db.wait(timeout=LONG)
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(*_arguments: object, **_options: object) -> None:
        hangs.set()
        assert goes_on.wait(60)
        raise ObjectExistsError("too late")

    monkeypatch.setattr(storage, "write", hang)
    insert(database, 2)
    assert hangs.wait(LONG)
    with pytest.raises(Error):
        db.close(timeout=0)
    assert not lease_threads()
    assert storage.owner is not None
    goes_on.set()


def test_a_store_that_finds_out_that_it_cannot(opened: Open, storage: Storage) -> None:
    def write_version(_key: str, _data: bytes, *, tag: str | None) -> Version:
        storage.capabilities = Capabilities(creates_if_absent=True)
        raise ReplicaError("the service ignores conditions")

    storage.write_version = write_version  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="cannot have a lease: the service ignores conditions"):
        opened()


def test_a_restore_before_the_start_is_under_the_lease(
    storage: Storage, client: ReplicaClient, database: Path, tmp_path: Path
) -> None:
    with DB(database, replica=client) as db:
        insert(database, 1)
        db.wait(timeout=LONG)
    replica = Replica(client, lease=True)
    held = replica.acquire_lease()
    assert held.is_held
    assert held.error is held.lost is None
    assert replica.acquire_lease() is held
    ltxcore.restore(client, copy := tmp_path / "copy.db")
    generation = json.loads(storage.objects[KEY][0])["generation"]
    with DB(copy, replica=replica) as db:
        db.wait(timeout=LONG)
        assert json.loads(storage.objects[KEY][0])["generation"] == generation
    assert storage.owner is None
    assert not held.is_held
    assert held.has_ended
    with pytest.raises(LeaseLostError):
        held.check()
    with replica.acquire_lease() as again:
        assert again is not held
        assert again.is_held
    assert storage.owner is None


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_child_neither_has_it_nor_gives_it_back(
    opened: Open, storage: Storage, client: ReplicaClient
) -> None:
    db = opened()
    owner = storage.owner
    assert isinstance(db.replica, Replica)
    held = db.replica.acquire_lease()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "nothing"
        try:
            assert held.has_ended
            assert not held.is_held
            held.release()
            assert storage.owner == owner
            Replica(client).acquire_lease()
        except BaseException as error:
            said = repr(error)
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    assert os.waitpid(pid, 0)[1] == 0
    assert said.startswith("LeaseHeldError"), said
    assert held.is_held


def test_one_that_has_expired_is_not_deleted(
    opened: Open, storage: Storage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program may hold it by then, and a service may ignore the condition of a deletion."""
    deleted: list[str] = []
    db = opened()
    monkeypatch.setattr(_held_lease, "RENEWAL_INTERVAL", 3600.0)
    db.wait(timeout=LONG)
    storage.failure = ReplicaError("the service is away")
    clock.ahead += _lease.TTL
    monkeypatch.setattr(storage, "delete_version", lambda key, **_: deleted.append(key))
    with suppress(Error):
        db.close(timeout=0)
    assert deleted == []


def test_there_is_none_with_a_limit(client: ReplicaClient) -> None:
    with pytest.raises(ConfigError, match="limit") as caught:
        Replica(client, lease=True, max_requests_per_hour=1000)
    assert caught.value.hint and "360" in caught.value.hint
