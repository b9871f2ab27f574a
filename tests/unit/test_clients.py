"""Replica clients: URLs, the directory client, and what the base class provides."""

import io
import os
import re
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, TXID, FileClient, Replica, ReplicaClient, client_from_url, clients
from ltxcore.clients import as_client
from ltxcore.errors import ConfigError, LTXFileExistsError, LTXFileNotFoundError, ReplicaError

from tests.unit.memory import EPOCH, MemoryClient, filled_client, ltx_file, page

FIRST = ltx_file({1: page(1)}, commit=1, min_txid=1)
OTHER = ltx_file({1: page(2)}, commit=1, min_txid=1)
ONE = TXID(1)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///var/backups/app", "/var/backups/app"),
        ("FILE:///a/../b/./c/", "/b/c"),
        ("file:///a?", "/a"),
        ("file:///with%20escape", "/with%20escape"),
        ("file:////double", "/double"),
    ],
)
def test_file_urls_are_read_as_litestream_reads_them(url: str, path: str) -> None:
    client = client_from_url(url)
    assert isinstance(client, FileClient)
    assert client.path == Path(path)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("/var/backups", "needs a scheme"),
        ("backups", "needs a scheme"),
        ("s3:/bucket", "needs a scheme"),
        ("nowhere://x", "no replica client for the URL scheme 'nowhere'"),
        ("file://", "path required"),
        ("file:///", "path required"),
        ("file://relative/x", "has no host"),
        ("file://localhost/x", "has no host"),
        ("", "is empty"),
        ("file:///a?x=1", "unknown parameter of the URL file:///a: x"),
    ],
)
def test_bad_urls_are_explained(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        client_from_url(url)
    assert caught.value.key == "url"


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError):
        client_from_url("file:///a", region="x")


def test_other_packages_provide_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mem", "tests.unit.test_clients:make_client", clients.ENTRY_POINT_GROUP)
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda **chosen: EntryPoints([entry]).select(**chosen)
    )
    client = client_from_url("mem://place", speed=3)
    assert isinstance(client, MemoryClient)
    assert made_with == [("mem://place", {"speed": 3})]


made_with: list[tuple[str, dict[str, object]]] = []


def make_client(url: str, **options: object) -> ReplicaClient:
    made_with.append((url, options))
    return MemoryClient()


def test_sources_of_all_kinds_become_clients(tmp_path: Path) -> None:
    client = MemoryClient()
    assert as_client(client) is client
    assert isinstance(as_client(tmp_path), FileClient)
    assert isinstance(as_client("file:///a"), FileClient)


