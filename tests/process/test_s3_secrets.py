"""No key and no signed URL in anything that is said: output, logs at every level, errors with their chains, and reprs."""

import logging
import os
import re
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, Replica
from ltxcore.clients.s3 import S3Client
from ltxcore.errors import Error

from tests.helpers.proxy import Proxy
from tests.helpers.s3_servers import S3Server

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

SIGNED = re.compile(r"(?i)x-amz-(?:signature|credential|security-token)|awsaccesskeyid|authorization: ")
FAULTS = [
    {"fault": "drop"},
    {"fault": "garbage"},
    {"fault": "truncate"},
    {"fault": "respond", "status": 403, "code": "AccessDenied"},
    {"fault": "respond", "status": 403, "code": "ExpiredToken"},
    {"fault": "respond", "status": 400, "code": "InvalidRequest"},
    {"fault": "respond", "status": 500, "code": "InternalError"},
]


class Place:
    """A replica behind a proxy, with keys that nothing else contains."""

    def __init__(self, server: S3Server, proxy: Proxy, folder: Path) -> None:
        self.server, self.proxy, self.db = server, proxy, folder / "app.db"
        self.bucket = server.make_bucket(f"secrets-{time.monotonic_ns()}")
        with sqlite3.connect(self.db) as connection:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("CREATE TABLE t (x)")
        connection.close()

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/app?endpoint={self.proxy.url}&region={self.server.region}"

    def client(self) -> S3Client:
        return S3Client(
            self.bucket,
            "app",
            endpoint=self.proxy.url,
            region=self.server.region,
            access_key_id=self.server.access_key,
            secret_access_key=self.server.secret_key,
        )

    def check(self, said: str) -> None:
        """What was said has neither of the keys, nor what a signed URL has."""
        assert said
        for secret in (self.server.secret_key, self.server.access_key):
            assert secret not in said, said
        assert SIGNED.search(said) is None, said


@pytest.fixture
def place(
    seaweedfs: S3Server,
    proxied: Callable[..., Proxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.02)
    for module in ("_transfer", "objects"):
        monkeypatch.setattr(f"ltxcore.clients.{module}.PAUSES", (0.02,) * 3)
    return Place(seaweedfs, proxied(seaweedfs.url), tmp_path)


def test_commands_say_none(place: Place, tmp_path: Path) -> None:
    environ = os.environ | {
        "AWS_ACCESS_KEY_ID": place.server.access_key,
        "AWS_SECRET_ACCESS_KEY": place.server.secret_key,
    }

    def run(*words: object) -> int:
        argv = [sys.executable, "-m", "ltxcore", *map(str, words)]
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120, check=False)
        place.check(done.stdout + done.stderr)
        return done.returncode

    assert run("replicate", place.db, place.url, "--once", "--json", "--log-level", "debug") == 0
    assert run("replicate", place.db, place.url, "--once", "--lease", "--log-level", "debug") == 0
    assert run("restore", place.url, "-o", tmp_path / "a.db", "--json") == 0
    assert run("ltx", place.url) == 0
    assert run("restore", place.url.replace("/app?", "/other?"), "-o", tmp_path / "b.db") != 0
    for fault in FAULTS[3:5]:
        place.proxy.fault(**fault, times=None)
        assert run("restore", place.url, "-o", tmp_path / "c.db", "--json") != 0
        assert run("replicate", place.db, place.url, "--once", "--json") != 0
        place.proxy.calm()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.get("code", fault["fault"])))
@pytest.mark.parametrize("operation", ["GetObject", "PutObject", "ListObjectsV2"])
def test_errors_and_logs_say_none(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture, operation: str, fault: dict[str, object]
) -> None:
    client = place.client()
    said: list[object] = [client, client.store, Replica(client), client.store.capabilities]
    # Ours; what botocore logs at these levels, its users know.
    caplog.set_level(logging.DEBUG, "ltxcore")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    with DB(place.db, replica=client) as db:
        db.wait(timeout=60)
        said += [db, db.status()]
    place.proxy.fault(**fault, operation=operation, times=None)
    for call in (
        lambda: DB(place.db, replica=client).open(),
        lambda: ltxcore.restore(client, tmp_path / "out.db"),
        lambda: ltxcore.restore(place.client(), tmp_path / "again.db"),
        lambda: write(place, client),
    ):
        try:
            opened = call()
        except Error as error:
            said += [error, repr(error), vars(error), *traceback.format_exception(error)]
        else:
            if isinstance(opened, DB):
                said.append(opened.status())
                place.proxy.calm()
                opened.close()
                place.proxy.fault(**fault, operation=operation, times=None)
    located = client.locate(9, ltxcore.TXID(1), ltxcore.TXID(1))
    said += [located, repr(located)]
    place.check("\n".join([*map(str, said), caplog.text]))


def write(place: Place, client: S3Client) -> None:
    connection = sqlite3.connect(place.db)
    connection.execute("INSERT INTO t VALUES (1)")
    connection.commit()
    connection.close()
    db = DB(place.db, replica=client)
    try:
        db.open()
        db.wait(timeout=1)
    finally:
        db.close(timeout=0)
