"""The record of where a replica in the v0.3 layout goes on."""

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ltxcore.db._legacy_state import LegacyState, SegmentMark, SnapshotMark, StateFile

PAGE = 4096
FRAME = PAGE + 24


def state(**changes: Any) -> LegacyState:
    usual = LegacyState("here", 0xAB, PAGE, 7, 99, 1000, 2000)
    return dataclasses.replace(usual, **changes)


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    (tmp_path / "ltxcore").mkdir()
    return StateFile(tmp_path, 0)


FULL = state(
    index=3, offset=32, checksum=(1, 2), segment=SegmentMark(2, 5, 8), snapshot=SnapshotMark(1, 4, 50, 900)
)


@pytest.mark.parametrize("known", [state(), state(place=None, mark=None), FULL])
def test_what_was_saved_is_loaded(file: StateFile, known: LegacyState) -> None:
    file.save(state(txid=1))
    file.save(known)
    assert file.load() == known


def test_nothing_is_known_without_a_record(file: StateFile, tmp_path: Path) -> None:
    assert file.load() is None
    assert StateFile(tmp_path / "nowhere", 0).load() is None


def test_only_the_owner_may_read_it(file: StateFile, tmp_path: Path) -> None:
    file.save(state())
    assert (tmp_path / "ltxcore/v03-0").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "ltxcore").iterdir()] == ["v03-0"]


def test_a_mirror_has_a_record_of_its_own(file: StateFile, tmp_path: Path) -> None:
    StateFile(tmp_path, 1).save(state(txid=5))
    file.save(state(txid=6))
    assert cast(LegacyState, StateFile(tmp_path, 1).load()).txid == 5
    assert StateFile(tmp_path, 1).staging != file.staging


def test_any_damage_is_found(file: StateFile, tmp_path: Path) -> None:
    file.save(FULL)
    path = tmp_path / "ltxcore/v03-0"
    content = path.read_bytes()
    for at in range(len(content) - 1):
        path.write_bytes(content[:at])
        assert file.load() is None, f"cut at {at}"
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert file.load() is None, f"another byte at {at}"
    path.write_bytes(content)
    assert file.load() == FULL


@pytest.mark.parametrize(("pages", "index"), [(0, 4), (1, 4), (999, 4), (1000, 5), (100_000_000, 5)])
def test_a_wal_with_enough_pages_is_followed_by_another(pages: int, index: int) -> None:
    """So no segment begins beyond 4 GiB, which Litestream 0.3 could not read, however large one segment is."""
    before = state(index=4, offset=32 + pages * FRAME, checksum=(5, 6))
    after = before.for_next()
    assert after.index == index
    assert (after == before) == (index == 4)
    assert after.offset < 1 << 32
    if index == 5:
        assert (after.offset, after.checksum) == (0, (0, 0))


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_no_segment_begins_beyond_4_gib(page_size: int) -> None:
    offsets = [0, *(32 + pages * (page_size + 24) for pages in (1, 999, 1000, 1 << 22))]
    for offset in offsets:
        place = state(page_size=page_size, offset=offset).for_next()
        assert place.offset < 1 << 27
        assert len(place.segment_path(place.index, place.offset).rpartition("_")[2]) == len(
            "00000000.wal.lz4"
        )


def test_a_new_wal_is_empty() -> None:
    assert state().for_next() == state()
    assert state().is_new_wal and not state(offset=32).is_new_wal
    assert state(offset=99, checksum=(1, 2), index=5).turned() == state(index=6)


def test_a_segment_and_a_snapshot_are_noted() -> None:
    made = cast(Any, SimpleNamespace(end=555, checksum=(8, 9)))
    after = state(index=2, offset=32).appended(made, 8, 77, 44, 1500)
    assert (after.txid, after.mark, after.newest) == (8, 77, 1500)
    assert (after.index, after.offset, after.checksum) == (2, 555, (8, 9))
    assert after.segment == SegmentMark(2, 32, 44)
    stored = after.turned().rebased(9, None).with_snapshot(70, 1400)
    assert stored.snapshot == SnapshotMark(3, 9, 70, 1400)
    assert (stored.txid, stored.mark, stored.newest) == (9, None, 1500)


def test_names_are_those_of_litestream() -> None:
    known = state(generation=0x2D4C7E635CAEE63)
    assert known.snapshot_path(1) == "generations/02d4c7e635caee63/snapshots/00000001.snapshot.lz4"
    assert known.segment_path(5, 0x1038) == "generations/02d4c7e635caee63/wal/00000005_00001038.wal.lz4"


@pytest.mark.parametrize("kind", ["pipe", "link", "large", "folder"])
def test_what_is_no_record_is_none(tmp_path: Path, kind: str) -> None:
    file = StateFile(tmp_path, 0)
    path = tmp_path / "ltxcore" / "v03-0"
    path.parent.mkdir(exist_ok=True)
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to(path.name)
        case "large":
            with path.open("wb") as made:
                made.truncate(1 << 40)
        case _:
            path.mkdir()
    assert file.load() is None
