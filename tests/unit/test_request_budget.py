"""How few requests a replica takes that is no directory: at the opening, for uploads, for looks, while idle, at the end."""

import time
from pathlib import Path

import pytest

from ltxcore import DB, Replica
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.db import _survey, _uploader
from ltxcore.db._survey import Survey
from ltxcore.ltx import TXID, format_filename

from tests.helpers.stores import CountingStore
from tests.unit.databases import eventually, insert, restored
from tests.unit.memory import EPOCH
from tests.unit.test_request_limit import Clock


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def db(database: Path, store: CountingStore) -> DB:
    return DB(database, replica=Replica(store, sync_interval=0.01), monitor_interval=0.01)


def taken(store: CountingStore) -> dict[str, int]:
    """The requests since the last call."""
    sent = dict(store.sent)
    store.sent.clear()
    return sent


def test_an_opening_lists_once_and_a_close_not_at_all(db: DB, database: Path, store: CountingStore) -> None:
    with db:
        db.wait(timeout=20)
        assert taken(store) == {"ListObjectsV2": 1, "PutObject": 1}
        insert(database, 1)
    assert taken(store) == {"PutObject": 1}
    with db:
        db.wait(timeout=20)
        opened = taken(store)
        assert opened.pop("GetObject") <= 3
        assert opened == {"ListObjectsV2": 1}
    assert taken(store) == {}


def test_a_loss_before_a_close_is_healed_at_the_next_opening(
    db: DB, database: Path, store: CountingStore, tmp_path: Path
) -> None:
    """The price of a close without a look."""
    with db:
        for value in (1, 2, 3):
            insert(database, value)
            db.wait(timeout=20)
        lost = next(key for key in sorted(store.objects) if "000000002.ltx" in key)
        del store.objects[lost]
    assert lost not in store.objects
    with db:
        db.wait(timeout=20)
        assert lost in store.objects
    assert restored(ObjectReplicaClient(store), tmp_path) == [1, 2, 3]


def test_what_came_between_the_listing_and_the_first_look_is_found_later(
    database: Path, store: CountingStore
) -> None:
    """An older listing serves for the first look, but not for long."""
    survey = Survey(ObjectReplicaClient(store))
    survey.look_ahead()
    assert survey.look()
    survey.settle()
    assert taken(store) == {"ListObjectsV2": 1}
    survey.look()
    assert taken(store) == {"ListObjectsV2": 1}
    # Nor once something was stored by others, or much later.
    survey.look_ahead()
    survey.expire()
    survey.look()
    assert taken(store) == {"ListObjectsV2": 2}


def test_an_old_listing_is_not_used(store: CountingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(_survey.time, "monotonic", clock)
    survey = Survey(ObjectReplicaClient(store))
    survey.look_ahead()
    clock.now += 61
    survey.look()
    assert taken(store) == {"ListObjectsV2": 2}


@pytest.mark.parametrize(("pages", "files"), [(1, 100), (4, 3500)])
def test_looks_are_a_small_part_of_the_requests(
    store: CountingStore, pages: int, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a minute and page for those who wait; of uploads alone, one request of twenty."""
    clock = Clock()
    monkeypatch.setattr(_survey.time, "monotonic", clock)
    client = ObjectReplicaClient(store)
    for number in range(1, files + 1):
        key = f"ltx/0/{format_filename(number, number)}"
        store.objects[key] = b"x" * 200, EPOCH
    survey = Survey(client)
    survey.look()
    survey.settle()
    survey._listing_takes = 0.05 * pages  # as S3 would
    clock.now += 60 * pages - 1
    assert not survey.is_due()
    clock.now += 2
    assert survey.is_due()
    assert not survey.is_due(is_awaited=False)
    for number in range(1, 20 * pages + 1):
        assert not survey.is_due(is_awaited=False)
        with survey.storing((0, files + number, files + number), 200):
            pass
    assert survey.is_due(is_awaited=False)
    survey.look()
    assert not survey.is_due(is_awaited=False)
    clock.now += 1000 * pages
    assert not survey.is_due(is_awaited=False), "time alone is no reason"
    survey.expire()
    assert survey.is_due(is_awaited=False)


def test_uploads_are_one_request_each_and_looks_follow(
    db: DB, database: Path, store: CountingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits: a loss is found after twenty uploads."""
    monkeypatch.setattr(_survey, "_LONGEST", 0.0)  # of time nothing is asked
    with db:
        db.wait(timeout=20)
        del store.objects[f"ltx/0/{format_filename(1, 1)}"]
        taken(store)
        for value in range(19):
            insert(database, value)
            top = db.sync().txid
            eventually(lambda top=top: f"ltx/0/{format_filename(top, top)}" in store.objects)  # type: ignore[misc]
        assert taken(store) == {"PutObject": 19}
        for value in range(19, 25):
            insert(database, value)
            db.sync()
        eventually(lambda: f"ltx/0/{format_filename(1, 1)}" in store.objects)
    assert restored(ObjectReplicaClient(store), tmp_path) == list(range(25))


def test_an_idle_hour_has_no_request(
    db: DB, database: Path, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db:
        insert(database, 1)
        db.wait(timeout=20)
        assert db._running is not None
        uploader = db._running.uploader
        assert uploader is not None
        eventually(lambda: uploader._due() == float("inf"))
        taken(store)
        real = time.monotonic
        for module in (_survey, _uploader):
            monkeypatch.setattr(module.time, "monotonic", lambda: real() + 3600)
        assert uploader._due() == float("inf")
        uploader._wakeup.notify()
        db._running.follower._call.notify()
        db._running.engine.interrupt()
        time.sleep(0.5)
        assert db.status().is_current
        assert db.pos.txid == TXID(2)
        assert taken(store) == {}
