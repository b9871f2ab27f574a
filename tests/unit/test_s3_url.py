"""URLs and options of S3 mean what they mean to Litestream, and no message shows a secret."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from ltxcore import Replica, client_from_url
from ltxcore.clients.s3._settings import MIN_PART_SIZE, provider_of, settings
from ltxcore.clients.s3._url import parse
from ltxcore.errors import ConfigError, ReplicaReadOnlyError

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize(
    ("url", "bucket", "path", "options"),
    [
        ("s3://bucket", "bucket", "", {}),
        ("s3://bucket/", "bucket", "", {}),
        ("s3://bucket/a//b/../c/", "bucket", "a/c", {}),
        ("s3://bucket/a%20b", "bucket", "a b", {}),
        ("s3://bucket/db?region=eu-west-1", "bucket", "db", {"region": "eu-west-1"}),
        ("s3://b?forcePathStyle=false&skip-verify=1", "b", "", {"force_path_style": False, "skip_verify": True}),
        ("s3://b?part-size=8MiB&concurrency=3", "b", "", {"part_size": 8 << 20, "concurrency": 3}),
        ("s3://b?partSize=6000000", "b", "", {"part_size": 6_000_000}),
        ("s3://b?require-content-md5=f&signPayload=T", "b", "", {"require_content_md5": False, "sign_payload": True}),
        ("s3://b?storageClass=STANDARD_IA&sseKmsKeyId=k", "b", "", {"storage_class": "STANDARD_IA", "sse_kms_key_id": "k"}),
        ("s3://b.s3.amazonaws.com/x", "b", "x", {}),
        ("s3://a.b.s3.eu-central-1.amazonaws.com/x", "a.b", "x", {"region": "eu-central-1"}),
        ("s3://b.fra1.digitaloceanspaces.com", "b", "", {"region": "fra1", "endpoint": "fra1.digitaloceanspaces.com"}),
        ("s3://b.s3.us-west-2.backblazeb2.com", "b", "", {"region": "us-west-2", "endpoint": "s3.us-west-2.backblazeb2.com"}),
        ("s3://b.s3.filebase.com", "b", "", {"endpoint": "s3.filebase.com"}),
        ("s3://b.s3.fr-par.scw.cloud/p", "b", "p", {"region": "fr-par", "endpoint": "s3.fr-par.scw.cloud"}),
        (
            "s3://b.br-x-1.storage.c-2.eu-central-1.aws.neon.tech/p",
            "b",
            "p",
            {"region": "eu-central-1", "endpoint": "br-x-1.storage.c-2.eu-central-1.aws.neon.tech"},
        ),
        ("s3://b.localhost:9000/p", "b", "p", {"region": "us-east-1", "endpoint": "http://localhost:9000"}),
        ("s3://b.s3.filebase.com?endpoint=127.0.0.1:9000", "b.s3.filebase.com", "", {"endpoint": "127.0.0.1:9000"}),
        (
            "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/name/db",
            "arn:aws:s3:eu-west-1:123456789012:accesspoint/name",
            "db",
            {"region": "eu-west-1"},
        ),
    ],
)  # fmt: skip
def test_a_url_names_a_bucket(url: str, bucket: str, path: str, options: dict[str, Any]) -> None:
    assert parse(url, {}) == (bucket, path, options)


def test_options_from_elsewhere_override_the_url() -> None:
    assert parse("s3://b/p?region=a&concurrency=2", {"region": "z"}).options == {
        "region": "z",
        "concurrency": 2,
    }
    assert parse("s3://b", {}, "localhost:9000").options == {"endpoint": "localhost:9000"}
    assert parse("s3://b?endpoint=x", {}, "localhost:9000").options == {"endpoint": "x"}


def test_an_endpoint_of_the_configuration_means_path_style_whatever_the_url_says() -> None:
    url = "s3://b?force-path-style=false"
    assert parse(url, {"endpoint": "minio:9000"}).options == {"endpoint": "minio:9000"}
    assert parse(url, {"endpoint": "x", "force_path_style": False}).options["force_path_style"] is False
    assert parse(url + "&endpoint=x", {}).options["force_path_style"] is False


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://", "names no bucket"),
        ("s3:///path", "names no bucket"),
        ("s3://localhost:9000/path", "names no bucket"),
        ("s3://b?regoin=x", "unknown parameter"),
        ("s3://b?region=x&region=y", "given twice"),
        ("s3://b?partSize=5MiB&part-size=5MiB", "given twice"),
        ("s3://b?skipVerify=maybe", "impossible value of the parameter skipVerify"),
        ("s3://b?concurrency=0", "impossible value"),
        ("s3://b?part-size=big", "impossible value"),
        ("s3://b/a#b", "has a #"),
        ("s3://arn:aws:s3:::bucket", "not the ARN of an access point"),
    ],
)
def test_a_bad_url_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        parse(url, {})
    assert raised.value.key == "url"
    assert raised.value.hint


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        (None, "S3"),
        ("https://minio.example:9000", "S3"),
        ("https://fsn1.your-objectstorage.com", "Hetzner"),
        ("https://FLY.storage.tigris.dev:443", "Tigris"),
        ("https://evil-fly.storage.tigris.dev.example", "S3"),
        ("https://notfly.storage.tigris.dev", "S3"),
        ("https://t3.storage.dev", "Tigris"),
        ("https://0123.r2.cloudflarestorage.com", "Cloudflare R2"),
        ("https://storage.googleapis.com", "Google Cloud Storage"),
        ("https://s3.filebase.com", "Filebase"),
    ],
)
def test_a_provider_is_known_by_its_host(endpoint: str | None, name: str) -> None:
    assert provider_of(endpoint).name == name


def test_what_is_not_said_is_filled_in() -> None:
    aws = settings("b", {})
    assert (aws.endpoint, aws.path_style, aws.part_size, aws.concurrency) == (None, False, MIN_PART_SIZE, 5)
    assert (aws.verify, aws.sign_payload, aws.delete_with_md5, aws.put_with_md5) == (True, True, True, False)
    assert settings("b", {"endpoint": "localhost:9000"}).endpoint == "http://localhost:9000"
    assert settings("b", {"endpoint": "192.168.0.7"}).endpoint == "http://192.168.0.7"
    assert settings("b", {"endpoint": "nas.local:9000"}).endpoint == "http://nas.local:9000"
    assert settings("b", {"endpoint": "s3.example.com"}).endpoint == "https://s3.example.com"
    assert settings("b", {"endpoint": "s3.example.com"}).path_style
    assert not settings("b", {"endpoint": "s3.example.com", "force_path_style": False}).path_style
    assert settings("b", {"endpoint": "https://0123.r2.cloudflarestorage.com"}).concurrency == 2
    assert not settings("b", {"endpoint": "https://t3.storage.dev"}).delete_with_md5


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"part_size": MIN_PART_SIZE - 1}, "part_size"),
        ({"concurrency": 0}, "concurrency"),
        ({"endpoint": "ftp://host"}, "endpoint"),
        ({"endpoint": "https://user:hidden@host"}, "endpoint"),
        ({"access_key_id": "hidden"}, "secret_access_key"),
        ({"secret_access_key": "hidden"}, "access_key_id"),
        ({"sse_customer_key": "hidden"}, "sse_customer_key"),
        ({"sse_customer_key": base64.b64encode(b"hidden").decode()}, "sse_customer_key"),
        ({"sse_customer_key": KEY, "sse_customer_algorithm": "DES"}, "sse_customer_algorithm"),
        ({"sse_customer_key": KEY, "sse_customer_key_md5": "hidden"}, "sse_customer_key_md5"),
        ({"sse_customer_key": KEY, "sse_kms_key_id": "k"}, "sse_kms_key_id"),
        ({"sse_customer_key": KEY, "endpoint": "http://example.com"}, "endpoint"),
        ({"sse_customer_key_path": "/does/not/exist"}, "sse_customer_key_path"),
    ],
)
def test_an_impossible_option_is_refused_and_no_secret_shown(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings("b", options)  # type: ignore[arg-type]
    assert raised.value.key == key
    text = f"{raised.value!r} {raised.value.hint} {raised.value.__cause__!r} {raised.value.__context__!r}"
    assert "hidden" not in text
    assert KEY not in text


def test_a_customer_key_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY[:20]}\n{KEY[20:]}\n")
    found = settings("b", {"sse_customer_key_path": str(path)})
    digest = base64.b64encode(hashlib.md5(bytes(range(32)), usedforsecurity=False).digest()).decode()
    assert found.of_content == {
        "SSECustomerAlgorithm": "AES256",
        "SSECustomerKey": KEY,
        "SSECustomerKeyMD5": digest,
    }
    assert KEY not in repr(found)


def test_settings_show_no_credentials() -> None:
    found = settings(
        "b", {"access_key_id": "AKIAHIDDEN", "secret_access_key": "hidden", "session_token": "hidden"}
    )
    assert found.credentials == ("AKIAHIDDEN", "hidden", "hidden")
    assert "hidden" not in repr(found).lower()


def test_without_credentials_a_bucket_can_only_be_read() -> None:
    replica = Replica(client_from_url("s3://bucket/app?anonymous=true"))
    with pytest.raises(ReplicaReadOnlyError, match="can only be read") as raised:
        replica.check_writable()
    assert raised.value.hint and "credentials" in raised.value.hint
