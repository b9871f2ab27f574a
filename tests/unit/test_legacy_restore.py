"""Restores from replicas in the layout of Litestream 0.3."""

import asyncio
import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

import ltxcore
from ltxcore import TXID, FileClient, legacy
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import (
    ConfigError,
    FormatError,
    NoSnapshotError,
    ObjectNotFoundError,
    OutputExistsError,
    ReplicaError,
    RestoreError,
)
from ltxcore.legacy import Pos
from ltxcore.stores import ObjectInfo

from tests.helpers.stores import EPOCH, CountingStore, MemoryStore
from tests.unit.legacy_histories import FIRST, Made, make
from tests.unit.memory import history

MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "restored" / "out.db"


def in_memory(made: Made, store: MemoryStore, prefix: str = "") -> MemoryStore:
    """The replica as objects of a store."""
    for path in made.path.rglob("*.lz4"):
        time = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        with path.open("rb") as data:
            store.write(f"{prefix}{path.relative_to(made.path)}", data, time=time)
    return store


def test_the_newest_state(made: Made, out: Path) -> None:
    restored = legacy.restore(made.path, out)
    assert out.read_bytes() == made.newest
    assert restored.path == out
    assert restored.pos.truncated() == Pos(FIRST, 2)
    assert (restored.snapshot.index, len(restored.segments)) == (1, 6)
    assert restored.page_size * restored.page_count == len(made.newest)
    assert restored.created_at == max(made.states)
    assert restored.bytes_read == sum(
        (made.path / file.path).stat().st_size for file in (restored.snapshot, *restored.segments)
    )


def test_every_moment(made: Made, out: Path) -> None:
    for time, state in made.states.items():
        for asked in (time, time + timedelta(seconds=1) - MILLISECOND):
            restored = legacy.restore(made.path, out, timestamp=asked, overwrite=True)
            assert (out.read_bytes(), restored.created_at) == (state, time)
            assert restored.clamped == (asked > max(made.states))
    restored = legacy.restore(made.path, out, timestamp=max(made.states) + timedelta(days=1), overwrite=True)
    assert (out.read_bytes(), restored.clamped) == (made.newest, True)


def test_every_index(made: Made, out: Path) -> None:
    for index, state in made.indexes.items():
        for asked in (index, f"{index:08x}"):
            restored = legacy.restore(made.path, out, generation=FIRST, index=asked, overwrite=True)
            assert (out.read_bytes(), restored.pos.index) == (state, index)


def test_a_time_is_compared_to_the_microsecond(made: Made, out: Path) -> None:
    last = max((made.path / "generations" / FIRST / "wal").iterdir())
    changed = last.stat().st_mtime_ns + 500_000
    os.utime(last, ns=(changed, changed))
    newest = max(made.states)
    assert legacy.restore(made.path, out, timestamp=newest).created_at < newest
    legacy.restore(made.path, out, timestamp=newest + MILLISECOND, overwrite=True)
    assert out.read_bytes() == made.newest


def test_a_plan_is_what_is_read(made: Made, out: Path) -> None:
    for asked in ({}, {"generation": FIRST, "index": 1}, {"timestamp": min(made.states)}):
        plan = legacy.restore_plan(made.path, **asked)  # type: ignore[arg-type]
        restored = legacy.restore(made.path, out, overwrite=True, **asked)  # type: ignore[arg-type]
        assert (plan.snapshot, plan.segments) == (restored.snapshot, restored.segments)
        assert (plan.size, plan.created_at) == (restored.bytes_read, restored.created_at)


def test_what_a_replica_holds(made: Made) -> None:
    (generation,) = legacy.generations(made.path)
    assert generation.generation == FIRST
    assert list(generation.snapshots) == legacy.snapshots(made.path) == legacy.snapshots(made.path, FIRST)
    assert list(generation.segments) == legacy.wal_segments(made.path, FIRST)
    assert [file.index for file in generation.snapshots] == [0, 1]
    assert [file.index for file in generation.segments] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert (generation.created_at, generation.updated_at) == (min(made.states), max(made.states))
    files = [*generation.snapshots, *generation.segments]
    assert {file.path for file in files} == {
        path.relative_to(made.path).as_posix() for path in made.path.rglob("*.lz4")
    }
    assert generation.size == sum(file.size for file in files)
    assert legacy.snapshots(made.path, "0" * 16) == []


