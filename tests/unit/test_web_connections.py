"""Replicas on web servers over TLS, through a proxy, with headers, and in a forked child."""

import os
import threading
from pathlib import Path

import pytest

import ltxcore
from ltxcore import TXID
from ltxcore.clients._listing import encode
from ltxcore.clients.http import HTTPClient
from ltxcore.errors import ReplicaError, ReplicaPermissionError
from ltxcore.stores import HTTPOptions

from tests.helpers.http_server import SECRET, Proxy, RangeServer, Request
from tests.unit.located import as_in_a_new_process, big, restored, server
from tests.unit.test_located_connections import authority

__all__ = ["as_in_a_new_process", "server"]


def publish(server: RangeServer) -> None:
    """A replica, and its listing."""
    client = big()
    folders = tuple(f"{level:04x}" for level in range(10))
    for (level, low, high), data in client.files.items():
        server.objects[f"/app/{folders[level]}/{int(low):016x}-{int(high):016x}.ltx"] = data
    server.objects["/app/ltx.json"] = encode(folders, client.all_ltx_files(use_metadata=True))


def source(server: RangeServer, host: str = "127.0.0.1") -> str:
    return server.url("/app", host=host)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "AWS_CA_BUNDLE"])
def test_a_bundle_is_trusted(tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, context = authority(tmp_path)
    with RangeServer(context).running() as server:
        publish(server)
        with pytest.raises(
            ReplicaError, match=r"certificate of 127\.0\.0\.1:[0-9]+ is not trusted"
        ) as caught:
            ltxcore.restore(source(server), tmp_path / "none.db")
        assert "SSL_CERT_FILE" in str(caught.value.hint)
        assert server.requests == []
        monkeypatch.setenv(variable, str(bundle))
        assert restored(HTTPClient(source(server)), tmp_path / "a.db") == restored(big(), tmp_path / "b.db")
        monkeypatch.delenv(variable)
        trusting = HTTPClient(source(server), options=HTTPOptions(verify=False))
        assert restored(trusting, tmp_path / "a.db") == (tmp_path / "b.db").read_bytes()


def test_a_proxy_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, context = authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with RangeServer(context).running() as server, Proxy().running() as proxy:
        publish(server)
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@127.0.0.1:{proxy.server_port}")
        # Only the proxy knows this name.
        client = HTTPClient(source(server, "replica.test"))
        assert restored(client, tmp_path / "a.db") == restored(big(), tmp_path / "b.db")
        assert {target for target, _ in proxy.tunnels} == {f"replica.test:{server.server_port}"}
        monkeypatch.setenv("NO_PROXY", "replica.test")
        with pytest.raises(ReplicaError):
            restored(client, tmp_path / "c.db")


def test_headers_are_sent_with_every_request(server: RangeServer, tmp_path: Path) -> None:
    publish(server)
    client = HTTPClient(source(server), headers={"Authorization": "Bearer x", "X-Own": "y"})
    restored(client, tmp_path / "out.db")
    assert len(server.requests) > 4
    assert all(request.headers["authorization"] == "Bearer x" for request in server.requests)
    assert all(request.headers["x-own"] == "y" for request in server.requests)
    assert client.requests_sent() == {"GET": len(server.requests)}


def test_a_refused_token_is_an_error_that_says_so(server: RangeServer, tmp_path: Path) -> None:
    publish(server)
    client = HTTPClient(source(server))
    assert [*client.ltx_files(0)]
    server.tokens.clear()
    for call in (
        lambda: client.read_ltx_file(0, TXID(1), TXID(1)),
        lambda: [*client.ltx_files(0)],
        lambda: ltxcore.restore(client, tmp_path / "out.db"),
    ):
        with pytest.raises(
            ReplicaPermissionError, match=r"refused the request .status 403.: http://127"
        ) as caught:
            call()
        assert caught.value.client_type == "http"
        assert "parameters of the URL" in str(caught.value.hint)
        assert SECRET not in f"{caught.value!r} {vars(caught.value)}"


@pytest.mark.parametrize("fault", ["gzip", "range", "no range", "short", "cut", "reset"])
def test_wrong_answers_are_errors_or_pass(server: RangeServer, tmp_path: Path, fault: str) -> None:
    """Of a server that gives them now and then, and of one that gives no other. Whoever compresses once does so always."""
    publish(server)
    left = [2]

    def now_and_then(request: Request) -> str:
        left[0] -= request.path.endswith(".ltx")
        return fault if left[0] in (0, 1) and request.path.endswith(".ltx") else ""

    server.fault = now_and_then if fault != "gzip" else server.fault
    assert restored(HTTPClient(source(server)), tmp_path / "a.db") == restored(big(), tmp_path / "b.db")
    server.fault = lambda request: fault if request.path.endswith(".ltx") else ""
    with pytest.raises(ReplicaError):
        ltxcore.restore(HTTPClient(source(server)), tmp_path / "c.db")


def test_a_forked_child_reads_while_the_parent_downloads(server: RangeServer, tmp_path: Path) -> None:
    """Of a server without ranges; the lock of the download is the parent's."""
    publish(server)
    expected = restored(big(), tmp_path / "expected.db")
    began, go_on = threading.Event(), threading.Event()
    parent = os.getpid()

    def fault(request: Request) -> str:
        # The requests of the child come to this process, too.
        first = int(request.headers["range"].partition("=")[2].partition("-")[0])
        is_whole = not first and request.headers["range"].endswith("-")
        if request.path.endswith("01.ltx") and is_whole and not began.is_set():
            began.set()
            go_on.wait(20)
        return "whole"

    server.fault = fault
    client = HTTPClient(source(server))
    thread = threading.Thread(target=restored, args=(client, tmp_path / "parent.db"))
    thread.start()
    assert began.wait(20)
    child = os.fork()
    if not child:
        try:
            is_same = restored(client, tmp_path / "child.db") == expected
        finally:
            os._exit(0 if os.getpid() != parent and is_same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    go_on.set()
    thread.join()
    assert (tmp_path / "parent.db").read_bytes() == expected
