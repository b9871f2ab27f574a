"""Conversions that go on: where they were stopped, and when there is more."""

import io
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import pytest

import ltxcore
from ltxcore import TXID, FileClient, FileInfo, legacy
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import ReplicaError

from tests.helpers.stores import MemoryStore
from tests.helpers.v03_history import History
from tests.unit.legacy_histories import FIRST, Made, fill, make
from tests.unit.test_legacy_convert import assert_same, bytes_of, names, restored


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return tmp_path / "new"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.db"


def test_once_more_there_is_nothing_to_do(made: Made, new: Path) -> None:
    first = legacy.convert(made.path, new)
    before = bytes_of(new)
    again = legacy.convert(made.path, new)
    assert (again.txid, again.resumed, again.files, again.bytes_written) == (first.txid, 11, 0, 0)
    assert again.created_at == first.created_at
    assert bytes_of(new) == before


def test_what_was_added_since(tmp_path: Path, new: Path, out: Path) -> None:
    made = Made(tmp_path / "replica")
    with History(tmp_path / "db", made.path) as history:
        fill(history, made)
        legacy.convert(made.path, new)
        before = bytes_of(new)
        history.connection.execute("INSERT INTO t (b) VALUES (randomblob(3000))")
        history.segment()
        history.next_wal()
        history.snapshot()
        made.note(history)
    done = legacy.convert(made.path, new)
    assert (done.txid, done.resumed, done.states) == (11, 11, 13)
    assert_same(made.path, new, out)
    assert names(new)[0] == (0, 11, 11)
    after = bytes_of(new)
    assert {name: after.get(name) for name in before if "ltx/0" not in name} == {
        name: data for name, data in before.items() if "ltx/0" not in name
    }


def test_what_was_deleted_since(tmp_path: Path, new: Path, out: Path) -> None:
    """Litestream 0.3 deletes old snapshots and segments, also the newest state that was converted."""
    made = Made(tmp_path / "replica")
    with History(tmp_path / "db", made.path) as history:
        fill(history, made)
        legacy.convert(made.path, new)
        history.next_wal()
        history.snapshot()
        made.note(history)
        history.connection.execute("INSERT INTO t (b) VALUES (1)")
        history.segment()
        made.note(history)
    for path in made.path.rglob("*.lz4"):
        if not path.name.startswith("00000003"):
            path.unlink()
    done = legacy.convert(made.path, new)
    assert (done.txid, done.resumed, done.states) == (12, 0, 2)
    for time, state in made.states.items():
        assert restored(ltxcore.restore, new, out, time) == state


class Stops(FileClient):
    """Raises before a certain write or deletion."""

    def __init__(self, path: Path, writes: int) -> None:
        super().__init__(path)
        self.left = writes

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ReplicaError("no more", transient=False)

    def write_ltx_file(self, level: int, min_txid: TXID, max_txid: TXID, data: BinaryIO) -> FileInfo:
        self._count()
        return super().write_ltx_file(level, min_txid, max_txid, data)

    def delete_ltx_files(self, files: Any) -> None:
        self._count()
        super().delete_ltx_files(files)


@pytest.mark.parametrize("parallelism", [1, 8])
def test_it_continues_wherever_it_was_stopped(
    made: Made, new: Path, out: Path, tmp_path: Path, parallelism: int
) -> None:
    legacy.convert(made.path, new)
    whole = bytes_of(new)
    for writes in range(len(whole)):
        place = tmp_path / f"stopped-{writes}"
        with pytest.raises(ReplicaError, match="no more"):
            legacy.convert(made.path, Stops(place, writes), parallelism=parallelism)
        # Where it was stopped once more.
        with pytest.raises(ReplicaError, match="no more"):
            legacy.convert(made.path, Stops(place, 0), parallelism=parallelism)
        done = legacy.convert(made.path, place, parallelism=parallelism)
        assert bytes_of(place) == whole
        assert done.txid == 10


@pytest.mark.parametrize("size", [0, 50, 200])
def test_what_an_upload_left_is_replaced(made: Made, new: Path, size: int) -> None:
    """SeaweedFS keeps an object of what it has when the connection of an upload breaks."""
    legacy.convert(made.path, new)
    whole = bytes_of(new)
    for name in whole:
        path = new / name
        path.write_bytes(whole[name][:size])
        if "/9/" in name and size:
            path.write_bytes(whole[name])  # these are not read again
        legacy.convert(made.path, new)
        assert bytes_of(new) == whole, name


class KeepsParts(MemoryStore):
    """Keeps a part of one object, and says that this has failed for the moment."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = parts

    def write(self, key: str, data: BinaryIO, **options: Any) -> Any:
        if self.parts and "/8/" in key:
            self.parts -= 1
            super().write(key, io.BytesIO(data.read()[: self.parts * 40]), **options)
            raise ReplicaError("cut", transient=True)
        return super().write(key, data, **options)


def test_a_part_of_an_upload_is_replaced_at_once(
    made: Made, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ltxcore.clients._transfer.PAUSES", (0.0,) * 3)
    new = ObjectReplicaClient(KeepsParts(4))
    legacy.convert(made.path, new)
    for time, state in made.states.items():
        assert restored(ltxcore.restore, new, out, time) == state


def test_progress_and_being_stopped_by_it(made: Made, new: Path) -> None:
    seen: list[legacy.ConvertProgress] = []
    legacy.convert(made.path, new, progress=seen.append)
    total = sum(file.size for file in [*legacy.snapshots(made.path), *legacy.wal_segments(made.path)])
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    assert (seen[-1].done, seen[-1].total, seen[-1].states_total) == (total, total, 11)

    def stop(at: legacy.ConvertProgress) -> None:
        if at.done > at.total / 2:
            raise InterruptedError("enough")

    place = new.with_name("other")
    with pytest.raises(InterruptedError, match="enough"):
        legacy.convert(made.path, place, progress=stop)
    legacy.convert(made.path, place)
    assert bytes_of(place) == bytes_of(new)


def test_the_newest_transaction_is_at_level_0_again(made: Made, new: Path, tmp_path: Path, out: Path) -> None:
    """Litestream would begin at the first transaction otherwise, also where there is nothing but a snapshot."""
    legacy.convert(made.path, new)
    whole = bytes_of(new)
    (new / "ltx/0/000000000000000a-000000000000000a.ltx").unlink()
    assert legacy.convert(made.path, new).files == 1
    assert bytes_of(new) == whole
    shutil.rmtree(made.path / "generations" / FIRST / "wal")
    (made.path / legacy.snapshots(made.path)[1].path).unlink()
    place = tmp_path / "first"
    legacy.convert(made.path, place)
    assert names(place) == [(0, 1, 1), (9, 1, 1)]
    shutil.rmtree(place / "ltx/0")
    assert legacy.convert(made.path, place).files == 1
    assert names(place) == [(0, 1, 1), (9, 1, 1)]
    ltxcore.restore(place, out)
    assert out.read_bytes() == made.states[min(made.states)]
