"""What we write in the v0.3 layout, restored by the real Litestream 0.3.13 and 0.5.17."""

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ltxcore import DB, legacy

from tests.helpers import litestream, litestream03
from tests.helpers.app import digest, reference_digest
from tests.unit.databases import eventually
from tests.unit.memory import run_sql

pytestmark = [
    pytest.mark.interop,
    pytest.mark.litestream03,
    pytest.mark.process,
    pytest.mark.timeout(180),
]

#: What each program restores with. Litestream 0.3 reads times to the second, so states are looked for at whole seconds.
PROGRAMS: dict[str, Callable[..., Any]] = {
    "us": legacy.restore,
    "0.3.13": litestream03.restore,
    "0.5.17": litestream.restore,
}


class Place:
    def __init__(self, folder: Path, page_size: int = 4096) -> None:
        self.db, self.replica, self.folder = folder / "app.db", folder / "replica", folder
        self.outputs = 0
        wal = "PRAGMA journal_mode = wal"
        run_sql(self.db, f"PRAGMA page_size = {page_size}", wal, "CREATE TABLE t (x)")

    def opened(self, **options: Any) -> DB:
        replica = legacy.Replica(self.replica, sync_interval=0.0, **options)
        return DB(self.db, replica=replica, monitor_interval=0.02).open()

    def commit(self, db: DB, size: int = 5000) -> datetime:
        """A commit that is in the replica; the time of its file."""
        run_sql(self.db, f"INSERT INTO t VALUES (randomblob({size}))")
        db.wait(timeout=60)
        return legacy.generations(self.replica)[-1].updated_at

    def output(self) -> Path:
        self.outputs += 1
        return self.folder / f"out-{self.outputs}.db"

    def rows(self, program: str, **target: Any) -> int:
        output = self.output()
        PROGRAMS[program](self.replica, output, **target)
        with contextlib.closing(sqlite3.connect(output)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            return int(connection.execute("SELECT count(*) FROM t").fetchone()[0])

    def assert_restores(self) -> None:
        expected = reference_digest(self.db, self.folder / "scratch")
        for restore in PROGRAMS.values():
            output = self.output()
            restore(self.replica, output)
            assert digest(output) == expected


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("program", PROGRAMS)
def test_any_time_is_restored(place: Place, program: str) -> None:
    times = []
    with place.opened() as db:
        for number in range(5):
            times.append(place.commit(db))
            if number == 2:
                db.snapshot()
            time.sleep(1.1)
    for number, when in enumerate(times):
        # The next whole second, before the next commit.
        target = datetime.fromtimestamp(int(when.timestamp()) + 1, when.tzinfo)
        text = target.strftime("%Y-%m-%dT%H:%M:%SZ")
        if number < len(times) - 1:
            assert place.rows(program, timestamp=text) == number + 1
    place.assert_restores()


def test_each_generation_is_restored(place: Place) -> None:
    for number in range(3):
        with place.opened() as db:
            place.commit(db)
        if number < 2:
            shutil.rmtree(db.meta_path)
    found = [each.generation for each in legacy.generations(place.replica)]
    assert len(found) == 3
    for number, generation in enumerate(found):
        for program in ("us", "0.3.13"):
            assert place.rows(program, generation=generation) == number + 1
    place.assert_restores()
    listed = [row["generation"] for row in litestream03.generations(place.replica)]
    assert sorted(listed) == sorted(found)


def test_what_retention_leaves_is_restored(place: Place) -> None:
    with place.opened(retention=1.0, retention_check_interval=0.2) as db:

        def has_gone() -> bool:
            place.commit(db)
            return legacy.snapshots(place.replica)[0].index > 1

        eventually(has_gone, timeout=60)
        place.assert_restores()
    # At rest: segments are deleted after the snapshot that they follow.
    rows = litestream03.wal(place.replica)
    assert rows and int(rows[0]["index"]) >= 1


@pytest.mark.parametrize("page_size", [512, 65536])
def test_large_transactions_and_page_sizes(tmp_path: Path, page_size: int) -> None:
    """Each of them is more than a WAL usually has; then the database shrinks."""
    place = Place(tmp_path, page_size)
    with place.opened() as db:
        for _ in range(3):
            place.commit(db, 3_000_000)
        run_sql(place.db, "DELETE FROM t WHERE rowid > 1")
        run_sql(place.db, "VACUUM")
        place.commit(db)
    assert len({each.index for each in legacy.wal_segments(place.replica)}) >= (2 if page_size == 512 else 1)
    assert len(legacy.generations(place.replica)) == 1
    place.assert_restores()
