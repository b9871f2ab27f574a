"""Files that Rust reads where their client says that they are: paths, and URLs of servers that are not always well."""

import io
import logging
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import pytest

import ltxcore
from ltxcore import TXID, FileClient, Replica
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import LTXFileNotFoundError, ReplicaError, ReplicaTimeoutError
from ltxcore.stores import HTTPOptions, SignedURL

from tests.helpers.http_server import SECRET, RangeServer, Request
from tests.helpers.replicas import Source
from tests.helpers.stores import MemoryStore
from tests.unit.located import LocatedClient, as_in_a_new_process, big, restored, server
from tests.unit.memory import MemoryClient, filled_client, history, merge, state

__all__ = ["as_in_a_new_process", "server"]


def once_each(fault: str, of: str = "range") -> Callable[[Request], str]:
    """Fails each range, or each file, once."""
    seen, lock = set(), threading.Lock()

    def choose(request: Request) -> str:
        what = request.path, request.headers.get(of)
        with lock:
            if what in seen:
                return ""
            seen.add(what)
        return fault

    return choose


def test_a_restore_reads_from_urls_and_asks_python_once_for_each(server: RangeServer, tmp_path: Path) -> None:
    client = LocatedClient(server, big())
    expected = restored(big(), tmp_path / "expected.db")
    server.requests.clear()
    assert restored(client, tmp_path / "out.db") == expected
    assert client.read == []
    assert sorted(client.located) == sorted(client.files)
    assert client.counter.requests == len(server.requests) >= 5
    assert client.counter.bytes >= sum(map(len, client.files.values()))
    assert all(request.headers["x-key"] == f"{SECRET}-key" for request in server.requests)
    # Whatever was under way at once, later restores use the connections of the first.
    at_once = len(server.requests)
    for _ in range(5):
        assert restored(client, tmp_path / "out.db") == expected
    assert server.connections <= at_once <= len(server.requests) // 4


@pytest.mark.parametrize(
    "fault",
    ["500", "503", "429", "cut", "reset", "stall", "long", "short", "range", "no range"],
)
def test_what_passes_changes_nothing(server: RangeServer, tmp_path: Path, fault: str) -> None:
    expected = restored(filled_client(), tmp_path / "expected.db")
    client = LocatedClient(server, filled_client())
    server.fault = once_each(fault, of="nothing")
    assert restored(client, tmp_path / "out.db") == expected
    assert client.read == []
    assert len(server.requests) > len(client.files)


@pytest.mark.parametrize("fault", ["cut", "reset", "503"])
def test_files_of_many_ranges_are_read_through_faults(
    server: RangeServer, tmp_path: Path, fault: str
) -> None:
    client = LocatedClient(server, big())
    expected = restored(big(), tmp_path / "expected.db")
    server.fault = once_each(fault)
    assert restored(client, tmp_path / "out.db") == expected
    assert client.read == []


def test_bodies_that_are_cut_all_the_time_are_put_together(server: RangeServer, tmp_path: Path) -> None:
    client = LocatedClient(server, big())
    expected = restored(big(), tmp_path / "expected.db")

    def cut(request: Request) -> str:
        first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        return "cut" if last - first > 100_000 else ""

    server.fault = cut
    assert restored(client, tmp_path / "out.db") == expected
    assert client.read == []


