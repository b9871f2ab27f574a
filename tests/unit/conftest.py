"""A database, a replica client in memory, and the two together."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB

from tests.unit.databases import CREATE
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
