"""restore(update=True) after files were merged and deleted, or replaced by another history: an earlier file is the proof.

None of these files has a checksum of the whole database, so nothing else would find a copy that mixes two histories.
"""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import ltxcore
from ltxcore import Replica, RestoreResult
from ltxcore.errors import LTXFileNotFoundError

from tests.unit.memory import Key, MemoryClient, ltx_file, merge, page
from tests.unit.test_restore_update import Place

SIZE = 8
#: The pages that a transaction writes, and how many pages there are then.
Change = tuple[dict[int, bytes], int]


def write(client: MemoryClient, txid: int, change: Change, level: int = 0) -> None:
    pages, commit = change
    client.files[level, txid, txid] = ltx_file(pages, commit=commit, min_txid=txid)


def full(seed: int) -> dict[int, bytes]:
    """Every page, such that they are not much shorter when they are compressed."""
    return {n: random.Random(100 * seed + n).randbytes(512) for n in range(1, SIZE + 1)}


def beginning() -> MemoryClient:
    """Three transactions at level 1, a fourth and a fifth, which change pages 3 and 4, at level 0."""
    client = MemoryClient()
    write(client, 1, (full(1), SIZE))
    write(client, 2, ({2: page(20)}, SIZE))
    write(client, 3, ({2: page(21)}, SIZE))
    merge(client)
    write(client, 4, ({3: page(30)}, SIZE))
    write(client, 5, ({4: page(40)}, SIZE))
    return client


