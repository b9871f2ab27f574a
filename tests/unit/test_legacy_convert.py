"""Conversions of v0.3 histories into LTX files."""

import io
import os
import shutil
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import ltxcore
from ltxcore import TXID, FileClient, ReplicaClient, legacy
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import (
    ConfigError,
    FormatError,
    LTXFileExistsError,
    NoSnapshotError,
    ReplicaReadOnlyError,
    RestoreError,
)
from ltxcore.stores import Capabilities

from tests.helpers.stores import MemoryStore
from tests.helpers.v03_history import EPOCH, History
from tests.unit.legacy_histories import FIRST, Made, fill, make
from tests.unit.memory import MemoryClient, ltx_file, page, run_sql
from tests.unit.test_legacy_restore import in_memory

MILLISECOND = timedelta(milliseconds=1)
SECOND = "00000000000000bb"


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return tmp_path / "new"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.db"


def names(client: ReplicaClient | Path) -> list[tuple[int, int, int]]:
    client = FileClient(client) if isinstance(client, Path) else client
    return [(file.level, file.min_txid, file.max_txid) for file in client.all_ltx_files()]


def bytes_of(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def times(place: Path) -> list[datetime]:
    found = [file.created_at for file in [*legacy.snapshots(place), *legacy.wal_segments(place)]]
    return sorted({time + shift for time in found for shift in (-MILLISECOND, timedelta(), MILLISECOND)})


def restored(
    restore: Callable[..., Any], place: Path | ReplicaClient, out: Path, time: datetime
) -> bytes | None:
    try:
        restore(place, out, timestamp=time, overwrite=True)
    except NoSnapshotError:
        return None
    return out.read_bytes()


def assert_same(old: Path, new: Path | ReplicaClient, out: Path) -> None:
    """Restores to every time give the same."""
    for time in times(old):
        expected = restored(legacy.restore, old, out, time)
        assert restored(ltxcore.restore, new, out, time) == expected, time


def test_every_state_has_its_time(made: Made, new: Path, out: Path) -> None:
    before = bytes_of(made.path)
    done = legacy.convert(made.path, new)
    assert bytes_of(made.path) == before
    assert (done.states, done.resumed, done.left_out) == (11, 0, ())
    assert done.created_at == max(made.states) - MILLISECOND
    for time, state in made.states.items():
        assert restored(ltxcore.restore, new, out, time) == state
    assert restored(ltxcore.restore, new, out, min(made.states) - MILLISECOND) is None
    assert_same(made.path, new, out)
    assert ltxcore.verify(new).outcome == "ok"


def test_the_files(made: Made, new: Path) -> None:
    """A state is a transaction, but a second snapshot of the same state. Both snapshots, and the newest one for Litestream."""
    done = legacy.convert(made.path, new)
    expected = [(0, 10, 10), *((8, txid, txid) for txid in range(2, 11)), (9, 1, 1), (9, 1, 4)]
    assert names(new) == expected
    assert done.txid == 10
    assert done.files == len(expected)
    assert len(ltxcore.restore_points(new)) == 10


def test_in_place(made: Made, out: Path) -> None:
    states = {time: restored(legacy.restore, made.path, out, time) for time in times(made.path)}
    legacy.convert(made.path, made.path)
    assert legacy.convert(made.path, made.path).files == 0
    for time, state in states.items():
        assert restored(legacy.restore, made.path, out, time) == state
        assert restored(ltxcore.restore, made.path, out, time) == state
    shutil.rmtree(made.path / "generations")
    for time, state in states.items():
        assert restored(ltxcore.restore, made.path, out, time) == state


def test_several_generations(tmp_path: Path, new: Path, out: Path) -> None:
    """The second one begins with the same database, the third one with one of larger pages."""
    made = Made(tmp_path / "replica")
    with History(tmp_path / "db", made.path) as history:
        fill(history, made, wals=2, segments=2)
        stored = history.stored
    with History(tmp_path / "db", made.path, generation=SECOND) as history:
        history.stored = stored
        fill(history, made, wals=2, segments=2)
        stored = history.stored
    with sqlite3.connect(tmp_path / "db") as db:
        for statement in (
            "PRAGMA journal_mode = delete",
            "PRAGMA page_size = 8192",
            "VACUUM",
            "PRAGMA journal_mode = wal",
        ):
            db.execute(statement)
    db.close()
    with History(tmp_path / "db", made.path, generation="0" * 16, page_size=8192) as history:
        history.stored = stored
        fill(history, made, wals=2, segments=2)
    done = legacy.convert(made.path, new)
    for time, state in made.states.items():
        assert restored(ltxcore.restore, new, out, time) == state
    assert_same(made.path, new, out)
    # Two of the snapshots of each generation are the state before; the change of the page size is a snapshot alone.
    assert (done.states, done.txid) == (18, 14)
    assert (8, 10, 10) not in names(new)
    assert (9, 1, 10) in names(new)


def test_generations_that_overlap(tmp_path: Path, new: Path, out: Path) -> None:
    made = Made(tmp_path / "replica")
    with (
        History(tmp_path / "one", made.path) as one,
        History(tmp_path / "other", made.path, generation=SECOND) as other,
    ):
        for history in (one, other):
            history.connection.execute(f"CREATE TABLE t{history.folder.name} (a INTEGER PRIMARY KEY, b)")
        one.snapshot()
        made.note(one)
        other.stored = one.stored
        other.snapshot()
        made.note(other)
        for _ in range(4):
            for history, before in ((one, other), (other, one)):
                history.stored = before.stored
                history.connection.execute(
                    f"INSERT INTO t{history.folder.name} (b) VALUES (randomblob(3000))"
                )
                history.segment()
                made.note(history)
    done = legacy.convert(made.path, new)
    assert done.txid == 10
    for time, state in made.states.items():
        assert restored(ltxcore.restore, new, out, time) == state


def test_a_copy_without_times_keeps_every_state(made: Made, tmp_path: Path, new: Path, out: Path) -> None:
    """All objects are of one time, or segments seem to be stored after the snapshots that follow them."""
    for name, later in (("same", 0), ("snapshots first", 100)):
        copy, place = tmp_path / name, new / name
        shutil.copytree(made.path, copy)
        for path in copy.rglob("*.lz4"):
            seconds = EPOCH.timestamp() + (later if "wal" in path.parts else 0)
            os.utime(path, (seconds, seconds))
        assert legacy.convert(copy, place).txid == 10
        states = []
        for point in ltxcore.restore_points(place):
            ltxcore.restore(place, out, txid=point.txid, overwrite=True)
            states.append(out.read_bytes())
        assert states == list(dict.fromkeys(made.states.values()))
        assert_same(copy, place, out)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)


