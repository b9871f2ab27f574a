"""Replicas in the v0.3 layout in a bucket, through a network that is broken in every way; the real programs restore them."""

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ltxcore import DB, legacy
from ltxcore.clients.s3 import S3Client

from tests.helpers import litestream, litestream03
from tests.helpers.app import App, digest, reference_digest
from tests.helpers.proxy import Proxy
from tests.helpers.s3_servers import S3Server
from tests.unit.databases import insert
from tests.unit.memory import run_sql

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

FAULTS: dict[str, dict[str, Any]] = {
    "drop": {"fault": "drop"},
    "lose": {"fault": "lose"},
    "cut": {"fault": "cut", "operation": "PutObject"},
    "500": {"fault": "respond", "status": 500, "code": "InternalError"},
    "503": {"fault": "respond", "status": 503, "code": "SlowDown"},
}


class Place(NamedTuple):
    """A database, and a place in a bucket."""

    database: Path
    client: S3Client
    proxy: Proxy
    server: S3Server
    bucket: str

    def opened(self, **options: Any) -> DB:
        replica = legacy.Replica(self.client, sync_interval=0.0, **options)
        return DB(self.database, replica=replica, monitor_interval=0.02).open()

    def config(self) -> litestream03.Config:
        """As the real programs are told of it."""
        where = litestream03.s3_replica(self.server, self.bucket, "backups/app")
        return litestream03.write_config(self.database.with_name("litestream.json"), self.database, where)


@pytest.fixture
def place(
    seaweedfs: S3Server, proxied: Callable[..., Proxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    monkeypatch.setattr("ltxcore.clients.s3._connection._READ_TIMEOUT", 1.5)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.02)
    monkeypatch.setattr("ltxcore.clients._transfer.PAUSES", (0.02,) * 3)
    bucket = seaweedfs.make_bucket(f"v03-{os.getpid()}-{time.monotonic_ns()}")
    proxy = proxied(seaweedfs.url)
    client = S3Client(
        bucket,
        "backups/app",
        endpoint=proxy.url,
        region=seaweedfs.region,
        access_key_id=seaweedfs.access_key,
        secret_access_key=seaweedfs.secret_key,
    )
    return Place(tmp_path / "app.db", client, proxy, seaweedfs, bucket)


def rows(place: Place, output: Path) -> int:
    legacy.restore(place.client, output, overwrite=True, integrity_check="full")
    with App(output) as app:
        return int(app.execute("SELECT count(*) FROM t")[0][0])


@pytest.mark.parametrize("fault", FAULTS)
def test_requests_that_fail_now_and_then_lose_nothing(place: Place, fault: str, tmp_path: Path) -> None:
    """Answers of uploads that are lost, too: the same bytes are there already, and one generation goes on."""
    run_sql(place.database, "PRAGMA journal_mode = wal", "CREATE TABLE t (x)")
    chance = random.Random(5)
    count = 0
    for _start in range(2):
        with place.opened() as db:
            db.wait(timeout=60)
            place.proxy.fault(**FAULTS[fault], chance=0.2, seed=3, times=None)
            for _commit in range(8):
                insert(place.database, count := count + 1)
                db.wait(timeout=60)
                if chance.random() < 0.2:
                    place.proxy.calm()
                    db.snapshot()
                    place.proxy.fault(**FAULTS[fault], chance=0.2, seed=count, times=None)
            place.proxy.calm()
            assert rows(place, tmp_path / "out.db") == count
    (generation,) = legacy.generations(place.client)
    assert len(generation.segments) >= count


def test_a_bucket_that_is_away_is_waited_for(place: Place, tmp_path: Path) -> None:
    run_sql(place.database, "PRAGMA journal_mode = wal", "CREATE TABLE t (x)")
    with place.opened() as db:
        db.wait(timeout=60)
        place.proxy.fault("respond", status=503, code="SlowDown", times=None)
        insert(place.database, 1)
        with pytest.raises(TimeoutError):
            db.wait(timeout=3)
        place.proxy.calm()
        db.wait(timeout=60)
        assert rows(place, tmp_path / "out.db") == 1
    assert len(legacy.generations(place.client)) == 1


@pytest.mark.interop
@pytest.mark.litestream03
def test_the_real_programs_restore_from_a_bucket(place: Place, tmp_path: Path) -> None:
    """Also from a new generation that begins right after the old one: times of a bucket are whole seconds."""
    for number in range(3):
        run_sql(
            place.database,
            "PRAGMA journal_mode = wal",
            "CREATE TABLE IF NOT EXISTS t (x)",
            "INSERT INTO t VALUES (randomblob(100000))",
        )
        with place.opened() as db:
            db.wait(timeout=60)
            insert(place.database, number)
            db.wait(timeout=60)
            if number == 1:
                db.snapshot()
        if number == 0:
            (db.meta_path / "ltxcore/v03-0").unlink()
    assert len(legacy.generations(place.client)) == 2
    expected = reference_digest(place.database, tmp_path / "scratch")
    config = place.config()
    ours, old, new = (tmp_path / name for name in ("ours.db", "old.db", "new.db"))
    legacy.restore(place.client, ours)
    litestream03.restore(config, old)
    restore_new(place, config, new)
    assert [digest(each) for each in (ours, old, new)] == [expected] * 3


def restore_new(place: Place, config: litestream03.Config, output: Path) -> None:
    """By Litestream 0.5, which has other options."""
    where = litestream03.s3_replica(place.server, place.bucket, "backups/app")
    path = config.path.with_name("litestream-0.5.json")
    path.write_text(json.dumps({"dbs": [{"path": str(place.database), "replica": where}]}))
    litestream.call("restore", "-config", str(path), "-o", str(output), str(place.database))


@pytest.mark.parametrize("name", ["seaweedfs", "rclone", "moto"])
def test_every_server_goes_on_after_a_restart(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Also one that has no conditional writes, or none of versions."""
    server: S3Server = request.getfixturevalue(name)
    bucket = server.make_bucket(f"v03-{os.getpid()}-{time.monotonic_ns()}")
    keys: Any = {"access_key_id": server.access_key, "secret_access_key": server.secret_key}
    client = S3Client(bucket, "app", endpoint=server.url, region=server.region, **keys)
    database = tmp_path / "app.db"
    run_sql(database, "PRAGMA journal_mode = wal", "CREATE TABLE t (x)")
    for number in range(3):
        replica = legacy.Replica(client, sync_interval=0.0)
        with DB(database, replica=replica, monitor_interval=0.02) as db:
            insert(database, number)
            db.wait(timeout=60)
            if number == 1:
                db.snapshot()
    assert len(legacy.generations(client)) == 1
    output = tmp_path / "out.db"
    legacy.restore(client, output)
    assert digest(output) == reference_digest(database, tmp_path / "scratch")
    # Another writer, which knows nothing of it: with a generation of its own, in the same place.
    shutil.rmtree(tmp_path / ".app.db-litestream")
    with DB(database, replica=legacy.Replica(client), monitor_interval=0.02) as db:
        insert(database, 9)
        db.wait(timeout=60)
    assert len(legacy.generations(client)) == 2
    legacy.restore(client, output, overwrite=True)
    assert digest(output) == reference_digest(database, tmp_path / "scratch")
