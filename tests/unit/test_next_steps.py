"""Errors of a first day in Python say what to do next."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, OSVFS, errors
from ltxcore.blob_store import BlobStore


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database and its replica, in the current directory."""
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("app.db")) as con:
        con.execute("CREATE TABLE note (body)")
    with DB("app.db", replica="replica") as db:
        db.wait(timeout=10)
    return tmp_path


def in_use() -> None:
    with DB("app.db", replica="replica"), DB("app.db", replica="other"):
        pass


def no_replica() -> None:
    with DB("app.db") as db:
        db.wait(timeout=10)


def no_database() -> None:
    with DB("no.db", replica="other") as db:
        db.wait(timeout=1)


@pytest.mark.parametrize(
    ("call", "kind", "said", "hint"),
    [
        (lambda: DB(".", replica="other").open(), errors.DatabaseError, "is a directory: ", "database file"),
        (
            lambda: DB("app.db", replica="app.db").open(),
            errors.ReplicaError,
            "File exists",
            "a file is in the way",
        ),
        (
            lambda: DB("app.db", replica="app.db/x").open(),
            errors.ReplicaError,
            "Not a dir",
            "a file is in the way",
        ),
        (lambda: DB("app.db").status(), errors.NotOpenError, "not open: ", "call open()"),
        (no_replica, errors.ConfigError, "no replica for ", "replica="),
        (no_database, errors.NotReadyError, "does not exist yet", "check the path"),
        (in_use, errors.DatabaseError, "in use by another replicator", "stop the other replicator"),
        (
            lambda: ltxcore.restore("replica", "x.db", txid=99),
            errors.TXIDNotAvailableError,
            "63",
            "restore_points()",
        ),
        (lambda: ltxcore.restore_points("no"), errors.NoSnapshotError, "does not exist", "check the path"),
        (lambda: ltxcore.client_from_url("s3:bucket"), errors.ConfigError, "two slashes", "file:///path"),
        (
            lambda: BlobStore("b.db", capacity=-1),
            errors.ConfigError,
            "must be a positive number of bytes: -1",
            "pass None",
        ),
        (
            lambda: OSVFS().uri("app.db", lok="ofd"),
            errors.VFSParameterError,
            "unknown URI parameter: lok",
            "mean lock?",
        ),
        (
            lambda: OSVFS().uri("app.db", zzz=1),
            errors.VFSParameterError,
            "unknown URI parameter: zzz",
            "lock, shm",
        ),
    ],
)
def test_an_error_has_a_next_step(
    site: Path, call: Callable[[], object], kind: type[errors.Error], said: str, hint: str
) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert said in str(caught.value)
    assert caught.value.hint is not None and hint in caught.value.hint


def test_an_empty_replica_has_no_restore_points(tmp_path: Path) -> None:
    """Only a directory that does not exist is an error: it looked like an empty replica."""
    (tmp_path / "empty").mkdir()
    assert ltxcore.restore_points(tmp_path / "empty") == []


@pytest.mark.parametrize(
    "name", ["mode", "cache", "nolock", "immutable", "lock", "shm", "sync", "cksm", "psow", "modeof"]
)
def test_every_parameter_of_the_documents_is_known(name: str) -> None:
    assert f"&{name}=1" in OSVFS().uri("app.db", **{name: 1})


def test_a_parameter_with_a_mistake_opens_nothing(site: Path) -> None:
    """SQLite ignores parameters that it does not know, so a connection was opened without what was asked for."""
    with pytest.raises(errors.VFSParameterError):
        OSVFS().register().connect("new.db", parameters={"lok": "flock"})
    assert not Path("new.db").exists()
