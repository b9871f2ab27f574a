"""URLs that are signed without botocore are those that it would make."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import boto3
import botocore.auth
import pytest
from botocore.config import Config

from ltxcore.clients.s3 import S3Store
from ltxcore.stores import SignedURL

SECRET = "secret/+key=0123456789"
KEYS = [
    "app/0000/0000000000000001-0000000000000001.ltx",
    "/0009/0000000000000001-00000000000000ff.ltx",
    "a b/\u00fc~(1)+*&?=%/0001/x.ltx",
]


def store(**options: object) -> S3Store:
    session = boto3.Session("AKID", SECRET, options.pop("token", None), "eu-central-1")  # type: ignore[arg-type]
    return S3Store("bucket", session=session, **options)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """botocore signs at one moment, and how often is counted."""
    signed = []

    class Signer(botocore.auth.S3SigV4QueryAuth):
        def add_auth(self, request: object) -> None:
            signed.append(request)
            super().add_auth(request)

    monkeypatch.setitem(botocore.auth.AUTH_TYPE_MAPS, "s3v4-query", Signer)
    return lambda: len(signed)


def url_of(place: SignedURL | None) -> str:
    assert place is not None
    return place.url


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"token": "token/+=of a session"},
        {"endpoint": "http://127.0.0.1:9000", "force_path_style": True},
        {"endpoint": "https://storage.example:8443/", "region": "fsn1"},
        {"sse_customer_key": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="},
    ],
    ids=["plain", "token", "path style", "other port", "customer's key"],
)
def test_they_are_those_of_botocore(options: dict[str, object], clock: Callable[[], int]) -> None:
    fast = store(**options)
    url_of(fast.locate("first"))
    begun, signed = clock(), 0
    for key in KEYS:
        ours, theirs = url_of(fast.locate(key)), fast._presign(key)
        signed += 1
        if _date(ours) != _date(theirs):  # another second has begun
            fast._presigner._template = None
            url_of(fast.locate(key))
            ours, theirs = url_of(fast.locate(key)), fast._presign(key)
            signed += 2
        assert urlsplit(ours)[:3] == urlsplit(theirs)[:3]
        assert parse_qs(urlsplit(ours).query) == parse_qs(urlsplit(theirs).query)
    assert clock() - begun == signed


def _date(url: str) -> list[str]:
    return parse_qs(urlsplit(url).query)["X-Amz-Date"]


def test_botocore_signs_one_of_many(clock: Callable[[], int]) -> None:
    fast = store()
    places = [fast.locate(f"app/{number}") for number in range(100)]
    assert clock() == 1
    now = datetime.now(UTC)
    assert all(
        place and timedelta(minutes=58) < place.expires_at - now <= timedelta(hours=1) for place in places
    )


def test_what_is_signed_in_another_way_is_left_to_botocore(
    monkeypatch: pytest.MonkeyPatch, clock: Callable[[], int]
) -> None:
    other = store()
    monkeypatch.setattr(other._presigner, "_secret", lambda: None)
    for number in range(5):
        assert f"app/{number}?" in url_of(other.locate(f"app/{number}"))
    assert clock() == 5
    wrong = store()
    monkeypatch.setattr(wrong._presigner, "_secret", lambda: "another")
    assert (
        url_of(wrong.locate("a")).split("X-Amz-Date")[0] == url_of(wrong.locate("a")).split("X-Amz-Date")[0]
    )
    assert clock() == 7


def test_a_client_with_other_signatures_has_no_urls() -> None:
    client = boto3.Session("AKID", SECRET, None, "eu-central-1").client(
        "s3", config=Config(signature_version="s3")
    )
    assert S3Store("bucket", client=client).locate("a") is None


def test_nothing_of_it_is_shown() -> None:
    fast = store()
    place = fast.locate("app/1")
    assert SECRET not in repr(fast._presigner._template) and "Signature" not in repr(
        fast._presigner._template
    )
    assert "Signature" not in repr(place)
