"""Conversions from a bucket to a bucket, through a network that is broken in every way."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ltxcore
from ltxcore import legacy
from ltxcore.clients.s3 import S3Client
from ltxcore.errors import ReplicaError

from tests.helpers.proxy import Proxy
from tests.helpers.s3_servers import S3Server
from tests.unit.legacy_histories import Made, make

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

FAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "drop": {"fault": "drop"},
    "lose": {"fault": "lose"},
    "cut": {"fault": "cut"},
    "503": {"fault": "respond", "status": 503, "code": "SlowDown"},
}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


@pytest.fixture
def proxy(seaweedfs: S3Server, proxied: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch) -> Proxy:
    monkeypatch.setattr("ltxcore.clients.s3._connection._READ_TIMEOUT", 1.5)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.02)
    monkeypatch.setattr("ltxcore.clients._transfer.PAUSES", (0.02,) * 3)
    return proxied(seaweedfs.url)


@pytest.fixture
def client(seaweedfs: S3Server, proxy: Proxy) -> Callable[[str], S3Client]:
    bucket = seaweedfs.make_bucket(f"convert-{os.getpid()}-{time.monotonic_ns()}")
    return lambda prefix: S3Client(
        bucket,
        prefix,
        endpoint=proxy.url,
        region=seaweedfs.region,
        access_key_id=seaweedfs.access_key,
        secret_access_key=seaweedfs.secret_key,
    )


def upload(made: Made, client: S3Client) -> None:
    """The history as objects of the bucket, in the order in which they were stored; several have one time there."""
    place = client.object_place()
    assert place is not None
    store, prefix = place
    for path in sorted(made.path.rglob("*.lz4"), key=lambda path: path.stat().st_mtime_ns):
        with path.open("rb") as data:
            store.write(f"{prefix}{path.relative_to(made.path)}", data)


def states(client: S3Client, out: Path) -> list[bytes]:
    found = []
    for point in ltxcore.restore_points(client):
        ltxcore.restore(client, out, txid=point.txid, overwrite=True)
        found.append(out.read_bytes())
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_requests_that_fail_now_and_then(
    made: Made, client: Callable[[str], S3Client], proxy: Proxy, fault: str, tmp_path: Path
) -> None:
    old, new = client("old"), client("new")
    upload(made, old)
    if FAULTS[fault]:
        proxy.fault(**FAULTS[fault], chance=0.2, seed=7, times=None)
    done = 0
    for _ in range(5):
        # A request that has failed too often ends a conversion; the next one goes on.
        try:
            done = legacy.convert(old, new).states
            break
        except ReplicaError as error:
            assert error.transient is not False, error
    proxy.calm()
    assert done == 11
    assert states(new, tmp_path / "out.db") == list(dict.fromkeys(made.states.values()))
    assert legacy.convert(old, new).files == 0
    assert legacy.verify(old).is_ok
    assert ltxcore.verify(new).outcome == "ok"
    for file in [*legacy.snapshots(old), *legacy.wal_segments(old)]:
        one, other = tmp_path / "one", tmp_path / "other"
        legacy.restore(old, one, timestamp=file.created_at, overwrite=True)
        ltxcore.restore(new, other, timestamp=file.created_at, overwrite=True)
        assert one.read_bytes() == other.read_bytes()


def test_in_one_place(made: Made, client: Callable[[str], S3Client], tmp_path: Path) -> None:
    place = client("app")
    upload(made, place)
    legacy.convert(place, place)
    assert legacy.convert(place, place).files == 0
    assert states(place, tmp_path / "out.db") == list(dict.fromkeys(made.states.values()))
    ltxcore.restore(place, tmp_path / "newest.db")
    assert (tmp_path / "newest.db").read_bytes() == made.newest


def test_a_bucket_that_is_away(made: Made, client: Callable[[str], S3Client], proxy: Proxy) -> None:
    old, new = client("old"), client("new")
    upload(made, old)
    proxy.fault("respond", status=503, code="SlowDown", operation="PutObject", times=None)
    with pytest.raises(ReplicaError):
        legacy.convert(old, new)
    proxy.calm()
    assert legacy.convert(old, new).txid == 10
