"""The lease in real buckets: as Litestream writes it, with answers that are lost, and where conditions are ignored."""

import json
import logging
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ltxcore import DB, Replica
from ltxcore.clients.s3 import S3Client, _versions
from ltxcore.errors import ConfigError, LeaseHeldError, LeaseLostError, ReplicaError
from ltxcore.replica import HeldLease, _held_lease

from tests.helpers.proxy import Proxy
from tests.helpers.s3_servers import S3Server
from tests.unit.databases import eventually, insert, restored
from tests.unit.test_s3_store import bucket, options

KEY = "backups/app/lock.json"
LONG = 25.0


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_held_lease, "RENEWAL_INTERVAL", 0.1)


@pytest.fixture(autouse=True)
def _proof_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_versions, "_proved", set())


class Bucket:
    """A bucket, with what another program sees of it."""

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.name = bucket(server)
        self.boto = server.client()

    def client(self, **more: Any) -> S3Client:
        return S3Client(self.name, "backups/app", **(options(self.server) | more))

    def replica(self, **more: Any) -> Replica:
        return Replica(self.client(**more), sync_interval=0.05, lease=True)

    def put(self, seconds: float, *, owner: str = "there:2", key: str = KEY) -> None:
        """As a program in Go does, with nanoseconds and the zone of its machine."""
        until = datetime.now(UTC) + timedelta(seconds=seconds, hours=2)
        text = until.strftime("%Y-%m-%dT%H:%M:%S.123456789+02:00")
        body = json.dumps({"generation": 7, "expires_at": text, "owner": owner}).encode()
        self.boto.put_object(Bucket=self.name, Key=key, Body=body, ContentType="application/json")

    def get(self) -> Any:
        return self.boto.get_object(Bucket=self.name, Key=KEY)

    def content(self) -> Any:
        return json.loads(self.get()["Body"].read())

    def listed(self) -> list[str]:
        listed = self.boto.list_objects_v2(Bucket=self.name).get("Contents", [])
        return [each["Key"] for each in listed]


@pytest.fixture
def place(seaweedfs: S3Server) -> Bucket:
    return Bucket(seaweedfs)


def released(held: HeldLease) -> None:
    held.release()
    eventually(lambda: held._has_ended, timeout=LONG)


def test_what_litestream_has_written(place: Bucket) -> None:
    place.put(3600)
    with pytest.raises(LeaseHeldError, match="held by there:2") as raised:
        place.replica().acquire_lease()
    assert raised.value.expires_at is not None
    left = raised.value.expires_at - datetime.now(UTC)
    assert timedelta(minutes=50) < left < timedelta(hours=1)
    assert place.content()["owner"] == "there:2"
    place.put(-60)
    held = place.replica().acquire_lease()
    assert place.content()["generation"] == 8
    released(held)
    assert place.listed() == []


