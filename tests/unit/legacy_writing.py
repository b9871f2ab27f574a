"""A database that is replicated in the v0.3 layout, and what its replica holds, for the tests of the writer."""

import sqlite3
import time
from pathlib import Path
from typing import Any

import ltxcore
from ltxcore import DB, legacy
from ltxcore.db._legacy_state import LegacyState, StateFile
from ltxcore.errors import ReplicaError

from tests.helpers.stores import MemoryStore

FAST = {"monitor_interval": 0.02}


class Store(MemoryStore):
    """Fails on request."""

    fails = False

    def write(self, *arguments: Any, **options: Any) -> Any:
        if self.fails:
            raise ReplicaError("away")
        return super().write(*arguments, **options)


def opened(database: Path, where: Any, **options: Any) -> DB:
    replica = (
        where if isinstance(where, ltxcore.Replica) else legacy.Replica(where, sync_interval=0.0, **options)
    )
    return DB(database, replica=replica, **FAST).open()  # type: ignore[arg-type]


def restored(where: Any, tmp_path: Path, **target: Any) -> list[int]:
    output = tmp_path / f"out-{time.monotonic_ns()}.db"
    legacy.restore(where, output, integrity_check="full", **target)
    connection = sqlite3.connect(output)
    try:
        return [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x")]
    finally:
        connection.close()


def generations(where: Any) -> list[str]:
    return [each.generation for each in legacy.generations(where)]


def record(db: DB) -> LegacyState:
    state = StateFile(db.meta_path, 0).load()
    assert state is not None
    return state


def places(where: Any) -> list[tuple[int, int]]:
    """Index, and number of the segment in it."""
    found = [each.index for each in legacy.wal_segments(where)]
    return [(index, found[:at].count(index)) for at, index in enumerate(found)]
