"""Conversions that go on: where they were stopped, and when there is more."""

import io
import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import pytest

import ltxcore
from ltxcore import TXID, FileClient, FileInfo, legacy
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import FormatError, LTXFileExistsError, ReplicaError, RestoreError

from tests.helpers.stores import MemoryStore
from tests.helpers.v03_history import History
from tests.unit.legacy_histories import FIRST, Made, fill, make
from tests.unit.test_legacy_convert import assert_same, bytes_of, damage, names, restored, with_times


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


def with_a_hole(made: Made, new: Path, txid: int) -> None:
    """A conversion that was interrupted: one state is missing, and all after it are there, up to the next snapshot."""
    legacy.convert(made.path, new)
    for path in [*new.glob("ltx/8/*"), *new.glob("ltx/9/*-*")]:
        last = int(path.stem[-16:], 16)
        if last == txid or (last > txid and "/9/" in str(path)):
            path.unlink()


def prune(made: Made, index: int) -> None:
    """As Litestream 0.3 does."""
    for path in made.path.rglob("*.lz4"):
        if int(path.name[:8], 16) < index:
            path.unlink()


def only_level_0(new: Path) -> list[tuple[int, int, int]]:
    return [each for each in names(new) if each[0] == 0]


def test_a_conversion_with_a_hole_goes_on_after_files_were_deleted(made: Made, new: Path, out: Path) -> None:
    with_a_hole(made, new, 3)
    assert only_level_0(new) == [(0, 10, 10)]
    prune(made, 1)
    done = legacy.convert(made.path, new)
    assert done.txid == 9
    # Litestream would begin at the first transaction without one, and beyond a gap with a higher one.
    assert only_level_0(new) == [(0, 9, 9)]
    for time in list(made.states)[5:]:
        assert restored(ltxcore.restore, new, out, time) == made.states[time]
    assert ltxcore.verify(new).outcome == "ok"
    assert legacy.convert(made.path, new).files == 0


@pytest.mark.parametrize(("hole", "damaged"), [(3, 2), (3, -1), (7, 4), (5, 3), (2, 0)])
def test_a_conversion_with_a_hole_goes_on_without_damaged_files(
    made: Made, new: Path, out: Path, hole: int, damaged: int
) -> None:
    with_a_hole(made, new, hole)
    path = made.path / legacy.wal_segments(made.path)[damaged].path
    with_times(path, lambda path: path.write_bytes(b"xx") and None)
    done = legacy.convert(made.path, new, skip_damaged=True)
    assert only_level_0(new) == [(0, done.txid, done.txid)]
    assert done.left_out
    for time in made.states:
        try:
            legacy.restore(made.path, out, timestamp=time, overwrite=True)
        except (FormatError, RestoreError):
            continue
        expected = out.read_bytes()
        assert restored(ltxcore.restore, new, out, time) == expected, time
    assert ltxcore.verify(new).outcome == "ok"


@pytest.mark.parametrize("hole", [2, 3, 7, 10])
def test_at_every_moment_of_going_on_litestream_is_not_misled(
    made: Made, new: Path, tmp_path: Path, hole: int
) -> None:
    """There is a file of level 0 where there are others. The states up to it are there, or a gap is before it."""
    with_a_hole(made, new, hole)
    (made.path / legacy.wal_segments(made.path)[5].path).write_bytes(b"xx")
    for writes in range(40):
        place = tmp_path / f"stopped-{writes}"
        shutil.copytree(new, place)
        try:
            legacy.convert(made.path, Stops(place, writes), skip_damaged=True, parallelism=1)
        except ReplicaError:
            has_ended = False
        else:
            has_ended = True
        found = names(place)
        newest = max(txid for level, _, txid in found if level == 0)
        states = {txid for level, _, txid in found if level}
        reached = next(txid for txid in range(1, 20) if txid + 1 not in states)
        # What Litestream adds comes after all states, or after a gap.
        assert newest >= max(states) or max(states) == reached + 1 == newest + 1, (writes, found)
        if has_ended:
            break
    else:
        pytest.fail("it does not end")


