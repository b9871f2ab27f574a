"""Public buckets, read without credentials."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, TXID, Replica
from ltxcore.clients.s3 import S3Client
from ltxcore.errors import ConfigError, ReplicaPermissionError

from tests.helpers.proxy import Proxy
from tests.helpers.s3_servers import PUBLIC, S3Server
from tests.unit.databases import insert

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


@pytest.fixture(autouse=True)
def without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    # There are some, and they are wrong: they must play no part.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDWRONG")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    # boto3 keeps what it has found, and other tests have others.
    monkeypatch.setattr("ltxcore.clients.s3._connection._Process.session", None)


def filled(server: S3Server, bucket: str, folder: Path) -> Path:
    """A replica in a bucket, and what it restores to."""
    with contextlib.suppress(server.client().exceptions.BucketAlreadyOwnedByYou):
        server.make_bucket(bucket)
    path = folder / "app.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE t (x)")
    client = S3Client(
        bucket,
        "app",
        endpoint=server.url,
        region=server.region,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
    )
    client.delete_all()
    with DB(path, replica=client) as db:
        insert(path, 1)
        db.wait(timeout=60)
    Replica(client).write_listing()
    ltxcore.restore(client, folder / "expected.db")
    return folder / "expected.db"


def test_a_public_bucket_is_read(seaweedfs: S3Server, tmp_path: Path, proxied: Callable[..., Proxy]) -> None:
    expected = filled(seaweedfs, PUBLIC, tmp_path)
    proxy = proxied(seaweedfs.url)
    source = f"s3://{PUBLIC}/app?endpoint={proxy.url}&region={seaweedfs.region}"
    ltxcore.restore(f"{source}&anonymous=true", tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_bytes() == expected.read_bytes()
    client = S3Client(PUBLIC, "app", endpoint=proxy.url, region=seaweedfs.region, anonymous=True)
    located = client.locate(0, TXID(1), TXID(1))
    assert located is not None
    assert "?" not in located.url
    # Nothing was signed, whoever has read it.
    targets = [record.target for record in proxy.requests()]
    assert any(".ltx" in target for target in targets)
    assert not any("X-Amz-Signature" in target for target in targets)
    with pytest.raises(ReplicaPermissionError):
        ltxcore.restore(source, tmp_path / "none.db")
    with pytest.raises(ReplicaPermissionError):
        client.write_object("other", b"x")


def test_the_same_by_https(seaweedfs: S3Server, tmp_path: Path, proxied: Callable[..., Proxy]) -> None:
    """A public bucket behind a CDN, which knows nothing of S3, read by the listing."""
    expected = filled(seaweedfs, PUBLIC, tmp_path)
    proxy = proxied(seaweedfs.url)
    ltxcore.restore(f"{proxy.url}/{PUBLIC}/app", tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_bytes() == expected.read_bytes()
    assert all(record.method == "GET" for record in proxy.requests())


def test_another_bucket_is_refused(seaweedfs: S3Server, tmp_path: Path) -> None:
    filled(seaweedfs, "not-public", tmp_path)
    source = f"s3://not-public/app?endpoint={seaweedfs.url}&region={seaweedfs.region}&anonymous=true"
    with pytest.raises(ReplicaPermissionError):
        ltxcore.restore(source, tmp_path / "copy.db")
    with pytest.raises(ReplicaPermissionError) as caught:
        ltxcore.restore(f"{seaweedfs.url}/not-public/app", tmp_path / "copy.db")
    assert caught.value.hint


def test_keys_and_anonymous_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="anonymous and access_key_id exclude each other"):
        S3Client("bucket", anonymous=True, access_key_id="a", secret_access_key="b")
