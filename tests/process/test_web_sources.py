"""Replicas that are read from real web servers: with a listing and without, with byte ranges and without."""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ltxcore
from ltxcore import TXID, Replica
from ltxcore.clients.http import HTTPClient
from ltxcore.errors import (
    Error,
    FormatError,
    LTXFileNotFoundError,
    NoSnapshotError,
    ReplicaError,
    ReplicaPermissionError,
)

from tests.helpers.proxy import Proxy
from tests.helpers.replicas import Source
from tests.helpers.web_servers import (
    PAGES,
    SERVERS,
    PythonServer,
    RcloneHTTP,
    WebServer,
    fill,
    open_to_all,
    restored,
    url_of,
    with_ranges,
)
from tests.unit.databases import eventually
from tests.unit.memory import ltx_file

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("short_pauses"), pytest.mark.timeout(180)]

#: A listing that is not there, four directory pages, the head of the snapshot, its beginning, and one file of level 0.
MOST_REQUESTS = 10


@pytest.fixture(params=sorted(SERVERS))
def server(request: pytest.FixtureRequest, root: Path) -> Iterator[WebServer]:
    with SERVERS[request.param](root) as server:
        yield server


@pytest.mark.parametrize("listed", [True, False], ids=["listing", "pages"])
@pytest.mark.parametrize("layout", ["ltx/{}", "000{}"])
def test_a_replica_is_restored(
    server: WebServer, root: Path, tmp_path: Path, layout: str, listed: bool
) -> None:
    folder = fill(root / "app", layout=layout)
    local = fill(tmp_path / "local")
    expected = restored(local, tmp_path / "expected.db")
    if listed:
        listing = Replica(local)
        assert listing.write_listing(folder / "ltx.json") == 4
        text = (folder / "ltx.json").read_text()
        (folder / "ltx.json").write_text(text.replace('"ltx/', '"000') if layout != "ltx/{}" else text)
    source = url_of(server)
    assert restored(source, tmp_path / "new.db") == expected
    assert restored(source, tmp_path / "old.db", txid=1) == restored(
        local, tmp_path / "old-expected.db", txid=1
    )
    points = ltxcore.restore_points(source)
    assert points == ltxcore.restore_points(local)
    assert ltxcore.restore_plan(source) == ltxcore.restore_plan(local)
    client = ltxcore.client_from_url(source)
    assert [*client.all_ltx_files()] == [*ltxcore.FileClient(local).all_ltx_files(use_metadata=True)]
    assert [*client.ltx_files(0, seek=TXID(2))] == [
        *ltxcore.FileClient(local).ltx_files(0, seek=TXID(2), use_metadata=True)
    ]
    assert [*client.ltx_files(5)] == []
    assert (
        client.read_ltx_file(0, TXID(1), TXID(1), offset=1_000_000, size=10)
        == ((local / "ltx/0/0000000000000001-0000000000000001.ltx").read_bytes()[1_000_000:1_000_010])
    )
    with pytest.raises(LTXFileNotFoundError):
        client.read_ltx_file(0, TXID(7), TXID(7))


def test_a_replica_is_followed_and_updated(server: WebServer, root: Path, tmp_path: Path) -> None:
    """As files come to the server one after the other, with directory pages, which are always new."""
    (root / "app").mkdir()
    origin = Source(root / "app")
    origin.move()
    source = url_of(server, "app/replica")
    open_to_all(root)
    assert not ltxcore.restore(source, tmp_path / "copy.db", update=True).updated
    with ltxcore.follow(source, tmp_path / "followed.db", interval=0.05) as followed:
        assert followed.txid == 2
        origin.move()
        open_to_all(root)
        eventually(lambda: followed.txid == 3)
    result = ltxcore.restore(source, tmp_path / "copy.db", update=True)
    assert (result.pos.txid, result.updated, len(result.files)) == (3, True, 1)
    assert (tmp_path / "copy.db").read_bytes() == restored(origin.replica, tmp_path / "expected.db")


