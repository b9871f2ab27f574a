"""`ltxcore replicate --lease`: one process of several replicates, and the others say who it is."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.s3_servers import S3Server
from tests.unit.databases import eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]

LIMIT = 30.0


class Place:
    def __init__(self, server: S3Server, name: str) -> None:
        self.bucket = server.make_bucket(name)
        self.url = f"s3://{self.bucket}/app?endpoint={server.url}&region={server.region}"
        self.boto = server.client()

    def owner(self) -> str | None:
        if "app/lock.json" not in self.listed():
            return None
        answer = self.boto.get_object(Bucket=self.bucket, Key="app/lock.json")
        return str(json.loads(answer["Body"].read())["owner"])

    def put(self) -> None:
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        body = json.dumps({"generation": 9, "expires_at": until, "owner": "there:2"})
        self.boto.put_object(Bucket=self.bucket, Key="app/lock.json", Body=body.encode())

    def listed(self) -> list[str]:
        return [each["Key"] for each in self.boto.list_objects_v2(Bucket=self.bucket).get("Contents", [])]


@pytest.fixture
def credentials(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs.secret_key)


@pytest.fixture
def place(credentials: None, seaweedfs: S3Server) -> Place:
    return Place(seaweedfs, f"lease-{os.getpid()}-{time.monotonic_ns()}")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in ("PRAGMA journal_mode = wal", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)"):
            connection.execute(statement)
    return path


def started(ltxcore: Any, *arguments: object) -> "subprocess.Popen[str]":
    process: subprocess.Popen[str] = ltxcore.start("replicate", *arguments, "--lease")
    assert process.stderr is not None
    said = ""
    while not said.startswith("replicating "):
        said = process.stderr.readline()
        assert said, "it has ended"
    return process


def refused(ltxcore: Any, *arguments: object, code: int = 1) -> str:
    process = ltxcore.start("replicate", *arguments, "--lease")
    _out, said = process.communicate(timeout=LIMIT)
    assert process.returncode == code, said
    assert "Traceback" not in said
    return str(said)


def test_one_replicates_and_another_one_after_it(
    ltxcore: Any, place: Place, db: Path, tmp_path: Path
) -> None:
    first = started(ltxcore, db, place.url)
    assert place.owner() is not None
    assert str(place.owner()).endswith(f":{first.pid}")
    elsewhere = tmp_path / "copy.db"
    said = refused(ltxcore, elsewhere, place.url, "--restore-if-db-not-exists")
    assert f"is held by {place.owner()} until " in said
    assert "Hint: stop that program, or, if it was killed, start again" in said
    assert not elsewhere.exists(), "restored although another one goes on"
    first.terminate()
    _out, said = first.communicate(timeout=LIMIT)
    assert first.returncode == 0, said
    assert place.owner() is None
    second = started(ltxcore, elsewhere, place.url, "--restore-if-db-not-exists")
    assert str(place.owner()).endswith(f":{second.pid}")
    second.terminate()
    _out, said = second.communicate(timeout=LIMIT)
    assert second.returncode == 0, said
    assert elsewhere.exists()
    ltxcore("replicate", db, place.url, "--once", "--lease")
    assert place.owner() is None


def test_one_whose_lease_was_taken_ends(ltxcore: Any, place: Place, db: Path) -> None:
    process = started(ltxcore, db, place.url)
    place.put()
    _out, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 3, said
    assert "\nError: the lease of " in said
    assert "was taken by there:2" in said
    assert place.owner() == "there:2"


@pytest.mark.usefixtures("credentials")
def test_where_there_can_be_none(ltxcore: Any, rclone: S3Server, db: Path, tmp_path: Path) -> None:
    place = Place(rclone, f"lease-{os.getpid()}-{time.monotonic_ns()}")
    said = refused(ltxcore, db, place.url, code=2)
    assert "cannot have a lease: the service ignores the condition If-Match" in said
    assert "Hint: use a storage with conditional writes" in said
    assert place.listed() == []
    said = refused(ltxcore, db, tmp_path / "replica", code=2)
    assert "cannot have a lease" in said


PROGRAM = """
import sys, ltxcore
db = ltxcore.DB(sys.argv[1], replica=ltxcore.Replica(sys.argv[2], lease=True)).open()
db.wait(timeout=20)
"""


def test_a_program_that_ends_gives_it_back(place: Place, db: Path) -> None:
    """It does not close the database: the end of the interpreter does."""
    subprocess.run([sys.executable, "-c", PROGRAM, db, place.url], check=True, timeout=LIMIT)
    assert place.owner() is None
    assert any(key.endswith(".ltx") for key in place.listed())


@pytest.mark.slow
def test_one_that_was_killed_has_it_until_it_expires(ltxcore: Any, place: Place, db: Path) -> None:
    first = started(ltxcore, db, place.url)
    first.kill()
    first.communicate()
    refused(ltxcore, db, place.url)

    def is_free() -> bool:
        process = ltxcore.start("replicate", db, place.url, "--once", "--lease")
        process.communicate(timeout=LIMIT)
        return bool(process.returncode == 0)

    began = time.monotonic()
    eventually(is_free, timeout=70.0)
    assert time.monotonic() - began > 15
    assert place.owner() is None
