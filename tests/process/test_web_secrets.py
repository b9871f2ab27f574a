"""Replicas on web servers: nothing is ever written, and no secret is ever said."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, TXID, Replica
from ltxcore.clients.http import HTTPClient
from ltxcore.errors import Error, ReplicaReadOnlyError

from tests.helpers.proxy import Proxy
from tests.helpers.web_servers import PythonServer, fill, with_ranges

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("short_pauses"), pytest.mark.timeout(180)]


def test_nothing_is_ever_written(root: Path, tmp_path: Path) -> None:
    """No request is made: nobody listens there."""
    source = "https://reader:secret@127.0.0.1:9/app?token=secret"
    client = ltxcore.client_from_url(source)
    assert client.capabilities.is_read_only
    (tmp_path / "file").write_bytes(b"x")
    info = ltxcore.FileInfo(0, TXID(1), TXID(1), 1, ltxcore._restore.restore.from_millis(0))
    acts: list[Callable[[], object]] = [
        lambda: DB(tmp_path / "app.db", replica=source),
        lambda: DB(tmp_path / "app.db", replica=tmp_path / "replica", mirrors=[source]),
        lambda: ltxcore.replicate(tmp_path / "app.db", source),
        lambda: Replica(source, lease=True),
        lambda: Replica(source, max_requests_per_hour=60),
        lambda: Replica(source).acquire_lease(),
        lambda: Replica(source).compact(1),
        lambda: Replica(source).write_listing(),
        lambda: client.write_ltx_path(0, TXID(1), TXID(1), tmp_path / "file"),
        lambda: client.write_object("x", b""),
        lambda: client.copy_ltx_file(info, client),
        lambda: client.delete_ltx_files([info]),
        lambda: client.delete_all(),
    ]
    for act in acts:
        with pytest.raises(ReplicaReadOnlyError) as caught:
            act()
        assert "secret" not in f"{caught.value!r} {vars(caught.value)}"
        assert caught.value.hint
    assert not (tmp_path / "app.db").exists()
    assert not (tmp_path / "replica").exists()
    assert client.requests_sent() == {"GET": 0}


def test_nothing_secret_is_said(
    root: Path, tmp_path: Path, proxied: Callable[..., Proxy], caplog: pytest.LogCaptureFixture
) -> None:
    folder = fill(root / "app")
    caplog.set_level(logging.DEBUG)
    with PythonServer(root) as server:
        proxy = proxied(server.url)
        source = f"http://the-user:the-password@127.0.0.1:{proxy.port}/app?token=the-token"
        client = ltxcore.client_from_url(source)
        said: list[object] = [client, Replica(client), client.identity, client.capabilities]
        said += [ltxcore.restore(client, tmp_path / "out.db"), client.locate(9, TXID(1), TXID(1))]
        assert isinstance(client, HTTPClient)
        said += [client.store, client.store.address]
        faults = [{"fault": "drop"}, {"fault": "garbage"}, {"fault": "truncate", "at": 10}]
        faults += [{"fault": "respond", "status": status} for status in (400, 403, 404, 410, 429, 418, 500)]
        for fault in faults:
            for path in (r"app/\?|ltx/\?|ltx\.json", r"\.ltx"):
                proxy.fault(path=path, times=None, **fault)
                try:
                    said.append(ltxcore.restore(ltxcore.client_from_url(source), tmp_path / "none.db"))
                except Error as error:
                    said += [error, repr(error), vars(error), repr(error.__cause__), repr(error.__context__)]
                proxy.calm()
                (tmp_path / "none.db").unlink(missing_ok=True)
    text = "\n".join([*map(str, said), caplog.text])
    assert "127.0.0.1" in text
    for secret in ("the-user", "the-password", "the-token", "dGhlLXVzZXI"):
        assert secret not in text, text
    assert folder.exists()


def test_commands_say_nothing_secret(root: Path, tmp_path: Path) -> None:
    folder = fill(root / "app")

    def run(*words: object) -> tuple[int, str]:
        argv = [sys.executable, "-m", "ltxcore", *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        said = done.stdout + done.stderr
        assert said
        assert "the-" not in said, said
        return done.returncode, said

    with with_ranges(root) as server:
        source = f"http://the-user:the-password@127.0.0.1:{server.port}/app?token=the-token"
        assert run("listing", folder)[0] == 0
        assert run("listing", folder, "-o", tmp_path / "ltx.json", "--json")[0] == 0
        assert (tmp_path / "ltx.json").read_bytes() == (folder / "ltx.json").read_bytes()
        assert run("restore", source, "-o", tmp_path / "a.db", "--json")[0] == 0
        assert run("restore", source, "--dry-run")[0] == 0
        assert run("restore", source, "--dry-run", "--json")[0] == 0
        assert run("ltx", source, "--level", "all", "--json")[0] == 0
        assert run("restore", source, "-o", source)[0] == 2
        assert run("restore", source.replace("/app", "/other"), "-o", tmp_path / "b.db")[0] == 1
        for act in (
            ("replicate", tmp_path / "new.db", source),
            ("replicate", tmp_path / "new.db", folder, source),
        ):
            code, said = run(*act, "--restore-if-db-not-exists", "--once")
            assert code == 2
            assert "can only be read" in said
        code, said = run("listing", source)
        assert code == 2
        assert "can only be read" in said
    assert not (tmp_path / "new.db").exists()
