"""S3Store and S3Client on real servers: the contract suites, conditional writes, uploads in parts, signed URLs."""

import io
import itertools
import os
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ltxcore import ReplicaClient
from ltxcore.clients.s3 import S3Client, S3Store
from ltxcore.clients.s3._settings import MIN_PART_SIZE
from ltxcore.errors import ConfigError, ObjectExistsError, ReplicaError, ReplicaPermissionError
from ltxcore.stores import ObjectStore, SignedURL
from ltxcore.testing import ObjectStoreContract, ReplicaClientContract

from tests.helpers.proxy import Proxy
from tests.helpers.s3_servers import S3Server

TIME = datetime(2026, 3, 1, 12, 30, 0, 250_000, tzinfo=UTC)
_numbers = itertools.count()


def bucket(server: S3Server) -> str:
    return server.make_bucket(f"bucket-{os.getpid()}-{next(_numbers)}")


def options(server: S3Server) -> Any:
    return {
        "endpoint": server.url,
        "region": server.region,
        "access_key_id": server.access_key,
        "secret_access_key": server.secret_key,
    }


def store_of(server: S3Server, **more: Any) -> S3Store:
    return S3Store(bucket(server), **(options(server) | more))


class OfServer:
    """What makes a store or a client of one server; the fixture of a subclass says which."""

    server: S3Server
    # Pages are smaller here, too.
    many_objects = many_files = 120

    @pytest.fixture(autouse=True)
    def _small_pages_and_short_pauses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ltxcore.clients.s3._store._PAGE", 50)
        for module in ("_transfer", "objects"):
            monkeypatch.setattr(f"ltxcore.clients.{module}.PAUSES", (0.05,) * 20)
        # SeaweedFS has those wait who come at once, for a second each.
        monkeypatch.setattr("ltxcore.clients.s3._connection._QUICK_READ_TIMEOUT", 25)

    def new_store(self) -> S3Store:
        return store_of(self.server)


class OnSeaweedFS(OfServer):
    @pytest.fixture(autouse=True)
    def _server(self, seaweedfs: S3Server) -> None:
        self.server = seaweedfs


class OnRclone(OfServer):
    @pytest.fixture(autouse=True)
    def _server(self, rclone: S3Server) -> None:
        self.server = rclone

    def new_store(self) -> S3Store:
        """It has found out that this server ignores conditions: what the suites test is what a store says it can."""
        store = super().new_store()
        store.write("found/out", io.BytesIO(b"x"), if_absent=True)
        with pytest.raises(ReplicaError, match="ignores the condition If-Match"):
            store.write_version("found/out", b"x", tag=None)
        store.delete(["found/out"])
        assert not store.capabilities.creates_if_absent
        assert not store.capabilities.replaces_if_unchanged
        return store


class TestStoreOnSeaweedFS(OnSeaweedFS, ObjectStoreContract):
    def make(self, tmp_path: Path) -> ObjectStore:
        return self.new_store()

    def test_listings_ascend(self, tmp_path: Path) -> None:
        """It keeps objects in folders, and so lists "a/b" before "a-b". Of names within a folder the order is right."""
        with self.make(tmp_path) as store:
            for name in ("b", "B", "_", "a b", "a", "0"):
                store.write(f"folder/{name}", io.BytesIO(b"x"))
            assert [each.key[-1:] for each in store.list("folder/")] == ["0", "B", "_", "a", "b", "b"]


class TestClientOnSeaweedFS(OnSeaweedFS, ReplicaClientContract):
    def make(self, tmp_path: Path) -> ReplicaClient:
        return S3Client(bucket(self.server), "backups/app", **options(self.server))

    def put_foreign(self, client: ReplicaClient, level: int, name: str) -> bool:
        assert isinstance(client, S3Client)
        client.store.write(f"backups/app/{level:04x}/{name}", io.BytesIO(b"?"))
        return True


class TestStoreOnRclone(OnRclone, ObjectStoreContract):
    def make(self, tmp_path: Path) -> ObjectStore:
        return self.new_store()


class TestClientOnRclone(OnRclone, ReplicaClientContract):
    def make(self, tmp_path: Path) -> ReplicaClient:
        client = S3Client(bucket(self.server), "a", **options(self.server))
        client.store.capabilities = self.new_store().capabilities
        return client