def test_a_snapshot_that_was_stored_again(tmp_path: Path, new: Path, out: Path) -> None:
    """Litestream 0.3 replaces the snapshot of an idle database once per retention."""
    made = Made(tmp_path / "replica")
    with History(tmp_path / "db", made.path) as history:
        fill(history, made, wals=2)
        first = legacy.convert(made.path, new)
        prune(made, 1)
        (snapshot,) = legacy.snapshots(made.path)
        history.stored += 86400
        seconds = history.time().timestamp()
        os.utime(made.path / snapshot.path, (seconds, seconds))
        assert legacy.convert(made.path, new).txid == first.txid
        history.connection.execute("INSERT INTO t (b) VALUES (1)")
        history.segment()
        made.note(history)
    done = legacy.convert(made.path, new)
    assert done.txid == first.txid + 1
    for time, state in made.states.items():
        assert restored(ltxcore.restore, new, out, time) == state


def test_a_first_snapshot_that_was_stored_again(tmp_path: Path, new: Path, out: Path) -> None:
    made = Made(tmp_path / "replica")
    with History(tmp_path / "db", made.path) as history:
        fill(history, made, wals=1, segments=0)
        legacy.convert(made.path, new)
        (snapshot,) = legacy.snapshots(made.path)
        history.stored += 10
        os.utime(made.path / snapshot.path, (history.time().timestamp(),) * 2)
        history.connection.execute("INSERT INTO t (b) VALUES (1)")
        history.segment()
        made.note(history)
    done = legacy.convert(made.path, new)
    assert only_level_0(new) == [(0, done.txid, done.txid)]
    for time, state in made.states.items():
        assert restored(ltxcore.restore, new, out, time) == state


def test_a_snapshot_of_the_newest_state_was_added(tmp_path: Path, new: Path) -> None:
    made = Made(tmp_path / "replica")
    with History(tmp_path / "db", made.path) as history:
        fill(history, made, wals=1)
        first = legacy.convert(made.path, new)
        history.next_wal()
        history.snapshot()
    done = legacy.convert(made.path, new)
    assert (done.txid, done.files) == (first.txid, 1)
    assert only_level_0(new) == [(0, done.txid, done.txid)]


def test_what_was_left_out_is_not_forgotten(made: Made, new: Path, tmp_path: Path) -> None:
    path = made.path / legacy.wal_segments(made.path)[1].path
    whole = path.read_bytes()
    with_times(path, damage)
    assert len(legacy.convert(made.path, new, skip_damaged=True).left_out) == 1
    with_times(path, lambda path: path.write_bytes(whole) and None)
    with pytest.raises(RestoreError, match="earlier conversion has left out") as raised:
        legacy.convert(made.path, new)
    assert "empty place" in str(raised.value.hint)
    (left_out,) = legacy.convert(made.path, new, skip_damaged=True).left_out
    assert "earlier conversion has left out" in left_out.reason
    assert legacy.convert(made.path, tmp_path / "another").left_out == ()


def test_the_newest_file_is_made_of_a_whole_database(tmp_path: Path, new: Path, out: Path) -> None:
    """The newest state has pages of another size, so it has no file but that."""
    made = Made(tmp_path / "replica")
    with History(tmp_path / "one", made.path) as history:
        fill(history, made, wals=1)
        stored = history.stored
    with History(tmp_path / "other", made.path, generation="0" * 16, page_size=8192) as history:
        history.stored = stored
        fill(history, made, wals=1, segments=0)
    legacy.convert(made.path, new)
    before = bytes_of(new)
    assert names(new)[0] == (0, 5, 5)
    shutil.rmtree(new / "ltx/0")
    assert legacy.convert(made.path, new).files == 1
    assert bytes_of(new) == before


def test_a_history_of_other_generations_is_refused(made: Made, new: Path, tmp_path: Path) -> None:
    """Also if a conversion of it was interrupted."""
    other = make(tmp_path / "other", "00000000000000bb")
    with_a_hole(other, new, 3)
    before = bytes_of(new)
    with pytest.raises(LTXFileExistsError):
        legacy.convert(made.path, new)
    assert bytes_of(new) == before
