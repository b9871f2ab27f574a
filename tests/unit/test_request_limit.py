"""`max_requests_per_hour`: no hour has more, nothing is lost, and whoever waits is told."""

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, Replica
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.config import _check
from ltxcore.db import _survey
from ltxcore.errors import ConfigError, ReplicaTimeoutError
from ltxcore.ltx import parse_filename
from ltxcore.replica import _limit
from ltxcore.replica._limit import RequestLimit

from tests.helpers.stores import CountingStore, MemoryStore
from tests.unit.databases import eventually, insert, restored

HOUR = 3600.0


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("per_hour", [10, 60, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_no_hour_has_more_requests_than_allowed(per_hour: int, seed: int) -> None:
    rng, clock, sent = random.Random(seed), Clock(), Counter[str]()
    limit = RequestLimit(per_hour, lambda: sent, clock)
    times: list[float] = []
    while clock.now < 1000 + 4 * HOUR:
        delay = limit.delay()
        if delay == 0:
            times.append(clock.now)
            sent["PutObject"] += 1
            # Who is asked seldom, and who is asked again at once.
            delay = rng.choice([0.0, 0.0, 1.0, 600.0 * rng.random()]) if rng.random() < 0.5 else 0.0
        clock.now += max(delay, 0.001)
    for index, begin in enumerate(times):
        assert sum(begin <= each < begin + HOUR for each in times[index:]) <= per_hour


def test_nearly_all_that_is_allowed_can_be_used() -> None:
    clock, sent = Clock(), Counter[str]()
    limit = RequestLimit(60, lambda: sent, clock)
    while clock.now < 1000 + HOUR:
        clock.now += limit.delay()
        sent["PutObject"] += 1
    assert 55 <= sent["PutObject"] <= 61
    assert limit.interval == pytest.approx(HOUR / 54)


def test_requests_that_could_not_wait_are_made_up_for() -> None:
    clock, sent = Clock(), Counter[str]()
    limit = RequestLimit(100, lambda: sent, clock)
    sent["PutObject"] += 55
    assert limit.delay() == pytest.approx((55 - 10 + 1) * HOUR / 90)
    clock.now += HOUR
    assert limit.delay() == 0


def test_reads_do_not_count() -> None:
    clock, sent = Clock(), Counter[str]()
    limit = RequestLimit(10, lambda: sent, clock)
    sent["GetObject"] += 1000
    assert limit.delay() == 0
    sent["ListObjectsV2"] += 1
    assert limit.delay() > 0


def test_what_cannot_be_limited_is_refused(tmp_path: Path) -> None:
    for replica in (tmp_path, ObjectReplicaClient(MemoryStore())):
        with pytest.raises(ConfigError, match="does not count its requests") as caught:
            Replica(replica, max_requests_per_hour=100)
        assert caught.value.key == "max_requests_per_hour"
    with pytest.raises(ConfigError, match="at least 10: 9"):
        Replica(CountingStore(), max_requests_per_hour=9)
    assert Replica(CountingStore(), max_requests_per_hour=10).max_requests_per_hour == 10
    assert Replica(CountingStore()).max_requests_per_hour is None


def test_the_configuration_has_the_same_least() -> None:
    assert _check.LEAST_REQUESTS == _limit.LEAST


class Limited:
    """A database whose replica may be sent 20 requests in an hour of a clock that stands still."""

    def __init__(self, database: Path) -> None:
        self.clock, self.store = Clock(), CountingStore()
        self.client = ObjectReplicaClient(self.store)
        self.replica = Replica(self.client, sync_interval=0.01, max_requests_per_hour=20)
        self.replica.limit = RequestLimit(20, self.store.requests_sent, self.clock)
        self.db = DB(database, replica=self.replica, monitor_interval=0.01)

    def txids(self) -> list[int]:
        """What is in the replica, found without a request."""
        return sorted(int(parse_filename(key.rpartition("/")[2])[1]) for key in self.store.objects)

    def go_on(self, seconds: float) -> None:
        """Let so much time pass, and have the thread look at its clock."""
        self.clock.now += seconds
        assert self.db._running is not None
        assert self.db._running.uploader is not None
        self.db._running.uploader.notify()


@pytest.fixture
def limited(database: Path, monkeypatch: pytest.MonkeyPatch) -> Limited:
    # No look falls into the test, which would be another request.
    monkeypatch.setattr(_survey, "_SHORTEST", 60.0)
    for module in ("_transfer", "objects"):
        monkeypatch.setattr(f"ltxcore.clients.{module}.PAUSES", (0.001,) * 3)
    return Limited(database)


def test_uploads_wait_and_nothing_is_lost(limited: Limited, database: Path, tmp_path: Path) -> None:
    with limited.db as db:
        # The listing and the first upload are what may be sent at once.
        first = db.wait(timeout=20).txid
        assert limited.txids() == [first]
        for value in range(5):
            insert(database, value)
            db.sync()
        with pytest.raises(
            ReplicaTimeoutError, match=r"max_requests_per_hour=20 allows the next request in \d+ s"
        ) as caught:
            db.wait(timeout=0.2)
        assert "limit" in str(caught.value.hint)
        assert limited.txids() == [first]
        assert len([*(db.meta_path / "ltx/0").glob("*.ltx")]) >= 5
        # One after the other, as time passes.
        limited.go_on(HOUR / 18 + 1)
        eventually(lambda: limited.txids() == [first, first + 1])
        limited.go_on(2 * HOUR / 18)
        eventually(lambda: len(limited.txids()) == 4)
        assert db.status().last_error is None
        # Closing does not wait.
    assert limited.txids() == list(range(first, first + 6))
    assert restored(limited.client, tmp_path) == list(range(5))


def test_a_wait_ends_when_the_limit_allows_it(limited: Limited, database: Path) -> None:
    with limited.db as db:
        txid = db.wait(timeout=20).txid
        insert(database, 1)
        with pytest.raises(ReplicaTimeoutError, match="max_requests_per_hour"):
            db.wait(timeout=0)
        limited.go_on(HOUR)
        assert db.wait(timeout=20).txid == txid + 1


def test_a_failure_is_told_and_not_the_limit(
    limited: Limited, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempts count, too, and the next one has to wait; but what is wrong is the storage."""
    with limited.db as db:
        db.wait(timeout=20)
        limited.go_on(HOUR)
        write: Callable[..., object] = limited.store.write

        def fail(*_: object, **__: object) -> None:
            limited.store.sent["PutObject"] += 5
            raise ConnectionError("on purpose")

        monkeypatch.setattr(limited.store, "write", fail)
        insert(database, 1)
        with pytest.raises(ReplicaTimeoutError, match="on purpose"):
            db.wait(timeout=2)
        monkeypatch.setattr(limited.store, "write", write)
        limited.go_on(10 * HOUR)
        db.wait(timeout=20)


def test_under_steady_writing_files_are_fewer(database: Path) -> None:
    """One for each upload that can be kept up: with a file for each moment, what waits would become more and more."""
    store = CountingStore()
    replica = Replica(store, sync_interval=0.01, max_requests_per_hour=6000)
    with DB(database, replica=replica, monitor_interval=0.01) as db:
        first = db.wait(timeout=20).txid
        assert replica.limit is not None
        with closing(sqlite3.connect(database, isolation_level=None)) as application:
            for value in range(12):
                application.execute("INSERT INTO t VALUES (?)", (value,))
                time.sleep(0.02)
        # 0.67 s lie between two files, however long the commits take.
        eventually(lambda: db.pos.txid > first)
        last = db.wait(timeout=30).txid
    assert last - first < 12
    assert ltxcore.restore_plan(replica.client).files
