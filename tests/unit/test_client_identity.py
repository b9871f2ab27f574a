"""What stands for a replica in other processes."""

from pathlib import Path

import pytest

from ltxcore.clients import as_client
from ltxcore.clients._identity import lasting_name
from ltxcore.clients.objects import ObjectReplicaClient

from tests.helpers.stores import MemoryStore


@pytest.mark.parametrize(
    "url", ["s3://bucket/app", "s3://bucket/app?endpoint=http://127.0.0.1:9000", "https://example.org/app"]
)
def test_a_url_is_the_same_replica_in_every_process(url: str) -> None:
    name = lasting_name(as_client(url))
    assert name is not None
    assert name == lasting_name(as_client(url))
    assert name != lasting_name(as_client(url.replace("app", "other", 1)))


def test_a_directory_is_known_by_its_path(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "replica")
    assert lasting_name(as_client(link)) == lasting_name(as_client(tmp_path / "replica"))


def test_a_store_of_which_only_a_number_is_known_has_none() -> None:
    assert lasting_name(ObjectReplicaClient(MemoryStore(), "app")) is None


SAME = [
    ("https://example.org/app", "https://EXAMPLE.org:443/app/"),
    ("http://example.org/app", "http://example.org:80/app"),
    # A password may be changed.
    ("https://me:old@example.org/app?tenant=a", "https://me:new@example.org/app?tenant=a"),
]
URLS = [
    "https://example.org/app",
    "http://example.org/app",
    "https://example.org:80/app",
    "https://example.org/app?tenant=the-a",
    "https://example.org/app?tenant=the-b",
    "https://the-a@example.org/app",
    "https://the-b@example.org/app",
    "https://the-b@example.org/app?tenant=the-a",
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_a_url_may_be_written_in_several_ways(one: str, other: str) -> None:
    assert lasting_name(as_client(one)) == lasting_name(as_client(other))


def test_a_web_server_may_have_a_replica_for_each_user_and_parameter() -> None:
    """They shared the journal of a restore and its cache."""
    names = [str(lasting_name(as_client(url))) for url in URLS]
    assert len(set(names)) == len(URLS)
    assert "the-" not in "".join(names)