def test_what_litestream_reads(place: Bucket) -> None:
    held = place.replica(storage_class="STANDARD").acquire_lease()
    answer = place.get()
    assert answer["ContentType"] == "application/json"
    found = json.loads(answer["Body"].read())
    assert set(found) == {"generation", "expires_at", "owner"}
    assert found["generation"] == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z", found["expires_at"])
    assert re.fullmatch(rf".+:{os.getpid()}", found["owner"])
    left = datetime.fromisoformat(found["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=20) < left <= timedelta(seconds=31)
    eventually(lambda: place.content()["expires_at"] != found["expires_at"])
    assert place.content()["generation"] == 1
    released(held)


def test_a_replica_without_a_path(place: Bucket) -> None:
    client = S3Client(place.name, **options(place.server))
    held = Replica(client).acquire_lease()
    assert place.listed() == ["lock.json"]
    released(held)


def test_the_first_acquisition_proves_that_conditions_are_kept(
    place: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_held_lease, "RENEWAL_INTERVAL", 60.0)
    for writes in (3, 1):
        client = place.client()
        held = Replica(client).acquire_lease()
        assert client.store.requests == {"GetObject": 1, "PutObject": writes}, "once in a process"
        released(held)
        assert client.store.requests == {"GetObject": 1, "PutObject": writes, "DeleteObject": 1}


def test_one_of_two_gets_it_and_the_other_one_when_it_is_given_back(
    place: Bucket, tmp_path: Path, database: Path
) -> None:
    with DB(database, replica=place.replica(), monitor_interval=0.05) as db:
        insert(database, 1)
        with pytest.raises(LeaseHeldError):
            place.replica().acquire_lease()
        db.wait(timeout=LONG)
    held = place.replica().acquire_lease()
    with pytest.raises(LeaseHeldError):
        db.open()
    released(held)
    with db.open():
        insert(database, 2)
        db.wait(timeout=LONG)
    assert restored(place.client(), tmp_path) == [1, 2]


def test_one_that_was_taken(place: Bucket, database: Path) -> None:
    db = DB(database, replica=place.replica(), monitor_interval=0.05).open()
    insert(database, 1)
    db.wait(timeout=LONG)
    place.put(3600)
    eventually(lambda: db.status().has_ended, timeout=LONG)
    before = place.listed()
    insert(database, 2)
    with pytest.raises(LeaseLostError, match="taken by there:2"):
        db.wait(timeout=LONG)
    with pytest.raises(LeaseLostError):
        db.close()
    assert place.listed() == before
    assert place.content()["owner"] == "there:2"


def test_answers_that_are_lost_cost_no_lease(
    place: Bucket,
    proxied: Callable[..., Proxy],
    database: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Which answers are lost depends on the name of the bucket, and it may be many in a row.
    monkeypatch.setattr(_held_lease, "_PAUSE", 0.01)
    proxy = proxied(place.server.url)
    proxy.fault("lose", path="lock.json", method="PUT", times=None, chance=0.5, seed=1)
    with DB(database, replica=place.replica(endpoint=proxy.url), monitor_interval=0.05) as db:
        for value in range(1, 6):
            insert(database, value)
            db.wait(timeout=LONG)
            time.sleep(0.3)
        assert place.content()["generation"] == 1
        assert not db.status().has_ended
        proxy.calm()
    assert restored(place.client(), tmp_path) == [1, 2, 3, 4, 5]
    assert KEY not in place.listed()


@pytest.mark.parametrize(
    "fault",
    [{"fault": "drop"}, {"fault": "respond", "status": 503, "code": "SlowDown"}, {"fault": "garbage"}],
)
def test_faults_of_renewals_pass(
    place: Bucket, proxied: Callable[..., Proxy], database: Path, fault: dict[str, Any]
) -> None:
    proxy = proxied(place.server.url)
    with DB(database, replica=place.replica(endpoint=proxy.url), monitor_interval=0.05) as db:
        insert(database, 1)
        db.wait(timeout=LONG)
        proxy.fault(**fault, path="lock.json", times=None)
        eventually(lambda: db.status().last_error is not None, timeout=LONG)
        insert(database, 2)
        db.wait(timeout=LONG)
        proxy.calm()
        eventually(lambda: db.status().last_error is None, timeout=LONG)


def test_a_server_that_hangs_holds_up_neither_a_start_nor_an_end(
    place: Bucket, proxied: Callable[..., Proxy], database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ltxcore.clients.s3._connection._QUICK_READ_TIMEOUT", 2)
    monkeypatch.setattr(_held_lease, "_RETRIES_TIMEOUT", 1.0)
    proxy = proxied(place.server.url)
    with DB(database, replica=place.replica(endpoint=proxy.url)) as db:
        db.wait(timeout=LONG)
        proxy.fault("hang", path="lock.json", times=None)
        began = time.monotonic()
        db.close()
        assert time.monotonic() - began < LONG
    with pytest.raises((ReplicaError, LeaseHeldError)):
        place.replica(endpoint=proxy.url).acquire_lease()


def test_a_service_that_ignores_conditions_is_an_error(
    rclone: S3Server, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = Bucket(rclone)
    with caplog.at_level(logging.DEBUG, "ltxcore"), pytest.raises(ConfigError) as raised:
        DB(database, replica=place.replica()).open()
    assert "cannot have a lease: the service ignores the condition If-Match" in str(raised.value)
    assert raised.value.key == "lease"
    assert place.listed() == []
    # Without a lease it is as before: a warning, and no more.
    with DB(database, replica=place.client()) as db:
        db.wait(timeout=LONG)
    assert "ignores the condition If-None-Match" in caplog.text


def test_it_is_respected_where_conditions_are_ignored(rclone: S3Server) -> None:
    """Nothing is written, not even to find that out."""
    place = Bucket(rclone)
    place.put(3600)
    before = place.content()
    with pytest.raises(LeaseHeldError):
        place.replica().acquire_lease()
    assert place.content() == before


def test_a_boto3_client_of_the_caller_is_used(place: Bucket) -> None:
    mine = place.server.client()
    client = S3Client(place.name, "backups/app", client=mine)
    held = Replica(client).acquire_lease()
    released(held)
    assert client.store.requests["PutObject"] >= 3
    assert place.listed() == []
    client.close()
    mine.list_buckets()


def test_a_large_object_in_its_place(place: Bucket) -> None:
    place.boto.put_object(Bucket=place.name, Key=KEY, Body=bytes(1 << 20))
    with pytest.raises(ReplicaError, match="1048576 bytes"):
        place.replica().acquire_lease()
    assert place.get()["ContentLength"] == 1 << 20
