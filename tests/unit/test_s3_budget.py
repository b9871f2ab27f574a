"""Requests of a replica in S3, counted by a proxy in front of real servers."""

import io
import itertools
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

import ltxcore
from ltxcore import DB, TXID
from ltxcore.clients.s3 import S3Client
from ltxcore.ltx import format_filename

from tests.helpers.proxy import Proxy
from tests.helpers.s3_servers import S3Server
from tests.unit.databases import eventually, insert, restored
from tests.unit.memory import ltx_file, page

_numbers = itertools.count()
Proxied = Callable[..., Proxy]


def client_of(
    server: S3Server, path: str = "app", *, url: str | None = None, bucket: str | None = None
) -> S3Client:
    return S3Client(
        bucket or server.make_bucket(f"budget-{os.getpid()}-{next(_numbers)}"),
        path,
        endpoint=url or server.url,
        region=server.region,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
    )


class Counted:
    """What has passed a proxy since the last question."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy

    def __call__(self) -> dict[str, int]:
        found = dict(self.proxy.traffic().by_operation)
        self.proxy.forget()
        return found


def test_the_life_of_a_database(
    seaweedfs: S3Server, proxied: Proxied, database: Path, tmp_path: Path
) -> None:
    proxy = proxied(seaweedfs.url)
    client, taken = client_of(seaweedfs, url=proxy.url), Counted(proxy)
    with DB(database, replica=client, monitor_interval=0.05) as db:
        db.wait(timeout=20)
        assert dict(client.store.requests_sent()) == proxy.traffic().by_operation
        opened = taken()
        # The first upload of a process finds out what the service can do.
        assert opened == {"ListObjectsV2": 1, "HeadObject": 1, "PutObject": 2}
        for value in (1, 2, 3):
            insert(database, value)
            db.wait(timeout=20)
        assert taken() == {"PutObject": 3}
        insert(database, 4)
    assert taken() == {"PutObject": 1}
    with DB(database, replica=client) as db:
        db.wait(timeout=20)
        again = taken()
        assert again.pop("GetObject", 0) <= 3
        assert again == {"ListObjectsV2": 1}
    assert taken() == {}
    assert restored(client, tmp_path) == [1, 2, 3, 4]
    whole = taken()
    # Of LTX files, and of those of Litestream 0.3.
    assert whole.pop("ListObjectsV2") == 2
    assert set(whole) == {"GetObject"}


@pytest.mark.parametrize("name", ["seaweedfs", "rclone", "moto"])
def test_all_levels_beside_other_objects(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica lies below the same prefix, and objects of others lie between the levels: few pages are read for them."""
    server: S3Server = request.getfixturevalue(name)
    monkeypatch.setattr("ltxcore.clients.s3._store._PAGE", 10)
    monkeypatch.setattr("ltxcore.clients.objects._STRANGERS", 10)
    client = client_of(server)
    files = [(0, 1, 1), (0, 2, 2), (1, 1, 2), (9, 1, 2)]
    for level, low, high in files:
        data = ltx_file({1: page(high)}, commit=1, min_txid=low, max_txid=high)
        client.write_ltx_file(level, TXID(low), TXID(high), io.BytesIO(data))
    others = [f"app/sub/0000/{format_filename(number, number)}" for number in range(1, 61)]
    others += [f"app/00010/{number:03}" for number in range(60)]
    for key in others:
        client.store.write(key, io.BytesIO(b"?"))

    def requests() -> int:
        return client.store.requests["ListObjectsV2"]

    before = requests()
    assert [(file.level, file.min_txid, file.max_txid) for file in client.all_ltx_files()] == files
    # Two pages until it is clear that there is nothing of ours, and one from the next level on.
    assert requests() - before <= 4
    assert [*client_of(server, "none", bucket=client.store.bucket).all_ltx_files()] == []
    assert [*client_of(server, "", bucket=client.store.bucket).all_ltx_files()] == []


def idle(count: int, server: S3Server, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Databases in one process, each with a replica, and an hour without a commit."""
    bucket = server.make_bucket(f"budget-{os.getpid()}-{next(_numbers)}")
    with ExitStack() as stack:
        databases: list[Any] = []
        for number in range(count):
            path = tmp_path / f"{number}.db"
            application = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
            application.execute("PRAGMA journal_mode = wal")
            application.execute("CREATE TABLE t (x)")
            client = client_of(server, f"app/{number}", url=proxy.url, bucket=bucket)
            databases.append(stack.enter_context(DB(path, replica=client)))
        for db in databases:
            db.wait(timeout=60)
        for db in databases:
            eventually(lambda db=db: db._running.uploader._due() == float("inf"), timeout=30)
        proxy.forget()
        real = time.monotonic
        for hours in (0.25, 0.5, 1):
            monkeypatch.setattr(time, "monotonic", lambda hours=hours: real() + 3600 * hours)
            for db in databases:
                running = db._running
                assert running.uploader._due() == float("inf"), "a timer that would end in a request"
                # Every thread looks at the clock again.
                running.uploader._wakeup.notify()
                running.follower._call.notify()
                running.engine.interrupt()
            time.sleep(1.0)
            assert all(db.status().is_current for db in databases)
        assert proxy.requests() == []
        assert proxy.traffic().requests == 0
        # They still work.
        application.execute("INSERT INTO t VALUES (1)")
        databases[-1].wait(timeout=60)
        assert 1 <= proxy.traffic().requests <= 2
    output = tmp_path / "out.db"
    assert ltxcore.restore(client, output).pos.txid == 2


def test_an_idle_hour_has_no_request(
    seaweedfs: S3Server, proxied: Proxied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle(10, seaweedfs, proxied(seaweedfs.url), tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_idle_hour_of_a_hundred_databases_has_no_request(
    seaweedfs: S3Server, proxied: Proxied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle(100, seaweedfs, proxied(seaweedfs.url), tmp_path, monkeypatch)