@pytest.mark.parametrize("fault", ["whole", "gzip", "403", "405", "to /elsewhere", "to ftp://127.0.0.1/"])
def test_what_a_server_cannot_do_the_client_does(
    server: RangeServer, tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = LocatedClient(server, big())
    expected = restored(big(), tmp_path / "expected.db")
    server.fault = lambda _request: fault
    caplog.set_level(logging.DEBUG)
    assert restored(client, tmp_path / "out.db") == expected
    assert client.read
    assert "cannot read without the client" in caplog.text
    assert f"127.0.0.1:{server.server_port}" in caplog.text
    assert SECRET not in caplog.text


def test_a_server_that_knows_no_ranges_is_good_for_small_files(server: RangeServer, tmp_path: Path) -> None:
    client = LocatedClient(server, filled_client())
    server.fault = lambda _request: "whole"
    assert restored(client, tmp_path / "out.db") == restored(filled_client(), tmp_path / "expected.db")
    assert client.read == []


@pytest.mark.parametrize(
    ("fault", "kind"), [("503", ReplicaError), ("reset", ReplicaError), ("stall", ReplicaTimeoutError)]
)
def test_what_does_not_pass_is_an_error(
    server: RangeServer, tmp_path: Path, fault: str, kind: type[ReplicaError]
) -> None:
    client = LocatedClient(server, filled_client(), stall_timeout=0.2)
    # Nothing of the body: what comes in part is gone on with.
    server.fault = lambda _request: fault
    server.objects = {path: data[:3] if fault == "stall" else data for path, data in server.objects.items()}
    with pytest.raises(kind, match="memory replica, level 0") as caught:
        ltxcore.restore(client, tmp_path / "out.db")
    assert SECRET not in everything_about(caught.value)
    assert not (tmp_path / "out.db").exists()


def everything_about(error: BaseException | None) -> str:
    """All that a program could show of an error."""
    shown = ["".join(traceback.format_exception(error))] if error else []
    while error is not None:
        shown += [str(error), repr(error), repr(vars(error)), repr(getattr(error, "__notes__", []))]
        error = error.__cause__ or error.__context__
    return "\n".join(shown)


@pytest.mark.parametrize("fault", ["404", "503", "403", "long", "stall", "to http://127.0.0.1:1/"])
def test_no_message_has_a_url_in_it(
    server: RangeServer,
    tmp_path: Path,
    fault: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    client = LocatedClient(server, filled_client(), stall_timeout=0.1, proxy="")
    server.fault = lambda _request: fault
    client.before_read = lambda _key: (_ for _ in ()).throw(ReplicaError("the client fails, too"))
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ltxcore.errors.Error) as caught:
        ltxcore.restore(client, tmp_path / "out.db")
    captured = capfd.readouterr()
    shown = everything_about(caught.value) + caplog.text + captured.out + captured.err
    shown += repr(client.locate(0, TXID(1), TXID(1))) + repr(client.counter)
    shown += repr(HTTPOptions(proxy=f"http://me:{SECRET}@proxy/"))
    assert "127.0.0.1" in shown or fault == "404"
    assert SECRET not in shown


def test_a_file_that_is_not_there_is_not_found(server: RangeServer, tmp_path: Path) -> None:
    client = LocatedClient(server, filled_client())
    del server.objects["/0/2-2"]
    with pytest.raises(LTXFileNotFoundError) as caught:
        ltxcore.restore(client, tmp_path / "out.db")
    assert (caught.value.level, caught.value.min_txid, caught.value.client_type) == (0, 2, "memory")
    assert client.read == []


def test_an_expired_url_is_replaced(server: RangeServer, tmp_path: Path) -> None:
    client = LocatedClient(server, big())
    expected = restored(big(), tmp_path / "expected.db")
    tokens, lock = iter(range(10_000)), threading.Lock()

    def token() -> str:
        with lock:
            return f"{SECRET}-{next(tokens)}"

    uses: dict[str, int] = {}

    def expire(request: Request) -> str:
        # Each URL is good for two requests.
        with lock:
            uses[request.token] = uses.get(request.token, 0) + 1
            server.tokens.add(request.token)
            return "403" if uses[request.token] > 2 else ""

    client.token, server.fault = token, expire
    ltxcore.restore(client, tmp_path / "out.db", parallelism=1)
    assert (tmp_path / "out.db").read_bytes() == expected
    assert client.read == []
    assert len(client.located) > len(client.files)


def test_a_url_is_asked_for_again_after_half_its_life(server: RangeServer, tmp_path: Path) -> None:
    client = LocatedClient(server, big())
    client.life = timedelta(0)
    assert restored(client, tmp_path / "out.db") == restored(big(), tmp_path / "expected.db")
    assert len(client.located) > len(client.files)
    assert client.read == []


def test_redirects_are_followed_without_the_headers(server: RangeServer, tmp_path: Path) -> None:
    with RangeServer().running() as other:
        client = LocatedClient(server, filled_client())
        other.objects = dict(server.objects)
        server.fault = lambda request: f"to {other.url(request.path)}"
        assert restored(client, tmp_path / "out.db") == restored(filled_client(), tmp_path / "expected.db")
        assert client.read == []
        assert other.requests
        assert not any("x-key" in request.headers for request in other.requests)


def test_compaction_reads_from_urls(server: RangeServer) -> None:
    client, plain = LocatedClient(server, history(5)), history(5)
    Replica(client).compact(1)
    merge(plain)
    assert client.files[1, 1, 5] == plain.files[1, 1, 5]
    assert client.read == []


def test_a_follower_reads_from_urls(server: RangeServer, tmp_path: Path) -> None:
    source, client = Source(tmp_path), LocatedClient(server, MemoryClient())

    def upload() -> TXID:
        key = 0, source.txid, source.txid
        client.add(key, source.client.read_ltx_file(0, TXID(source.txid), TXID(source.txid)))
        return TXID(source.txid)

    upload()
    with ltxcore.follow(client, tmp_path / "out.db", interval=0.05) as followed:
        for _ in range(3):
            source.move(1)
            followed.wait(upload(), timeout=10)
    # Whether a file is whole is looked at in Python.
    assert {request.path for request in server.requests} == set(server.objects)


def test_an_exception_of_locate_goes_through(server: RangeServer, tmp_path: Path) -> None:
    client = LocatedClient(server, filled_client())

    def token() -> str:
        raise ReplicaError("no credentials", transient=False)

    client.token = token  # type: ignore[assignment]
    with pytest.raises(ReplicaError, match="no credentials"):
        ltxcore.restore(client, tmp_path / "out.db")


class InDirectory(MemoryClient):
    type: ClassVar[str] = "directory"

    def __init__(self, directory: FileClient) -> None:
        super().__init__()
        self.directory = directory
        self.asked = 0

    def locate(self, level: int, min_txid: TXID, max_txid: TXID) -> Path:
        self.asked += 1
        return self.directory.locate(level, min_txid, max_txid)


def in_directory(tmp_path: Path, files: MemoryClient) -> InDirectory:
    client = InDirectory(FileClient(tmp_path / "replica"))
    for (level, low, high), data in files.files.items():
        client.directory.write_ltx_file(level, TXID(low), TXID(high), io.BytesIO(data))
    client.files = dict(files.files)
    return client


def test_a_path_is_read_without_the_client(tmp_path: Path) -> None:
    client = in_directory(tmp_path, big())
    assert restored(client, tmp_path / "out.db") == restored(big(), tmp_path / "expected.db")
    assert client.opened == []
    assert client.asked == len(client.files)
    client.directory.locate(0, TXID(2), TXID(2)).unlink()
    with pytest.raises(LTXFileNotFoundError, match="directory replica") as caught:
        ltxcore.restore(client, tmp_path / "gone.db")
    assert caught.value.path == str(client.directory.locate(0, TXID(2), TXID(2)))


def test_a_class_that_reads_in_its_own_way_is_not_asked(server: RangeServer, tmp_path: Path) -> None:
    class Own(LocatedClient):
        def open_ltx_file(self, *args: Any, **options: Any) -> BinaryIO:
            return super().open_ltx_file(*args, **options)

    class Store(MemoryStore):
        asked = 0

        def locate(self, key: str) -> SignedURL | None:
            type(self).asked += 1
            return None

    class OwnStore(Store):
        def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
            return super().read(key, offset=offset, size=size)

    own = Own(server, filled_client())
    patched = LocatedClient(server, filled_client())
    patched.open_ltx_file = patched.open_ltx_file  # type: ignore[method-assign]
    for client in (own, patched):
        assert state(client, tmp_path / "out.db") == 4
        assert client.located == []
        assert client.read
    for store, times in ((Store(), 3), (OwnStore(), 0)):
        objects = ObjectReplicaClient(store)
        for (level, low, high), data in filled_client().files.items():
            objects.write_ltx_file(level, TXID(low), TXID(high), io.BytesIO(data))
        Store.asked = 0
        assert state(objects, tmp_path / "out.db") == 4
        assert Store.asked == times


def test_a_url_of_another_kind_is_left_to_the_client(server: RangeServer, tmp_path: Path) -> None:
    client = LocatedClient(server, filled_client())
    server.scheme = "gopher"
    assert state(client, tmp_path / "out.db") == 4
    assert client.read