def test_restore_finds_the_layout(made: Made, out: Path) -> None:
    restored = ltxcore.restore(made.path, out, integrity_check="full", journal_mode="delete")
    assert restored.legacy is not None
    assert restored.legacy.pos.generation == FIRST
    assert (restored.pos.txid, restored.files) == (TXID(0), ())
    assert restored.bytes_read == restored.legacy.bytes_read
    # Versions, change counter and what is derived from it.
    assert out.read_bytes()[100:] == made.newest[100:]
    assert out.read_bytes()[18:20] == b"\1\1"
    ltxcore.restore(made.path, out, timestamp=min(made.states), overwrite=True)
    assert out.read_bytes() == made.states[min(made.states)]


def test_it_can_be_awaited(made: Made, out: Path) -> None:
    asyncio.run(legacy.restore_async(made.path, out))
    assert out.read_bytes() == made.newest


@pytest.mark.parametrize("prefix", ["", "backups/app/"])
def test_any_object_store(made: Made, out: Path, prefix: str) -> None:
    client = ObjectReplicaClient(in_memory(made, MemoryStore(), prefix), prefix)
    legacy.restore(client, out)
    assert out.read_bytes() == made.newest
    assert [each.generation for each in legacy.generations(client)] == [FIRST]


def test_progress_ends_with_everything(made: Made, out: Path) -> None:
    seen: list[ltxcore.RestoreProgress] = []
    legacy.restore(made.path, out, progress=seen.append)
    assert (seen[-1].done, seen[-1].files_done) == (seen[-1].total, seen[-1].files_total)
    assert [each.done for each in seen] == sorted(each.done for each in seen)


def test_an_exception_from_the_callback_leaves_nothing(made: Made, out: Path) -> None:
    def stop(_: object) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        legacy.restore(made.path, out, progress=stop)
    assert list(out.parent.iterdir()) == []


def test_what_is_no_file_of_ours(made: Made, out: Path) -> None:
    """Names that are no text, pipes, links that lead nowhere or to themselves, folders."""
    wal = made.path / "generations" / FIRST / "wal"
    with open(os.fsencode(wal) + b"/\xff\xfe.wal.lz4", "wb"):
        pass
    (made.path / "generations" / "\u4e2d").mkdir()
    (made.path / "generations" / "\u4e2d" / "file").touch()
    os.mkfifo(wal / "00000005_00000000.wal.lz4")
    (wal / "00000006_00000000.wal.lz4").symlink_to("00000006_00000000.wal.lz4")
    (wal / "00000007_00000000.wal.lz4").symlink_to("nowhere")
    (wal / "00000008_00000000.wal.lz4").mkdir()
    legacy.restore(made.path, out)
    assert out.read_bytes() == made.newest
    assert ltxcore.restore(made.path, out, overwrite=True).legacy is not None
    assert legacy.verify(made.path).is_ok


