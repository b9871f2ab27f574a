"""A database, a replica client in memory, and the two together."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB

from tests.unit.databases import CREATE, insert
from tests.unit.memory import MemoryClient, run_sql


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    run_sql(path, *CREATE)
    return path


@pytest.fixture
def client() -> MemoryClient:
    return MemoryClient()


@pytest.fixture
def db(database: Path, client: MemoryClient) -> Iterator[DB]:
    with DB(database, replica=ltxcore.Replica(client, sync_interval=0.05), monitor_interval=0.05) as opened:
        yield opened


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    return tmp_path / "replica"


@pytest.fixture
def live(database: Path, replica: Path) -> Iterator[DB]:
    """A database with three rows in a directory, one transaction each."""
    with DB(database, replica=ltxcore.Replica(replica, sync_interval=0.05), monitor_interval=0.05) as opened:
        for value in (1, 2, 3):
            insert(database, value)
            opened.wait(timeout=10)
        yield opened


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Object stores are looked at every other second while somebody waits, however slow this machine is; not every minute."""
    monkeypatch.setattr("ltxcore.db._survey._LONGEST", 2.0)