class TestSeaweedFS(OnSeaweedFS):
    def test_the_first_conditional_write_proves_that_conditions_are_kept(self) -> None:
        store = self.new_store()
        store.write("a", io.BytesIO(b"1"), if_absent=True)
        assert store.requests == {"HeadObject": 1, "PutObject": 2}
        assert store.capabilities.creates_if_absent
        store.write("b", io.BytesIO(b"1"), if_absent=True)
        other = S3Store(store.bucket, **options(self.server))
        other.write("c", io.BytesIO(b"1"), if_absent=True)
        assert store.requests + other.requests == {"HeadObject": 1, "PutObject": 4}, "once in a process"
        with pytest.raises(ObjectExistsError) as raised:
            other.write("b", io.BytesIO(b"2"), if_absent=True)
        assert raised.value.key == "b"
        assert store.read("b") == b"1"

    def test_large_objects_are_uploaded_in_parts(self) -> None:
        store = self.new_store()
        data = os.urandom(2 * MIN_PART_SIZE + 12_345)
        source = io.BytesIO(b"before" + data)
        source.seek(6)
        info = store.write("large", source, time=TIME)
        assert (info.key, info.size) == ("large", len(data))
        assert store.requests == {"CreateMultipartUpload": 1, "UploadPart": 3, "CompleteMultipartUpload": 1}
        assert store.read("large") == data
        assert (
            store.read("large", offset=MIN_PART_SIZE - 3, size=7)
            == data[MIN_PART_SIZE - 3 : MIN_PART_SIZE + 4]
        )
        head = self.server.client().head_object(Bucket=store.bucket, Key="large")
        assert head["Metadata"] == {"litestream-timestamp": "2026-03-01T12:30:00.25Z"}

    def test_an_upload_in_parts_replaces_nothing_that_it_should_not(self) -> None:
        store = self.new_store()
        store.write("large", io.BytesIO(b"first"), if_absent=True)
        with pytest.raises(ObjectExistsError):
            store.write("large", io.BytesIO(bytes(MIN_PART_SIZE)), if_absent=True)
        assert store.read("large") == b"first"
        assert "Uploads" not in self.server.client().list_multipart_uploads(Bucket=store.bucket), "aborted"

    def test_an_upload_whose_source_fails_leaves_no_parts(self) -> None:
        class Failing(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                if self.tell() >= MIN_PART_SIZE:
                    raise OSError("the disk failed")
                return super().read(size)

        store = self.new_store()
        with pytest.raises(OSError, match="the disk failed"):
            store.write("large", Failing(bytes(2 * MIN_PART_SIZE)))
        assert [*store.list("")] == []
        assert "Uploads" not in self.server.client().list_multipart_uploads(Bucket=store.bucket)

    def test_a_signed_url_serves_every_range(self) -> None:
        store = self.new_store()
        key = "a b/\u00e9+&.ltx"
        store.write(key, io.BytesIO(bytes(range(256))))
        place = store.locate(key)
        assert isinstance(place, SignedURL)
        for first, last in ((0, 255), (3, 9)):
            request = urllib.request.Request(
                place.url, headers={**place.headers, "Range": f"bytes={first}-{last}"}
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.read() == bytes(range(first, last + 1))
        assert store.requests == {"PutObject": 1}, "signing asks for nothing"

    def test_wrong_credentials_and_missing_buckets_are_typed_errors(self) -> None:
        wrong = store_of(self.server, secret_access_key="not this one")
        with pytest.raises(ReplicaPermissionError) as raised:
            [*wrong.list("")]
        assert raised.value.hint and "not this one" not in f"{raised.value} {raised.value.hint}"
        missing = S3Store("no-such-bucket", **options(self.server))
        for request in (lambda: [*missing.list("")], lambda: missing.write("a", io.BytesIO(b"x"))):
            with pytest.raises(ReplicaError, match="no such bucket"):
                request()

    def test_a_store_works_in_a_forked_child(self) -> None:
        store = self.new_store()
        store.write("a", io.BytesIO(b"of the parent"))
        pid = os.fork()
        if pid == 0:
            try:
                store.write("b", io.BytesIO(store.read("a")))
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        assert store.read("b") == b"of the parent"


class TestRclone(OfServer):
    def test_a_service_that_ignores_conditions_is_found_out(
        self, rclone: S3Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.server = rclone
        store = self.new_store()
        store.write("a", io.BytesIO(b"1"), if_absent=True)
        assert not store.capabilities.creates_if_absent
        assert "ignores the condition If-None-Match" in caplog.text
        assert store.read("a") == b"1"

    def test_nothing_is_replaced_while_that_is_not_known(self, rclone: S3Server) -> None:
        self.server = rclone
        store = self.new_store()
        store.write("a", io.BytesIO(b"first"))
        with pytest.raises(ObjectExistsError):
            store.write("a", io.BytesIO(b"second"), if_absent=True)
        assert store.read("a") == b"first"


class TestOptions(OfServer):
    """What moto keeps of a request, and the servers above do not."""

    @pytest.fixture(autouse=True)
    def _server(self, moto: S3Server) -> None:
        self.server = moto

    def test_a_storage_class_and_a_key_of_kms(self) -> None:
        store = store_of(self.server, storage_class="STANDARD_IA", sse_kms_key_id="alias/backup")
        for size in (10, MIN_PART_SIZE):
            store.write(f"{size}", io.BytesIO(bytes(size)), time=TIME)
            head = self.server.client().head_object(Bucket=store.bucket, Key=f"{size}")
            assert head["StorageClass"] == "STANDARD_IA"
            assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/backup")

    def test_a_client_of_the_caller_is_used(self) -> None:
        client = self.server.client()
        store = S3Store(bucket(self.server), client=client)
        store.write("a", io.BytesIO(b"x"))
        assert store.requests == {"PutObject": 1}
        assert store.endpoint == self.server.url
        assert store.identity == S3Store(store.bucket, **options(self.server)).identity
        store.close()
        assert client.get_object(Bucket=store.bucket, Key="a")["Body"].read() == b"x", "it is not closed"


@pytest.fixture
def link(seaweedfs: S3Server, proxied: Callable[..., Proxy]) -> tuple[Proxy, S3Store]:
    """A proxy, and a store that goes through it."""
    proxy = proxied(seaweedfs.url)
    return proxy, store_of(seaweedfs, endpoint=proxy.url)


def test_deletions_carry_the_md5_that_every_service_knows(link: tuple[Proxy, S3Store]) -> None:
    _, store = link
    store.write("a", io.BytesIO(b"x"))
    seen: list[dict[str, str]] = []
    store._client.meta.events.register(
        "before-send.s3.DeleteObjects", lambda request, **_: seen.append(dict(request.headers))
    )
    assert store.delete(["a", "missing"]) == {}
    assert "Content-MD5" in seen[0]
    assert not [name for name in seen[0] if name.lower().startswith("x-amz-checksum")]


@pytest.mark.parametrize("wanted", [True, False])
def test_uploads_carry_an_md5_if_told_to(seaweedfs: S3Server, wanted: bool) -> None:
    store = store_of(seaweedfs, put_object_content_md5=wanted, part_size=MIN_PART_SIZE)
    seen: list[bool] = []
    for operation in ("PutObject", "UploadPart"):
        store._client.meta.events.register(
            f"before-send.s3.{operation}", lambda request, **_: seen.append("Content-MD5" in request.headers)
        )
    store.write("small", io.BytesIO(b"x"))
    store.write("large", io.BytesIO(bytes(MIN_PART_SIZE + 1)))
    assert seen == [wanted] * 3
    assert store.read("large", offset=MIN_PART_SIZE) == b"\0"


def test_a_replica_without_a_path_is_refused_where_nobody_would_find_it(seaweedfs: S3Server) -> None:
    """SeaweedFS drops the slash that its keys begin with."""
    with pytest.raises(ConfigError, match="begin with a slash") as caught:
        store_of(seaweedfs).write("/0000/x.ltx", io.BytesIO(b"x"), if_absent=True)
    assert caught.value.hint and "s3://" in caught.value.hint


def test_a_replica_without_a_path_elsewhere(moto: S3Server) -> None:
    store = store_of(moto)
    store.write("/0000/x.ltx", io.BytesIO(b"x"), if_absent=True)
    assert [info.key for info in store.list("/")] == ["/0000/x.ltx"]


@pytest.mark.parametrize(
    ("bucket", "options", "says"),
    [
        ("bucket", {"storage_clas": "GLACIER"}, "storage_class"),
        ("bucket", {"sse_kms_keyid": "x"}, "sse_kms_key_id"),
        ("bucket", {"zzz": 1}, "part_size"),
        ("bucket", {"part_size": "16MiB"}, None),
        ("bucket", {"concurrency": "4"}, None),
        ("s3://bucket/x", {}, "two arguments"),
        ("bucket/x", {}, "two arguments"),
    ],
)
def test_arguments_that_are_mistaken(bucket: str, options: Any, says: str | None) -> None:
    for make in (S3Store, S3Client):
        with pytest.raises(ConfigError) as caught:
            make(bucket, **options)
        assert says is None or (caught.value.hint and says in caught.value.hint)
