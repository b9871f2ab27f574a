"""A small live database and what is restored of it, for the tests of `DB`."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import ltxcore

from tests.unit.memory import run_sql

CREATE = ("PRAGMA journal_mode = wal", "CREATE TABLE t (x)")


def insert(path: Path, value: int) -> None:
    run_sql(path, f"INSERT INTO t VALUES ({value})")


def restored(client: ltxcore.ReplicaClient, tmp_path: Path) -> list[int]:
    output = tmp_path / f"out-{time.monotonic_ns()}.db"
    ltxcore.restore(client, output, integrity_check="quick")
    connection = sqlite3.connect(output)
    try:
        return [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x")]
    finally:
        connection.close()


def eventually(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def ltx_path(replica: Path, level: int, low: int, high: int | None = None) -> Path:
    """Where a directory has the file of these TXIDs."""
    return replica / f"ltx/{level}" / ltxcore.ltx.format_filename(low, low if high is None else high)


def forget_local_files(db: ltxcore.DB) -> None:
    """As if their retention were over: all but the newest go."""
    for path in sorted((db.meta_path / "ltx/0").iterdir())[:-1]:
        path.unlink()


def quietly_closed(db: ltxcore.DB) -> None:
    """Ended at once, whatever it could not upload."""
    with suppress(ltxcore.Error):
        db.close(timeout=0)
