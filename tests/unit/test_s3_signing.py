"""URLs that S3Store signs, beside those of boto3's generate_presigned_url; and times as services write them."""

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.utils import parse_timestamp
from hypothesis import given
from hypothesis import strategies as st

from ltxcore.clients.s3 import S3Store
from ltxcore.clients.s3._connection import _timestamp
from ltxcore.errors import ReplicaError
from ltxcore.stores import SignedURL

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
KEYS: dict[str, Any] = {"access_key_id": "AKID", "secret_access_key": "of/tests+only"}
KEY = "a b/\u00e9+&%2f~/0000/0000000000000001-0000000000000001.ltx"


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    """Both sign at the same time."""
    with patch("botocore.auth.get_current_datetime", lambda *_, **__: NOW.replace(tzinfo=None)):
        yield


def url(store: S3Store, key: str) -> str:
    place = store.locate(key)
    assert isinstance(place, SignedURL)
    return place.url


@cache
def client_of(token: str | None = None, *, style: str = "auto", **options: Any) -> Any:
    """One of boto3."""
    config = Config(signature_version="s3v4", s3={"addressing_style": style})
    return boto3.Session("AKID", "of/tests+only", token).client("s3", config=config, **options)


def by_boto3(bucket: str, key: str, token: str | None = None, **options: Any) -> str:
    signed: str = client_of(token, **options).generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=3600
    )
    return signed


PLACES = [
    ("bucket", {"region": "eu-central-1"}, {"region_name": "eu-central-1"}),
    ("bucket.with.dots", {"region": "us-east-1"}, {"region_name": "us-east-1"}),
    (
        "bucket",
        {"endpoint": "http://127.0.0.1:9000", "region": "us-east-1"},
        {"endpoint_url": "http://127.0.0.1:9000", "region_name": "us-east-1"},
    ),
    (
        "bucket",
        {"endpoint": "https://storage.example/below/this", "region": "r", "force_path_style": True},
        {
            "endpoint_url": "https://storage.example/below/this",
            "region_name": "r",
            "style": "path",
        },
    ),
    (
        "arn:aws:s3:eu-west-1:123456789012:accesspoint/point",
        {"region": "eu-west-1"},
        {"region_name": "eu-west-1"},
    ),
]


@pytest.mark.parametrize(("bucket", "ours", "theirs"), PLACES)
@pytest.mark.parametrize("key", [KEY, "k", "/k", "//k", "./a/../k", "k?x=1#y", "k/"])
def test_the_url_is_the_one_of_boto3(
    bucket: str, ours: dict[str, Any], theirs: dict[str, Any], key: str
) -> None:
    assert url(S3Store(bucket, **KEYS, **ours), key) == by_boto3(bucket, key, **theirs)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_key(key: str) -> None:
    assert url(STORE, key) == by_boto3("bucket", key, region_name="eu-central-1")


STORE = S3Store("bucket", region="eu-central-1", **KEYS)


def test_a_session_token_is_in_it() -> None:
    store = S3Store("bucket", region="eu-central-1", session_token="short", **KEYS)
    signed = url(store, KEY)
    assert "X-Amz-Security-Token=short" in signed
    assert signed == by_boto3("bucket", KEY, token="short", region_name="eu-central-1")


def test_credentials_of_a_session_are_renewed() -> None:
    numbers = itertools.count()

    def renew() -> dict[str, str]:
        # Always about to expire, so each signature renews them.
        expiry = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
        return {
            "access_key": f"AKID{next(numbers)}",
            "secret_key": "secret",
            "token": "token",
            "expiry_time": expiry,
        }

    found = RefreshableCredentials.create_from_metadata(renew(), renew, "test")
    with patch("botocore.session.Session.get_credentials", return_value=found):
        store = S3Store("bucket", region="eu-central-1", session=boto3.Session())
        first, then = url(store, "k"), url(store, "k")
    number = re.compile("Credential=AKID([0-9]+)")
    assert number.findall(first) < number.findall(then)


def test_a_client_of_the_caller_signs_itself() -> None:
    client = client_of.__wrapped__(region_name="eu-central-1")
    seen: list[str] = []
    client.meta.events.register("before-sign.s3.GetObject", lambda **_: seen.append("signed"))
    assert url(S3Store("bucket", client=client), KEY) == by_boto3("bucket", KEY, region_name="eu-central-1")
    assert seen == ["signed"]


def test_without_credentials_there_is_a_typed_error() -> None:
    session = boto3.Session()
    with patch("botocore.session.Session.get_credentials", return_value=None):
        store = S3Store("bucket", region="eu-central-1", session=session)
        with pytest.raises(ReplicaError, match="credentials"):
            store.locate("k")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-30T10:45:30.000Z",
        "2026-11-30T10:45:30Z",
        "2026-11-30T10:45:30.123456789Z",
        "20261130T104530Z",
        "Mon, 30 Nov 2026 10:45:30 GMT",
        "2026-11-30T10:45:30+01:00",
        1_700_000_000,
        "1700000000.5",
    ],
)
def test_times_are_read_as_botocore_reads_them(text: str | float) -> None:
    assert _timestamp(text) == parse_timestamp(text)


@pytest.mark.parametrize("text", ["Z", "", "yesterday"])
def test_what_is_no_time_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        _timestamp(text)