@pytest.mark.parametrize(
    "text", ["backup", "backups/app", "./s3:/x", "./s3:x", "a b", "C:/x", "x:y", "?a=b", "~"]
)
def test_a_text_without_two_slashes_is_a_path(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for source in (text, os.path.join(tmp_path, text)):
        client = as_client(source)
        assert isinstance(client, FileClient)
        assert client.path == tmp_path / text
    assert Replica(text).client.path == tmp_path / text  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text", ["s3:/bucket/x", "file:/x", "S3:/x", "webdavs:/x", "s3:bucket/x", "gs:x", "file:x"]
)
def test_a_url_that_has_lost_a_slash_is_no_path(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Path("s3://bucket")` is one, too. It was a directory of that name."""
    monkeypatch.chdir(tmp_path)
    calls: list[Callable[[], object]] = [
        lambda: as_client(text),
        lambda: as_client(Path(text)),
        lambda: FileClient(text),
        lambda: DB(text),
        lambda: DB("a.db", meta_path=text),
        lambda: ltxcore.restore(tmp_path, text),
        lambda: ltxcore.follow(tmp_path, text),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="without its slashes") as caught:
            call()
        assert caught.value.hint is not None and f"{text.partition(':')[0]}://..." in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_url_is_no_path_where_only_a_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`replicate(url, path)`, the wrong way round, waited for a database of that name for ever."""
    monkeypatch.chdir(tmp_path)
    calls: dict[str, Callable[[], object]] = {
        "path": lambda: ltxcore.replicate("file:///r", "app.db"),
        "meta_path": lambda: DB("a.db", meta_path="file:///x"),
        "output": lambda: ltxcore.restore(tmp_path, "file:///x"),
        "url": lambda: FileClient("file:///x"),
    }
    for key, call in calls.items():
        with pytest.raises(ConfigError, match="is a URL: file:///") as caught:
            call()
        assert caught.value.key == key
    assert list(tmp_path.iterdir()) == []


def test_parameters_of_a_url() -> None:
    known = ("region", "part-size")
    assert clients.url_parameters("s3://b/p", known) == {}
    assert clients.url_parameters("s3://b/p?region=a%20b&part-size=", known) == {
        "region": "a b",
        "part-size": "",
    }
    faults = {
        "s3://b?regoin=x": ("unknown parameter of the URL s3://b: regoin", "did you mean region?"),
        "s3://b?zzz": ("unknown parameter of the URL s3://b: zzz", "the parameters are part-size, region"),
        "s3://b?region=x&region=y": ("parameter given twice in the URL", "give it once"),
    }
    for url, (message, hint) in faults.items():
        with pytest.raises(ConfigError, match=re.escape(message)) as caught:
            clients.url_parameters(url, known)
        assert (caught.value.key, caught.value.hint) == ("url", hint)


def test_files_are_stored_listed_and_deleted(tmp_path: Path) -> None:
    client = FileClient(tmp_path / "replica")
    assert list(client.ltx_files(0)) == []
    client.init()
    client.init()
    written = client.write_ltx_file(0, ONE, ONE, io.BytesIO(FIRST))
    assert list(client.ltx_files(0)) == [written]
    assert (written.level, written.min_txid, written.max_txid, written.size) == (0, 1, 1, len(FIRST))
    assert (written.created_at - EPOCH).total_seconds() == 1
    assert type(written.min_txid) is TXID
    assert list(client.ltx_files(0, seek=TXID(2))) == []
    assert (tmp_path / "replica/ltx/0" / written.name).read_bytes() == FIRST
    client.delete_ltx_files([written, written])
    assert list(client.ltx_files(0)) == []
    client.write_ltx_file(3, ONE, ONE, io.BytesIO(FIRST))
    client.delete_all()
    assert list(client.ltx_files(3)) == []


def test_ranges_are_read(tmp_path: Path) -> None:
    client = FileClient(tmp_path)
    (tmp_path / "one").write_bytes(FIRST)
    client.write_ltx_path(0, ONE, ONE, tmp_path / "one")
    assert client.read_ltx_file(0, ONE, ONE) == FIRST
    assert client.read_ltx_file(0, ONE, ONE, offset=5, size=7) == FIRST[5:12]
    for options in ({}, {"offset": 9}, {"offset": 9, "size": 4}, {"offset": 1000, "size": 4}):
        start, size = options.get("offset", 0), options.get("size", 1 << 20)
        with client.open_ltx_file(0, ONE, ONE, **options) as file:
            assert file.read() == FIRST[start : start + size]


def test_a_txid_is_taken_once(tmp_path: Path) -> None:
    client = FileClient(tmp_path)
    first = client.write_ltx_file(0, ONE, ONE, io.BytesIO(FIRST))
    assert client.write_ltx_file(0, ONE, ONE, io.BytesIO(FIRST)) == first
    with pytest.raises(LTXFileExistsError, match="another writer") as caught:
        client.write_ltx_file(0, ONE, ONE, io.BytesIO(OTHER))
    assert isinstance(caught.value, FileExistsError)
    assert (caught.value.client_type, caught.value.level, caught.value.min_txid) == ("file", 0, 1)
    assert caught.value.hint in caught.value.__notes__[0]
    assert client.read_ltx_file(0, ONE, ONE) == FIRST


def test_what_is_missing_is_a_file_not_found_error(tmp_path: Path) -> None:
    client = FileClient(tmp_path)
    for read in (client.read_ltx_file, client.open_ltx_file):
        with pytest.raises(LTXFileNotFoundError) as caught:
            read(2, ONE, TXID(9))
        error = caught.value
        assert isinstance(error, FileNotFoundError)
        assert (error.level, error.min_txid, error.max_txid) == (2, 1, 9)
        assert type(error.max_txid) is TXID
        assert error.path == str(tmp_path / "ltx/2/0000000000000001-0000000000000009.ltx")


def test_a_place_that_cannot_be_written_is_noticed_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(ReplicaError, match="cannot create") as caught:
        FileClient(tmp_path / "file" / "replica").init()
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(ReplicaError):
        FileClient(tmp_path / "file").write_ltx_file(0, ONE, ONE, io.BytesIO(FIRST))


def test_data_that_fails_stores_nothing(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise LookupError("source went away")

    client = FileClient(tmp_path)
    with pytest.raises(LookupError, match="source went away"):
        client.write_ltx_file(0, ONE, ONE, Broken())
    assert list(client.ltx_files(0)) == []
    assert [name for _, _, names in os.walk(tmp_path) for name in names] == []


def test_the_base_class_reads_and_sends_whole_files(tmp_path: Path) -> None:
    client = filled_client()
    data = client.files[0, 1, 1]
    assert client.read_ltx_file(0, ONE, ONE, offset=3, size=5) == data[3:8]
    assert client.opened[-1].closed
    (tmp_path / "one").write_bytes(FIRST)
    with client as entered:
        entered.init()
        assert entered.write_ltx_path(4, ONE, ONE, tmp_path / "one").level == 4
    assert client.files[4, 1, 1] == FIRST


def test_an_incomplete_client_cannot_be_made() -> None:
    class Half(ReplicaClient):
        def delete_all(self) -> None: ...

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]  # the point of the test


def test_an_empty_path_is_not_the_current_directory() -> None:
    """A variable that was not set replicated into whatever directory the program was in."""
    with pytest.raises(ConfigError, match="path of the replica is empty"):
        FileClient("")
    with pytest.raises(ConfigError, match="the path of the replica is empty"):
        DB("a.db", replica="")


def test_a_host_in_a_file_url_is_not_taken_for_a_directory() -> None:
    """`file://rep` was /rep, as it is for Litestream, where a directory `rep` was meant."""
    with pytest.raises(ConfigError) as caught:
        client_from_url("file://rep/x?y=1")
    assert (
        caught.value.hint is not None
        and "file:///rep/x for the path /rep/x, as Litestream" in caught.value.hint
    )
