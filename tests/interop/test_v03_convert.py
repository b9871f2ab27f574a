"""Histories of the real Litestream 0.3.13 as LTX files: 0.5.17 restores the recorded states from them, and continues them."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import ltxcore
from ltxcore import legacy

from tests.helpers import litestream, vectors
from tests.helpers.app import digest, reference
from tests.helpers.litestream03 import content
from tests.helpers.process import Child, ended, until
from tests.helpers.site import Site
from tests.helpers.v03_history import History
from tests.helpers.v03_place import Place

pytestmark = [pytest.mark.interop, pytest.mark.process, pytest.mark.timeout(180)]

CASES = vectors.manifests("v03")
MILLISECOND = timedelta(milliseconds=1)


@pytest.mark.parametrize("case", CASES)
def test_every_recorded_state(case: str, tmp_path: Path) -> None:
    """By time, where one was recorded, and the newest one."""
    old, new = vectors.copy_case(case, tmp_path, group="v03"), tmp_path / "new"
    done = legacy.convert(old, new)
    recorded = [entry for entry in CASES[case]["restores"] if entry["rc"] == 0 and "index" not in entry]
    assert len(recorded) > 3
    for number, entry in enumerate(recorded):
        timestamp = entry.get("timestamp")
        if timestamp is not None and datetime.fromisoformat(timestamp) > done.created_at:
            timestamp = None  # after the newest state, which Litestream refuses
        output = tmp_path / f"{number}.db"
        litestream.restore(new, output, timestamp=timestamp)
        assert digest(output) == entry["raw_sha256"], entry


@contextmanager
def continuing(db: Path, replica: Path, folder: Path) -> Iterator[Child]:
    """0.5.17 with levels that are merged, and files that are deleted, within seconds; snapshots are kept."""
    config = {
        "levels": [{"interval": "1s"}, {"interval": "2s"}],
        "l0-retention": "1s",
        "l0-retention-check-interval": "1s",
        "snapshot": {"interval": "3s", "retention": "240000h"},
        "dbs": [
            {
                "path": str(db),
                "monitor-interval": "50ms",
                "replica": {"type": "file", "path": str(replica), "sync-interval": "50ms"},
            }
        ],
    }
    (folder / "litestream.json").write_text(json.dumps(config))
    child = litestream.daemon(folder / "litestream.json", folder / "litestream.log")
    with ended(child):
        yield child


def names(replica: Path, level: int) -> list[str]:
    return sorted(path.name for path in (replica / "ltx" / str(level)).glob("*.ltx"))


def work(db: Path, replica: Path, child: Child, *, seconds: float = 30.0) -> None:
    """Commit until Litestream has merged new files twice, and made a snapshot."""
    connection = sqlite3.connect(db, isolation_level=None)
    connection.execute("PRAGMA busy_timeout = 10000")
    connection.execute("CREATE TABLE IF NOT EXISTS since (a INTEGER PRIMARY KEY, b)")
    snapshots = len(names(replica, 9))

    def has_merged() -> bool:
        assert child.alive(), child.tail()
        connection.execute("INSERT INTO since (b) VALUES (randomblob(3000))")
        return len(names(replica, 2)) > 1 and len(names(replica, 9)) > snapshots

    until(has_merged, timeout=seconds, what="merged files of litestream")
    connection.close()


@pytest.mark.parametrize("in_place", [False, True])
def test_litestream_continues(tmp_path: Path, in_place: bool) -> None:
    """All states are there afterwards, though Litestream has merged what it added, and deleted what was merged."""
    db, old = tmp_path / "app.db", tmp_path / "old"
    with History(db, old) as history:
        history.connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
        for number in range(30):
            if number % 10 == 0:
                history.next_wal()
                history.snapshot()
            history.connection.execute("INSERT INTO t (b) VALUES (randomblob(3000))")
            history.segment()
    new = old if in_place else tmp_path / "new"
    expected = {}
    for file in [*legacy.snapshots(old), *legacy.wal_segments(old)]:
        output = tmp_path / "expected.db"
        legacy.restore(old, output, timestamp=file.created_at, overwrite=True)
        expected[file.created_at] = digest(output)
    legacy.convert(old, new)
    converted = names(new, 8)
    with continuing(db, new, tmp_path) as child:
        work(db, new, child)
        assert child.terminate() == 0
    assert names(new, 8) == converted
    outputs = iter(range(1000))
    for time, state in expected.items():
        output = tmp_path / f"{next(outputs)}.db"
        litestream.restore(new, output, timestamp=text(time))
        assert digest(output) == state, time
        ltxcore.restore(new, output, timestamp=time, overwrite=True)
        assert digest(output) == state, time
    for restore in (litestream.restore, ltxcore.restore):
        output = tmp_path / f"{next(outputs)}.db"
        restore(new, output)
        assert content(output) == content(reference(db, tmp_path / "scratch"))
    assert ltxcore.verify(new).outcome == "ok"
    # And we continue what Litestream has continued.
    with ltxcore.DB(db, replica=new) as mine:
        run(db, "INSERT INTO t (b) VALUES (1)")
        mine.wait()
    output = tmp_path / "last.db"
    litestream.restore(new, output)
    assert content(output) == content(reference(db, tmp_path / "scratch"))


def test_a_change_of_the_page_size(tmp_path: Path) -> None:
    """Litestream restores the states before and after it, and continues them; nothing tries to merge pages of two sizes."""
    db, old, new = tmp_path / "app.db", tmp_path / "old", tmp_path / "new"
    stored = 0
    for number, page_size in enumerate((4096, 1024)):
        change_page_size(db, page_size)
        with History(db, old, generation=f"{number:016x}", page_size=page_size) as history:
            history.stored = stored
            history.snapshot()
            for _ in range(4):
                history.connection.execute("INSERT INTO t (b) VALUES (randomblob(3000))")
                history.segment()
            stored = history.stored
    legacy.convert(old, new)
    with continuing(db, new, tmp_path) as child:
        work(db, new, child)
        assert child.terminate() == 0
    log = (tmp_path / "litestream.log").read_text()
    assert "level=ERROR" not in log, log
    output, other = tmp_path / "output.db", tmp_path / "other.db"
    for file in [*legacy.snapshots(old), *legacy.wal_segments(old)]:
        legacy.restore(old, output, timestamp=file.created_at, overwrite=True)
        other.unlink(missing_ok=True)
        litestream.restore(new, other, timestamp=text(file.created_at))
        assert digest(output) == digest(other), file
    ltxcore.restore(new, output, overwrite=True)
    assert content(output) == content(reference(db, tmp_path / "scratch"))


def change_page_size(db: Path, page_size: int) -> None:
    connection = sqlite3.connect(db, isolation_level=None)
    for statement in (
        "PRAGMA journal_mode = delete",
        f"PRAGMA page_size = {page_size}",
        "VACUUM",
        "PRAGMA journal_mode = wal",
        "CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b)",
    ):
        connection.execute(statement)
    connection.close()


def run(db: Path, statement: str) -> None:
    connection = sqlite3.connect(db, isolation_level=None)
    connection.execute(statement)
    connection.close()


def text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.litestream03
def test_a_history_of_several_generations(site: Site, tmp_path: Path) -> None:
    """0.3.13 writes two generations, what it wrote is converted while it runs and afterwards, and 0.5.17 goes on."""
    place = Place(site)
    new, moments = tmp_path / "new", []
    with site.app(autocheckpoint=0) as app:
        for generation in range(2):
            place.moment()
            place.replicator.start()
            for _ in range(3):
                app.insert(20)
                place.replicator.barrier()
                moments.append((place.moment(), content(reference(site.db, site.scratch))))
            legacy.convert(site.replica, new)
            place.replicator.stop()
            if generation == 0:
                shutil.rmtree(place.replicator.meta)
        done = legacy.convert(site.replica, new)
        assert len(legacy.generations(site.replica)) == 2
        assert legacy.verify(site.replica).is_ok
        assert done.left_out == ()
        by_time(place, new, moments, tmp_path)
        with continuing(site.db, new, tmp_path) as child:
            work(site.db, new, child)
            assert child.terminate() == 0
        newest = content(reference(site.db, site.scratch))
    by_time(place, new, moments, tmp_path)
    for number, restore in enumerate((litestream.restore, ltxcore.restore)):
        output = tmp_path / f"newest-{number}"
        restore(new, output)
        assert content(output) == newest


def by_time(place: Place, new: Path, moments: list[tuple[Any, str]], folder: Path) -> None:
    """Restores to these moments, and to the time of each object, agree."""
    output = folder / "by-time.db"
    for moment, expected in moments:
        ltxcore.restore(
            new, output, timestamp=datetime.fromtimestamp(moment / 1000).astimezone(), overwrite=True
        )
        assert content(output) == expected
        assert digest(output) == digest(place.by_us(timestamp=moment))
    files = [*legacy.snapshots(place.replica), *legacy.wal_segments(place.replica)]
    for time in {file.created_at + shift for file in files for shift in (-MILLISECOND, timedelta())}:
        if time < min(file.created_at for file in files):
            continue
        other = folder / "other.db"
        legacy.restore(place.replica, other, timestamp=time, overwrite=True)
        ltxcore.restore(new, output, timestamp=time, overwrite=True)
        assert digest(output) == digest(other)