class TestRefusals:
    def test_there_is_nothing(self, tmp_path: Path, out: Path) -> None:
        (tmp_path / "empty").mkdir()
        for path in (tmp_path / "empty", tmp_path / "missing"):
            with pytest.raises(NoSnapshotError, match="no generation"):
                legacy.restore(path, out)
        assert legacy.generations(tmp_path / "missing") == []

    def test_an_unknown_generation(self, made: Made, out: Path) -> None:
        with pytest.raises(NoSnapshotError, match=f"no generation {'0' * 16}"):
            legacy.restore(made.path, out, generation="0" * 16)
        with pytest.raises(FormatError, match="not a generation"):
            legacy.restore(made.path, out, generation="../../etc")

    def test_a_time_before_everything(self, made: Made, out: Path) -> None:
        with pytest.raises(NoSnapshotError) as raised:
            legacy.restore(made.path, out, timestamp=min(made.states) - MILLISECOND)
        assert raised.value.earliest_time == min(made.states)
        with pytest.raises(NoSnapshotError) as raised:
            ltxcore.restore(made.path, out, timestamp=min(made.states) - MILLISECOND)
        assert raised.value.earliest_time == min(made.states)

    def test_an_output_that_exists(self, made: Made, out: Path) -> None:
        out.parent.mkdir()
        out.write_text("mine")
        with pytest.raises(OutputExistsError):
            legacy.restore(made.path, out)
        assert out.read_text() == "mine"

    @pytest.mark.parametrize("index", [-1, 0x80000000, "80000000", "x", ""])
    def test_impossible_indexes(self, made: Made, out: Path, index: int | str) -> None:
        with pytest.raises(ConfigError, match="index"):
            legacy.restore(made.path, out, generation=FIRST, index=index)

    def test_an_index_beyond_the_end(self, made: Made, out: Path) -> None:
        with pytest.raises(RestoreError, match="has no WAL 00000003: the last one is 00000002"):
            legacy.restore(made.path, out, generation=FIRST, index=3)

    def test_an_index_alone(self, made: Made, out: Path) -> None:
        with pytest.raises(ConfigError, match="generation"):
            legacy.restore(made.path, out, index=0)

    def test_what_takes_ltx_files(self, made: Made, out: Path) -> None:
        for call in (
            lambda: ltxcore.restore_plan(made.path),
            lambda: ltxcore.restore(made.path, out, txid=1),
            lambda: ltxcore.follow(made.path, out),
            lambda: ltxcore.verify(made.path),
        ):
            with pytest.raises(NoSnapshotError) as raised:
                call()
            assert raised.value.hint is not None
            assert "files of Litestream 0.3" in raised.value.hint

    def test_updates(self, made: Made, out: Path) -> None:
        with pytest.raises(ConfigError, match=r"Litestream 0\.3"):
            ltxcore.restore(made.path, out, update=True)

    def test_a_web_server(self, out: Path) -> None:
        with pytest.raises(ConfigError, match=r"Litestream 0\.3"):
            legacy.restore("http://127.0.0.1:9/app", out)

    def test_a_missing_segment(self, made: Made, out: Path) -> None:
        legacy.wal_segments(made.path)
        (made.path / legacy.wal_segments(made.path)[4].path).unlink()
        with pytest.raises(RestoreError, match="missing"):
            legacy.restore(made.path, out)
        (made.path / legacy.wal_segments(made.path)[3].path).unlink()
        with pytest.raises(RestoreError, match="missing"):
            legacy.restore_plan(made.path)

    def test_a_damaged_segment_is_named(self, made: Made, out: Path) -> None:
        damaged = made.path / legacy.wal_segments(made.path)[4].path
        data = bytearray(damaged.read_bytes())
        data[len(data) // 2] ^= 1
        damaged.write_bytes(data)
        with pytest.raises(FormatError) as raised:
            legacy.restore(made.path, out)
        assert raised.value.path == damaged.relative_to(made.path).as_posix()
        assert list(out.parent.iterdir()) == []

    def test_a_file_that_may_not_be_read(self, made: Made, out: Path) -> None:
        class Locked(MemoryStore):
            def open(self, key: str, *, offset: int = 0, size: int | None = None) -> BinaryIO:
                raise PermissionError(13, "not yours", key)

        with pytest.raises(PermissionError, match="not yours"):
            legacy.restore(in_memory(made, Locked()), out)


class Vanishing(MemoryStore):
    """Deletes everything of the first WAL and its snapshot when it is read for the first time."""

    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        for other in [
            other for other in self.objects if "/snapshots/00000000" in other or "/wal/00000000_" in other
        ]:
            del self.objects[other]
        return super().read(key, offset=offset, size=size)


def test_files_that_are_deleted_meanwhile(made: Made, out: Path) -> None:
    """As retention deletes them, once there is a newer snapshot."""
    store = in_memory(made, Vanishing())
    newer = {key: store.objects.pop(key) for key in list(store.objects) if "/snapshots/00000001" in key}
    first = legacy.restore_plan(store)
    assert first.snapshot.index == 0
    listed = store.list

    def list_(prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        found = list(listed(prefix, start=start))
        store.objects.update(newer)
        return iter(found)

    store.list = list_  # type: ignore[method-assign]
    assert legacy.restore(store, out).snapshot.index == 1
    assert out.read_bytes() == made.newest


def test_a_file_that_stays_away(made: Made, out: Path) -> None:
    class Gone(MemoryStore):
        def open(self, key: str, *, offset: int = 0, size: int | None = None) -> BinaryIO:
            raise ObjectNotFoundError(f"no such object: {key}")

    with pytest.raises(ObjectNotFoundError):
        legacy.restore(in_memory(made, Gone()), out)


class Breaking(MemoryStore):
    """Each object breaks off once in the middle, with an error that says that it is for the moment."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()

    def open(self, key: str, *, offset: int = 0, size: int | None = None) -> BinaryIO:
        data = self.objects[key][0]
        if key in self.broken:
            assert offset > 0
            return io.BytesIO(data[offset:])
        self.broken.add(key)
        return _Cut(data[: len(data) // 2])  # type: ignore[return-value]


class _Cut:
    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        if block := self._data.read(size):
            return block
        raise ReplicaError("the connection broke", transient=True)

    def close(self) -> None:
        self._data.close()


def test_connections_that_break(made: Made, out: Path) -> None:
    store = Breaking()
    in_memory(made, store)
    legacy.restore(store, out)
    assert out.read_bytes() == made.newest


class TestBothLayouts:
    """One place with files of both, as after an upgrade."""

    def ltx(self, path: Path, *, snapshot_at: datetime | None, newest_at: datetime) -> None:
        files = history(3).files
        client = FileClient(path)
        for number in (1, 2, 3):
            client.write_ltx_file(0, TXID(number), TXID(number), io.BytesIO(files[0, number, number]))
        if snapshot_at is not None:
            client.write_ltx_file(9, TXID(1), TXID(1), io.BytesIO(files[0, 1, 1]))
            self.touch(path / "ltx/9", snapshot_at)
        self.touch(path / "ltx/0", newest_at)

    def touch(self, folder: Path, time: datetime) -> None:
        for path in folder.iterdir():
            nanoseconds = (time - EPOCH) // timedelta(microseconds=1) * 1000
            os.utime(path, ns=(nanoseconds, nanoseconds))

    def is_legacy(self, path: Path, out: Path, timestamp: datetime | None = None) -> bool:
        return ltxcore.restore(path, out, timestamp=timestamp, overwrite=True).legacy is not None

    def test_the_newest_file_decides(self, made: Made, out: Path) -> None:
        last = max(made.states)
        for later, expected in ((-MILLISECOND, True), (MILLISECOND, False)):
            self.ltx(made.path, snapshot_at=None, newest_at=last + later)
            assert self.is_legacy(made.path, out) is expected

    def test_at_a_time_the_newest_file_by_then_decides(self, made: Made, out: Path) -> None:
        times = sorted(made.states)
        self.ltx(made.path, snapshot_at=times[3] - MILLISECOND, newest_at=times[5] + MILLISECOND)
        # Each of these times is that of the newest file by then.
        assert all(self.is_legacy(made.path, out, time) for time in times)
        assert not self.is_legacy(made.path, out, times[5] + 2 * MILLISECOND)

    def test_at_a_time_a_replica_that_was_continued(self, made: Made, out: Path) -> None:
        """As after a conversion in place: every LTX file is older than the one that it was made from, until others follow."""
        last, late = max(made.states), datetime(2026, 3, 1, tzinfo=UTC)
        self.ltx(made.path, snapshot_at=min(made.states) - MILLISECOND, newest_at=last - MILLISECOND)
        assert self.is_legacy(made.path, out, late)
        newest = next((made.path / "ltx/0").glob("*3-*3.ltx"))
        nanoseconds = int((last + timedelta(hours=1)).timestamp()) * 1_000_000_000
        os.utime(newest, ns=(nanoseconds, nanoseconds))
        assert not self.is_legacy(made.path, out, late)
        assert not self.is_legacy(made.path, out)

    def test_the_first_ltx_file_is_a_whole_copy(self, made: Made, out: Path) -> None:
        """As after an upgrade, before there is a snapshot."""
        upgraded = max(made.states) + timedelta(hours=1)
        self.ltx(made.path, snapshot_at=None, newest_at=upgraded)
        assert self.is_legacy(made.path, out, upgraded)
        assert not self.is_legacy(made.path, out, upgraded + MILLISECOND)

    def test_a_txid_is_of_ltx_files(self, made: Made, out: Path) -> None:
        self.ltx(made.path, snapshot_at=None, newest_at=min(made.states))
        assert ltxcore.restore(made.path, out, txid=2).pos.txid == 2


def test_a_replica_without_such_files_costs_one_more_listing(out: Path) -> None:
    store = CountingStore()
    client = ObjectReplicaClient(store)
    for number in (1, 2):
        data = history(2).files[0, number, number]
        client.write_ltx_file(0, TXID(number), TXID(number), io.BytesIO(data))

    def listings(**asked: int) -> int:
        before = store.sent["ListObjectsV2"]
        ltxcore.restore(client, out, overwrite=True, **asked)
        return store.sent["ListObjectsV2"] - before

    assert listings() == listings(txid=2) + 1