def snapshot(client: MemoryClient, state: bytes, txid: int) -> None:
    pages = {at // 512 + 1: state[at : at + 512] for at in range(0, len(state), 512)}
    client.files[9, 1, txid] = ltx_file(pages, commit=len(pages), min_txid=1, max_txid=txid)


def fork(client: MemoryClient, *changes: Change) -> None:
    """Another history after the third transaction, under the names of the first one."""
    for key in [key for key in client.files if key[2] > 3]:
        del client.files[key]
    for txid, change in enumerate(changes, start=4):
        write(client, txid, change)


def whole(client: MemoryClient, tmp_path: Path, **target: int) -> bytes:
    ltxcore.restore(client, tmp_path / "whole.db", overwrite=True, **target)  # type: ignore[arg-type]
    return (tmp_path / "whole.db").read_bytes()


def names(result: RestoreResult) -> list[Key]:
    return [(file.level, file.min_txid, file.max_txid) for file in result.files]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy.db"


def test_only_what_follows_the_last_merged_file_is_read(tmp_path: Path, copy: Path) -> None:
    client = beginning()
    assert not ltxcore.restore(client, copy, update=True).updated
    write(client, 6, ({5: page(50)}, SIZE))
    merge(client)
    result = ltxcore.restore(client, copy, update=True)
    assert (result.updated, names(result)) == (True, [(1, 4, 6)])
    assert copy.read_bytes() == whole(client, tmp_path)


def test_day_after_day(tmp_path: Path, copy: Path) -> None:
    """Whatever was read last, an earlier file stays: above level 0 only what a snapshot replaces is deleted."""
    client = beginning()
    Replica(client).compact(2)
    ltxcore.restore(client, copy, update=True)
    txid = 5
    for turn in range(40):
        for _ in range(3):
            txid += 1
            write(client, txid, ({1 + txid * 5 % SIZE: page(100 + txid % 100)}, SIZE))
        merge(client)
        if turn % 3 == 1:
            Replica(client).compact(2)
        if turn % 9 == 4:
            Replica(client).compact(3)
        if turn % 10 == 5:
            snapshot(client, whole(client, tmp_path), txid)
        if turn % 10 == 7:
            kept = max(last for level, _, last in client.files if level == 9)
            for key in [key for key in client.files if key[2] <= kept and key != (9, 1, kept)]:
                del client.files[key]
        txid += 1
        write(client, txid, ({1: page(turn)}, SIZE))
        result = ltxcore.restore(client, copy, update=True)
        assert result.updated and all(file.min_txid > 1 for file in result.files), (turn, names(result))
        assert copy.read_bytes() == whole(client, tmp_path)
        record = json.loads(Path(f"{copy}-ltxcore").read_text())
        assert len(record["witnesses"]) <= 7


CHANGES: dict[str, tuple[bool, list[Change]]] = {
    "the same pages": (True, [({3: page(31), 4: page(41)}, SIZE)]),
    "the same pages and others": (True, [({3: page(31)}, SIZE), ({4: page(41), 7: page(70)}, SIZE)]),
    "other pages": (False, [({5: page(51)}, SIZE), ({6: page(61)}, SIZE), ({7: page(71)}, SIZE)]),
    "one of the same pages": (False, [({4: page(42)}, SIZE), ({6: page(62)}, SIZE), ({1: page(1)}, SIZE)]),
    "nothing": (False, []),
    "shorter than what is in doubt": (True, [({1: page(11)}, 2)]),
    "shorter, but not enough": (False, [({1: page(11)}, 3)]),
    "longer": (False, [({1: page(11), SIZE + 1: page(9)}, SIZE + 1)]),
    "longer, with the same pages": (True, [({3: page(3), 4: page(4), SIZE + 1: page(9)}, SIZE + 1)]),
    "shorter, then as long": (
        True,
        [({1: page(11)}, 2), ({n: page(90 + n) for n in range(3, SIZE + 1)}, SIZE)],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("is_lost", [False, True], ids=["another file", "no file"])
def test_two_histories_are_never_mixed(tmp_path: Path, copy: Path, name: str, is_lost: bool) -> None:
    is_continued, changes = CHANGES[name]
    client = beginning()
    ltxcore.restore(client, copy, update=True)
    fork(client, *changes)
    if is_lost and changes:
        merge(client)
    result = ltxcore.restore(client, copy, update=True)
    assert copy.read_bytes() == whole(client, tmp_path)
    assert result.updated == is_continued
    write(client, result.pos.txid + 1, ({8: page(88)}, max(8, len(copy.read_bytes()) // 512)))
    client.files[0, result.pos.txid + 1, result.pos.txid + 1] = ltx_file(
        {n: page(80 + n) for n in range(3, SIZE + 2)}, commit=SIZE + 1, min_txid=result.pos.txid + 1
    )
    assert ltxcore.restore(client, copy, update=True).updated
    assert copy.read_bytes() == whole(client, tmp_path)


@pytest.mark.parametrize("brings_it", [False, True])
def test_a_page_that_only_the_copy_cut_off(tmp_path: Path, copy: Path, brings_it: bool) -> None:
    """The other history still has it, and the copy does not."""
    client = beginning()
    write(client, 6, ({1: page(6)}, SIZE - 2))
    ltxcore.restore(client, copy, update=True)
    others = {SIZE - 1: page(7), SIZE: page(8)} if brings_it else {5: page(5)}
    fork(client, ({1: page(61), 3: page(61), 4: page(61)} | others, SIZE))
    result = ltxcore.restore(client, copy, update=True)
    assert copy.read_bytes() == whole(client, tmp_path)
    assert result.updated == brings_it


def test_a_page_that_was_cut_off_and_came_back(tmp_path: Path, copy: Path) -> None:
    """It is the copy's alone, although an earlier file has a page of this number."""
    client = beginning()
    write(client, 6, ({1: page(6)}, 3))
    write(client, 7, ({n: page(70 + n) for n in range(4, SIZE + 1)}, SIZE))
    ltxcore.restore(client, copy, update=True)
    fork(client, ({1: page(61), 3: page(61), 4: page(61)}, SIZE), ({8: page(62)}, SIZE))
    result = ltxcore.restore(client, copy, update=True)
    assert copy.read_bytes() == whole(client, tmp_path)
    assert not result.updated


def test_what_an_update_left_is_in_doubt_as_well(tmp_path: Path, copy: Path) -> None:
    """Pages that the copy had before the update, and pages that the update brought."""
    client = beginning()
    ltxcore.restore(client, copy, update=True)
    write(client, 6, ({5: page(50)}, SIZE))
    assert ltxcore.restore(client, copy, update=True).updated
    for pages, is_continued in ({5, 4}, False), ({3, 4}, False), ({3, 4, 5}, True):
        kept = dict(client.files)
        saved = {path: path.read_bytes() for path in tmp_path.iterdir()}
        times = copy.stat().st_atime_ns, copy.stat().st_mtime_ns
        fork(client, *(({n: page(200 + n)}, SIZE) for n in sorted(pages)))
        result = ltxcore.restore(client, copy, update=True)
        assert copy.read_bytes() == whole(client, tmp_path)
        assert result.updated == is_continued, pages
        client.files = kept
        for path, content in saved.items():
            path.write_bytes(content)
        os.utime(copy, ns=times)


def test_a_replica_that_is_replaced_while_it_is_read(tmp_path: Path, copy: Path) -> None:
    client = beginning()
    ltxcore.restore(client, copy, update=True)
    write(client, 6, ({3: page(31), 4: page(41)}, SIZE))
    merge(client)
    other = MemoryClient()
    write(other, 1, (full(2), SIZE))
    write(other, 2, ({2: page(120)}, SIZE))
    write(other, 3, ({2: page(121)}, SIZE))
    merge(other)
    for txid in 4, 5, 6:
        write(other, txid, ({3: page(131), 4: page(140 + txid)}, SIZE))
    merge(other)

    def replace(key: Key) -> None:
        # The second file is the first that is read of it; the first one was looked at before.
        if key == (1, 4, 6):
            client.files = other.files

    client.before_read = replace
    ltxcore.restore(client, copy, update=True)
    assert copy.read_bytes() == whole(client, tmp_path) == whole(other, tmp_path)


def test_the_file_that_proves_it_is_deleted_while_others_are_read(tmp_path: Path, copy: Path) -> None:
    client = beginning()
    ltxcore.restore(client, copy, update=True)
    write(client, 6, ({3: page(31), 4: page(41)}, SIZE))
    merge(client)
    expected = whole(client, tmp_path)
    snapshot(client, expected, 6)

    def delete(key: Key) -> None:
        if key == (1, 4, 6):
            client.files.pop((1, 1, 3), None)

    client.before_read = delete
    ltxcore.restore(client, copy, update=True)
    assert copy.read_bytes() == expected


def test_to_a_state_between_that_file_and_the_copy(tmp_path: Path, copy: Path) -> None:
    """It is right whether the files bring back what the copy has from later ones, or everything is read."""
    client = beginning()
    for txid in range(6, 12):
        write(client, txid, ({3: page(txid), 4: page(txid)}, SIZE))
    ltxcore.restore(client, copy, update=True)
    for target in 11, 10, 9, 5, 4, 3, 11:
        result = ltxcore.restore(client, copy, update=True, txid=target)
        assert result.pos.txid == target
        assert copy.read_bytes() == whole(client, tmp_path, txid=target)


def test_a_time_between_them(tmp_path: Path, copy: Path) -> None:
    client = beginning()
    ltxcore.restore(client, copy, update=True)
    merge(client)
    write(client, 6, ({6: page(60)}, SIZE))
    write(client, 7, ({7: page(70)}, SIZE))
    result = ltxcore.restore(client, copy, update=True, timestamp="2026-01-01T00:00:06.500Z")
    assert (result.updated, result.pos.txid) == (True, 6)
    assert copy.read_bytes() == whole(client, tmp_path, txid=6)


def test_a_record_of_an_earlier_version(tmp_path: Path, copy: Path) -> None:
    client, record = beginning(), Path(f"{copy}-ltxcore")
    ltxcore.restore(client, copy, update=True)
    fields = json.loads(record.read_text())
    record.write_text(json.dumps({key: fields[key] for key in fields if key not in ("witnesses", "runs")}))
    write(client, 6, ({5: page(50)}, SIZE))
    result = ltxcore.restore(client, copy, update=True)
    assert (result.updated, names(result)) == (True, [(0, 6, 6)])
    assert copy.read_bytes() == whole(client, tmp_path)


@pytest.mark.parametrize("runs", ["", "!", "eJwDAAAAAAE=", "eJx", 7, None])
def test_a_damaged_record(tmp_path: Path, copy: Path, runs: object) -> None:
    client, record = beginning(), Path(f"{copy}-ltxcore")
    ltxcore.restore(client, copy, update=True)
    fields = json.loads(record.read_text())
    record.write_text(json.dumps(fields | {"runs": runs}))
    fork(client, ({3: page(31)}, SIZE))
    ltxcore.restore(client, copy, update=True)
    assert copy.read_bytes() == whole(client, tmp_path)


def test_a_file_that_cannot_be_looked_at_is_no_proof(tmp_path: Path, copy: Path) -> None:
    client = beginning()
    ltxcore.restore(client, copy, update=True)
    write(client, 6, ({5: page(50)}, SIZE))
    del client.files[0, 5, 5]
    snapshot(client, whole(beginning(), tmp_path), 5)

    def gone(key: Key) -> None:
        if key == (1, 1, 3):
            raise LTXFileNotFoundError("gone")

    client.before_read = gone
    ltxcore.restore(client, copy, update=True)
    assert copy.read_bytes() == whole(client, tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    try:
        yield place
    finally:
        place.db.close()
        place.app.connection.close()


def test_hourly_updates_of_a_database_whose_files_are_merged(place: Place) -> None:
    """The files of level 0 are gone each time, and those of the levels above stay."""
    place.db.compact(1)
    first = place.update()
    client = Replica(place.replica).client
    for hour in range(4):
        place.change()
        place.db.compact(1)
        if hour % 2:
            place.db.compact(2)
        place.change()
        place.db.compact(1)
        place.remove(0, all_but=1)
        result = place.update(journal_mode="delete" if hour == 1 else "keep")
        if hour == 2:
            place.db.snapshot()
        assert result.updated
        assert place.is_right(**({"journal_mode": "delete"} if hour == 1 else {}))
        merged = sum(file.size for level in (1, 2) for file in client.ltx_files(level) if file.min_txid > 1)
        assert 0 < result.bytes_read <= merged
        assert result.bytes_read <= 0.06 * first.bytes_read