def with_times(path: Path, change: Callable[[Path], None]) -> None:
    found = path.stat()
    change(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_a_damaged_segment_ends_the_conversion(made: Made, new: Path, out: Path) -> None:
    segment = legacy.wal_segments(made.path)[4]
    path = made.path / segment.path
    whole = path.read_bytes()
    with_times(path, damage)
    with pytest.raises(FormatError, match=segment.path):
        legacy.convert(made.path, new)
    for time, state in made.states.items():
        if time < segment.created_at:
            assert restored(ltxcore.restore, new, out, time) == state
    assert (
        restored(ltxcore.restore, new, out, max(made.states))
        == made.states[segment.created_at - timedelta(seconds=1)]
    )
    with_times(path, lambda path: path.write_bytes(whole) and None)
    done = legacy.convert(made.path, new)
    assert (done.resumed, done.txid) == (6, 10)
    assert_same(made.path, new, out)


def test_a_missing_segment_ends_the_conversion(made: Made, new: Path, out: Path) -> None:
    segments = legacy.wal_segments(made.path)
    (made.path / segments[4].path).unlink()
    with pytest.raises(RestoreError, match="00000001:"):
        legacy.convert(made.path, new)
    assert restored(ltxcore.restore, new, out, max(made.states)) == made.states[segments[3].created_at]


def test_damaged_files_are_left_out_if_asked_for(tmp_path: Path, new: Path, out: Path) -> None:
    """What comes after the next snapshot is there, and later generations are."""
    made = Made(tmp_path / "replica")
    with History(tmp_path / "db", made.path) as history:
        fill(history, made)
        stored = history.stored
    with History(tmp_path / "db", made.path, generation=SECOND) as history:
        history.stored = stored
        fill(history, made)
    first, _, third = legacy.wal_segments(made.path, FIRST)[:3]
    with_times(made.path / first.path, damage)
    newest = legacy.wal_segments(made.path, FIRST)[-2]
    (made.path / newest.path).unlink()
    done = legacy.convert(made.path, new, skip_damaged=True)
    one, other = done.left_out
    assert (one.path, one.states) == (first.path, 3)
    assert (one.first, one.last) == (first.created_at, third.created_at)
    assert (other.path, other.states) == (newest.path, 1)
    lost = {first.created_at + timedelta(seconds=n) for n in range(3)} | {
        newest.created_at + timedelta(seconds=n) for n in range(2)
    }
    for time, state in made.states.items():
        assert (restored(ltxcore.restore, new, out, time) == state) == (time not in lost), time
    assert legacy.convert(made.path, new, skip_damaged=True).files == 0


def test_a_damaged_snapshot_costs_nothing_where_an_older_one_leads_on(
    made: Made, new: Path, out: Path
) -> None:
    path = made.path / legacy.snapshots(made.path)[1].path
    with_times(path, damage)
    done = legacy.convert(made.path, new, skip_damaged=True)
    assert [(each.path, each.states, each.first) for each in done.left_out] == [
        (str(path.relative_to(made.path)), 0, None)
    ]
    for time, state in made.states.items():
        assert restored(ltxcore.restore, new, out, time) == state


def test_nothing_that_can_be_converted(made: Made, new: Path, tmp_path: Path) -> None:
    for snapshot in legacy.snapshots(made.path):
        damage(made.path / snapshot.path)
    with pytest.raises(NoSnapshotError, match="no state can be converted"):
        legacy.convert(made.path, new, skip_damaged=True)
    assert names(new) == []
    with pytest.raises(NoSnapshotError, match="no snapshots"):
        legacy.convert(tmp_path / "nothing", new)


def test_an_empty_database_is_no_state(tmp_path: Path, new: Path, out: Path) -> None:
    made = Made(tmp_path / "replica")
    with History(tmp_path / "db", made.path) as history:
        history.snapshot()
        history.connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
        history.segment()
        made.note(history)
    (snapshot,) = legacy.snapshots(made.path)
    legacy.restore(made.path, out, timestamp=snapshot.created_at)
    was_empty = out.stat().st_size == 0
    done = legacy.convert(made.path, new)
    assert done.txid == (1 if was_empty else 2)
    assert restored(ltxcore.restore, new, out, max(made.states)) == made.newest


@pytest.mark.parametrize(
    "key", [(0, 11, 11), (0, 1, 12), (1, 1, 2), (8, 11, 11), (9, 1, 12), (9, 1, 10), (9, 2, 2)]
)
def test_files_of_others_are_refused(made: Made, new: Path, key: tuple[int, int, int]) -> None:
    legacy.convert(made.path, new)
    level, low, high = key
    pages = {1: page(1)}
    data = io.BytesIO(ltx_file(pages, commit=1, min_txid=low, max_txid=high))
    FileClient(new).write_ltx_file(level, TXID(low), TXID(high), data)
    before = bytes_of(new)
    with pytest.raises(LTXFileExistsError, match=f"level {level}") as raised:
        legacy.convert(made.path, new)
    assert raised.value.hint is not None
    assert bytes_of(new) == before


def test_a_conversion_of_another_history_is_refused(made: Made, new: Path, tmp_path: Path) -> None:
    (tmp_path / "another").mkdir()
    legacy.convert(make(tmp_path / "another", generation=SECOND).path, new)
    before = bytes_of(new)
    with pytest.raises(LTXFileExistsError):
        legacy.convert(made.path, new)
    assert bytes_of(new) == before


def test_a_replica_that_was_continued_is_refused(made: Made, new: Path, tmp_path: Path) -> None:
    legacy.convert(made.path, new)
    with ltxcore.DB(tmp_path / "db", replica=new) as db:
        run_sql(tmp_path / "db", "INSERT INTO t (b) VALUES (1)")
        db.wait()
    with pytest.raises(LTXFileExistsError):
        legacy.convert(made.path, new)


def test_we_continue_a_converted_replica(made: Made, new: Path, out: Path, tmp_path: Path) -> None:
    legacy.convert(made.path, new)
    connection = sqlite3.connect(tmp_path / "db", isolation_level=None)
    with ltxcore.DB(tmp_path / "db", replica=new) as db:
        for _ in range(3):
            connection.execute("INSERT INTO t (b) VALUES (randomblob(3000))")
            db.wait()
        db.snapshot()
    count = connection.execute("SELECT count(*) FROM t").fetchone()
    connection.close()
    ltxcore.restore(new, out)
    copy = sqlite3.connect(out)
    assert copy.execute("SELECT count(*) FROM t").fetchone() == count == (12,)
    copy.close()
    for time, state in made.states.items():
        assert restored(ltxcore.restore, new, out, time) == state
    assert ltxcore.verify(new).outcome == "ok"


def test_object_stores(made: Made, out: Path) -> None:
    old, store = in_memory(made, MemoryStore(), "old/"), MemoryStore()
    new = ObjectReplicaClient(store, "new")
    done = legacy.convert(ObjectReplicaClient(old, "old"), new)
    assert done.txid == 10
    for time, state in made.states.items():
        assert restored(ltxcore.restore, new, out, time) == state
    assert legacy.convert(ObjectReplicaClient(old, "old"), new).files == 0
    # In one place.
    both = ObjectReplicaClient(old, "old")
    legacy.convert(both, both)
    for time, state in made.states.items():
        assert restored(ltxcore.restore, both, out, time) == state


def test_a_store_without_times(made: Made, out: Path) -> None:
    new = ObjectReplicaClient(MemoryStore(Capabilities()), "new")
    legacy.convert(made.path, new)
    assert legacy.convert(made.path, new).files == 0
    for time, state in made.states.items():
        assert restored(ltxcore.restore, new, out, time) == state


def test_a_client_of_another_kind(made: Made, out: Path) -> None:
    new = MemoryClient()
    legacy.convert(made.path, new)
    for time, state in made.states.items():
        assert restored(ltxcore.restore, new, out, time) == state
    with pytest.raises(ConfigError):
        legacy.convert(new, new)


def test_a_place_that_can_only_be_read(made: Made) -> None:
    store = MemoryStore(Capabilities(is_read_only=True))
    with pytest.raises(ReplicaReadOnlyError):
        legacy.convert(made.path, ObjectReplicaClient(store))
    with pytest.raises(ConfigError):
        legacy.convert(made.path, made.path.with_name("new"), parallelism=0)


def test_no_temporary_file_is_left(
    made: Made, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    seen: set[str] = set()
    legacy.convert(made.path, new, progress=lambda _: seen.update(os.listdir(folder)))
    assert seen == set()
    assert os.listdir(folder) == []
