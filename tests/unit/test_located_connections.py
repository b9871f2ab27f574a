"""How Rust connects to the URLs of a client: in a forked child, with certificates, and by proxies."""

import os
import signal
import ssl
import sys
import traceback
import warnings
from pathlib import Path

import pytest
import trustme

from tests.helpers.http_server import SECRET, Proxy, RangeServer
from tests.unit.located import LocatedClient, as_in_a_new_process, big, restored, server
from tests.unit.memory import filled_client, state

__all__ = ["as_in_a_new_process", "server"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_connects_anew(server: RangeServer, tmp_path: Path) -> None:
    client = LocatedClient(server, big())
    expected = restored(client, tmp_path / "before.db")
    connections = server.connections
    sys.stdout.flush()
    with warnings.catch_warnings():
        # The server has threads, which the child does not need.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            is_same = restored(client, tmp_path / "child.db") == expected and client.read == []
            os._exit(0 if is_same else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    # At the same time, over the connections of before.
    assert restored(client, tmp_path / "parent.db") == expected
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert connections < server.connections <= connections + 8 + 8
    assert restored(client, tmp_path / "after.db") == expected


def authority(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A file of a new authority's certificate, and a server that has one of it."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "bundle.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("127.0.0.1", "replica.test").configure_cert(context)
    return tmp_path / "bundle.pem", context


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", ""])
def test_a_bundle_is_trusted(tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, context = authority(tmp_path)
    if variable:
        monkeypatch.setenv(variable, str(bundle))
    with RangeServer(context).running() as server:
        client = LocatedClient(server, big(), ca_bundle=None if variable else bundle)
        assert restored(client, tmp_path / "out.db") == restored(big(), tmp_path / "expected.db")
        assert client.read == []
        assert len(server.requests) >= 5
        assert server.connections <= 9


@pytest.mark.parametrize("bundle", ["", "/does/not/exist.pem"])
def test_a_strangers_certificate_is_refused(
    tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, context = authority(tmp_path)
    if bundle:
        monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
    with RangeServer(context).running() as server:
        client = LocatedClient(server, filled_client())
        assert state(client, tmp_path / "out.db") == 4
        assert client.read
        assert server.requests == []
        assert "bundle of certificates" in caplog.text if bundle else "is not trusted" in caplog.text
        assert SECRET not in caplog.text
        # It is trusted by whoever says so.
        trusting = LocatedClient(server, filled_client(), verify=False)
        assert state(trusting, tmp_path / "out.db") == 4
        assert trusting.read == []


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", ""])
def test_a_proxy_is_used(tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, context = authority(tmp_path)
    with RangeServer(context).running() as server, Proxy().running() as proxy:
        address = f"http://me:{SECRET}@127.0.0.1:{proxy.server_port}"
        if variable:
            monkeypatch.setenv(variable, address)
        client = LocatedClient(server, filled_client(), ca_bundle=bundle, proxy=None if variable else address)
        # Only the proxy knows this name.
        monkeypatch.setattr(
            server, "url", lambda path, token: RangeServer.url(server, path, token, "replica.test")
        )
        assert state(client, tmp_path / "out.db") == 4
        assert client.read == []
        assert {target for target, _ in proxy.tunnels} == {f"replica.test:{server.server_port}"}
        assert all(credentials for _, credentials in proxy.tunnels)


def test_a_proxy_is_not_used_for_some(
    server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy().running() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.server_port}")
        client = LocatedClient(server, filled_client())
        assert state(client, tmp_path / "out.db") == 4
        assert proxy.tunnels
        proxy.tunnels.clear()
        monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
        assert state(client, tmp_path / "out.db") == 4
        monkeypatch.delenv("NO_PROXY")
        without = LocatedClient(server, filled_client(), proxy="")
        assert state(without, tmp_path / "out.db") == 4
        assert proxy.tunnels == []
        assert client.read == without.read == []


def test_a_proxy_of_another_kind_is_left_to_the_client(
    server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks5://me:{SECRET}@127.0.0.1:1")
    client = LocatedClient(server, filled_client())
    assert state(client, tmp_path / "out.db") == 4
    assert client.read
    assert server.requests == []