def test_a_file_that_was_seen_while_it_was_copied_is_seen_again(
    server: WebServer, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first size was kept for good, and the follower failed for good."""
    monkeypatch.setattr("ltxcore.clients.http._index._FIRST_PAUSE", 0.2)
    (root / "app").mkdir()
    origin = Source(tmp_path)
    origin.move()
    shutil.copytree(origin.replica, root / "app", dirs_exist_ok=True)
    open_to_all(root)
    client = ltxcore.client_from_url(url_of(server))
    with ltxcore.follow(client, tmp_path / "followed.db", interval=0.05) as followed:
        assert followed.txid == 2
        # More than is read at once.
        origin.move(rows=6000)
        name = "ltx/0/0000000000000003-0000000000000003.ltx"
        whole = (origin.replica / name).read_bytes()
        (root / "app" / name).write_bytes(whole[: len(whole) * 2 // 3])
        open_to_all(root)
        eventually(lambda: isinstance(followed.error, FormatError), timeout=60)
        (root / "app" / name).write_bytes(whole)
        eventually(lambda: followed.txid == 3, timeout=60)
    assert restored(client, tmp_path / "out.db") == restored(origin.replica, tmp_path / "expected.db")


def test_servers_without_ranges_send_each_file_once(root: Path, tmp_path: Path) -> None:
    fill(root / "app")
    with PythonServer(root) as server:
        client = HTTPClient(url_of(server))
        restored(client, tmp_path / "a.db")
        sent = client.requests_sent()["GET"]
        # Nothing that is known is asked for again: neither the sizes of files nor the snapshot.
        restored(client, tmp_path / "b.db")
        assert client.requests_sent()["GET"] - sent < sent
        assert client.requests_sent()["GET"] - sent <= MOST_REQUESTS
        client.close()
        assert restored(client, tmp_path / "c.db") == restored(root / "app", tmp_path / "d.db")


def test_what_is_not_there_is_said(root: Path, tmp_path: Path) -> None:
    with with_ranges(root) as server:
        (root / "empty").mkdir()
        for path in ("nowhere", "empty"):
            with pytest.raises(
                NoSnapshotError, match=r"neither the listing ltx\.json nor directory pages"
            ) as caught:
                ltxcore.restore(url_of(server, path), tmp_path / "out.db")
            assert "ltxcore listing" in str(caught.value.hint)
        (root / "wrong").mkdir()
        for text in ("<html>", "[]", "{}", '{"version": 1}', '{"version": 1, "folders": [], "files": []}'):
            (root / "wrong/ltx.json").write_text(text)
            with pytest.raises(FormatError, match="not a listing of LTX files"):
                ltxcore.restore_points(url_of(server, "wrong"))
        (root / "wrong/ltx.json").write_text('{"version": 2}')
        with pytest.raises(FormatError, match="version 2, and 1 is the only one"):
            ltxcore.restore_points(url_of(server, "wrong"))
    with pytest.raises(ReplicaError, match=r"connection to 127\.0\.0\.1"):
        ltxcore.restore_points(url_of(server))
    assert not (tmp_path / "out.db").exists()


def test_a_wrong_password_is_refused_and_not_shown(root: Path, tmp_path: Path) -> None:
    fill(root / "app")
    with RcloneHTTP(root) as server, pytest.raises(ReplicaPermissionError, match="status 401") as caught:
        ltxcore.restore(f"http://reader:not-the-one@127.0.0.1:{server.port}/app", tmp_path / "out.db")
    assert "password" in str(caught.value.hint)
    assert "not-the-one" not in f"{caught.value!r} {vars(caught.value)}"


FAULTS = {
    "busy": {"fault": "respond", "status": 503, "code": "SlowDown"},
    "failing": {"fault": "respond", "status": 500, "code": "InternalError"},
    "drop": {"fault": "drop"},
    "truncate": {"fault": "truncate", "at": 300},
    "reset": {"fault": "reset", "at": 300},
    "length": {"fault": "length", "at": 100},
    "garbage": {"fault": "garbage"},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", [r"ltx\.json", r"\.ltx"])
def test_faults_pass_or_are_said(
    root: Path, tmp_path: Path, proxied: Callable[..., Proxy], fault: str, path: str
) -> None:
    folder = fill(root / "app")
    expected = restored(folder, tmp_path / "expected.db")
    Replica(folder).write_listing()
    with with_ranges(root) as server:
        proxy = proxied(server.url)
        source = f"{proxy.url}/app"
        proxy.fault(path=path, times=2, **FAULTS[fault])  # type: ignore[arg-type]
        assert restored(source, tmp_path / "out.db") == expected
        proxy.calm()
        proxy.forget()
        proxy.fault(path=path, times=None, **FAULTS[fault])  # type: ignore[arg-type]
        began = time.monotonic()
        with pytest.raises(Error) as caught:
            ltxcore.restore(source, tmp_path / "none.db")
        assert time.monotonic() - began < 60
        assert isinstance(caught.value, ReplicaError | FormatError), caught.value
        assert len(proxy.requests()) < 200
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_changes_between_two_ranges_is_no_mixture(
    root: Path, tmp_path: Path, proxied: Callable[..., Proxy]
) -> None:
    """The checksum of the file finds it, whatever the server says about versions."""
    folder = fill(root / "app")
    Replica(folder).write_listing()
    snapshot = folder / "ltx/9/0000000000000001-0000000000000002.ltx"
    chance = random.Random(8)
    pages = {pgno: chance.randbytes(512) for pgno in range(1, PAGES + 1)}
    other = ltx_file(pages | {9: b"9" * 512}, commit=PAGES, min_txid=1, max_txid=2)
    assert len(other) == snapshot.stat().st_size
    with with_ranges(root) as server:
        proxy = proxied(server.url)
        # Ranges of the snapshot are sent anew from another file than the first ones.
        proxy.fault("delay", path=r"/9/", skip=3, times=None, seconds=1.0)
        client = HTTPClient(f"{proxy.url}/app")

        def swap(_progress: object) -> None:
            if proxy.requests() and snapshot.read_bytes() != other:
                snapshot.with_suffix(".tmp").write_bytes(other)
                snapshot.with_suffix(".tmp").rename(snapshot)

        with pytest.raises(FormatError):
            ltxcore.restore(client, tmp_path / "out.db", txid=2, progress=swap)
        proxy.calm()
        assert restored(client, tmp_path / "out.db", txid=2) == restored(folder, tmp_path / "new.db", txid=2)


def test_files_that_vanish_are_planned_around(
    root: Path, tmp_path: Path, proxied: Callable[..., Proxy]
) -> None:
    """Between the listing and the read, the snapshot is deleted, and the listing written again."""
    folder = fill(root / "app")
    Replica(folder).write_listing()
    expected = restored(folder, tmp_path / "expected.db")
    shutil.rmtree(folder / "ltx/9")
    with with_ranges(root) as server:
        proxy = proxied(server.url)
        proxy.fault("delay", path=r"/9/", seconds=1.0)
        client = HTTPClient(f"{proxy.url}/app")
        listed = client.store.page

        def page(key: str) -> bytes:
            try:
                return listed(key)
            finally:
                Replica(folder).write_listing()

        client.store.page = page  # type: ignore[method-assign]
        assert restored(client, tmp_path / "out.db") == expected


def test_redirects_are_followed_without_secrets(
    root: Path, tmp_path: Path, proxied: Callable[..., Proxy]
) -> None:
    folder = fill(root / "app")
    Replica(folder).write_listing()
    with with_ranges(root) as server:
        first, other = proxied(server.url), proxied(server.url)
        name = r"ltx/9/0000000000000001-0000000000000002\.ltx"
        target = "/app/" + name.replace("\\", "")
        first.redirect(f"{other.url}{target}", path=name, times=None)
        source = f"http://reader:secret@127.0.0.1:{first.port}/app?token=secret"
        assert restored(source, tmp_path / "out.db") == restored(folder, tmp_path / "expected.db")
        assert any("token=secret" in record.target for record in first.requests())
        assert other.requests()
        assert not any("secret" in record.target for record in other.requests())
        first.calm()
        first.redirect(f"{first.url}/app/ltx.json", path=r"ltx\.json", times=None)
        with pytest.raises(ReplicaError, match="redirects"):
            ltxcore.restore_points(source)


def test_a_listing_is_written_into_a_directory_whole(tmp_path: Path) -> None:
    folder = fill(tmp_path / "app")
    assert Replica(folder).write_listing() == 4
    first = (folder / "ltx.json").read_text()
    assert Replica(folder).write_listing(tmp_path / "elsewhere.json") == 4
    assert (tmp_path / "elsewhere.json").read_text() == first
    assert (folder / "ltx.json").stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in folder.iterdir()) == ["ltx", "ltx.json"]
    # It is in nobody's way.
    assert len([*Replica(folder).files()]) == 4
    with pytest.raises(NoSnapshotError, match="the replica is empty"):
        Replica(tmp_path / "nothing").write_listing()
    # As with other commands that write one file, and not as with databases.
    with pytest.raises(FileNotFoundError):
        Replica(folder).write_listing(tmp_path / "missing/ltx.json")
    assert not (tmp_path / "missing").exists()
