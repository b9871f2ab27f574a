"""What open blobs see of changes; sources that are streamed in; chunks that make up a whole."""

import gc
import io
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ltxcore.blob_store import BlobStore
from ltxcore.errors import (
    BlobChangedError,
    BlobExistsError,
    BlobNameError,
    BlobTooLargeError,
    ChunkGapError,
    SizeMismatchError,
    StoreBusyError,
)

from tests.unit.blobs import opened, quick

OLD, NEW = b"0123456789" * 20_000, b"x"


def delete(store: BlobStore) -> None:
    store.delete("a")


def overwrite(store: BlobStore) -> None:
    store.put("a", NEW)


def evict(store: BlobStore) -> None:
    store.get("keeps the order")
    store.capacity = 1
    store.capacity = None


def rename_over(store: BlobStore) -> None:
    store.put("b", NEW)
    store.rename("b", "a", overwrite=True)


def compose_over(store: BlobStore) -> None:
    store.put("p/0", NEW)
    store.compose("a", "p/")


def clear(store: BlobStore) -> None:
    store.clear()
    store.vacuum()


CHANGES = [delete, overwrite, evict, rename_over, compose_over, clear]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("chunk_size", [70_000, 1 << 20])
def test_over_wal_an_open_blob_stays_as_it_was(
    tmp_path: Path, change: Callable[[BlobStore], None], chunk_size: int
) -> None:
    with opened(tmp_path / "s.db", options=quick(chunk_size=chunk_size)) as store:
        store["a"] = OLD
        before = store.open("a")
        assert before.read(5) == OLD[:5]
        change(store)
        assert store.get("a", b"") != OLD
        with before:
            assert before.read() == OLD[5:]
            before.seek(-3, io.SEEK_END)
            assert before.read() == OLD[-3:]
        assert store.get("a") in {NEW, None}
        assert store.check().is_clean


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("chunk_size", [70_000, 1 << 20])
@pytest.mark.parametrize("where", ["delete", "memory", "shared"])
def test_without_wal_an_open_blob_that_goes_says_so(
    tmp_path: Path, change: Callable[[BlobStore], None], chunk_size: int, where: str
) -> None:
    if where == "delete":
        store = opened(tmp_path / "s.db", options=quick(chunk_size=chunk_size, journal_mode="delete"))
    else:
        name = None if where == "memory" else f"streams {chunk_size}"
        store = BlobStore.memory(options=quick(chunk_size=chunk_size), shared_name=name)
    with store:
        store["a"] = OLD
        file = store.open("a").detach()
        assert file.read(5) == OLD[:5]
        change(store)
        with pytest.raises(BlobChangedError):
            file.readall()
        file.close()
        assert store.check().is_clean


def test_chunks_are_read_as_they_were(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db") as store:
        store["p/0"], store["p/100000"] = bytes(100_000), OLD
        with store.open_chunks("p/") as file:
            store.delete_prefix("p/")
            store["p/0"] = NEW
            assert file.read() == bytes(100_000) + OLD
        assert store.read_consecutive_chunks("p/") == NEW


def test_two_readers_of_one_blob_are_independent(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(chunk_size=1000, readers=3)) as store:
        store["a"] = OLD
        with store.open("a") as one, store.open("a") as two:
            got = bytearray()
            for place in range(0, 50_000, 2500):
                two.seek(len(OLD) - place)
                assert two.read(10) == OLD[len(OLD) - place :][:10]
                got += one.read(2500)
            assert got == OLD[:50_000]
            assert store.stats().open_readers == 2


def test_readers_that_stay_open_use_up_the_readers(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(readers=2, busy_timeout=0.1)) as store:
        store["a"] = OLD
        one, two = store.open("a"), store.open("a")
        with pytest.raises(StoreBusyError) as caught:
            store.get("a")
        assert caught.value.hint is not None
        threading.Timer(0.05, one.close).start()
        with opened(tmp_path / "s.db", options=quick(readers=1)) as other:
            assert other["a"] == OLD
        del two  # forgotten readers come back too
        assert store["a"] == OLD


class Source:
    """Yields these pieces, whatever is asked for."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces = list(pieces)
        self.reads = 0

    def read(self, _size: int = -1, /) -> Any:
        self.reads += 1
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, BaseException):
            raise piece
        return piece


@pytest.mark.parametrize("chunk_size", [4, 5, 10, 100])
def test_a_source_may_come_in_pieces_of_any_size(tmp_path: Path, chunk_size: int) -> None:
    with opened(tmp_path / "s.db", options=quick(chunk_size=chunk_size)) as store:
        pieces = [b"0", b"12", bytearray(b"3"), memoryview(b"45")[:1], b"5", b"6", b"789"]
        store.put_sized("a", Source(*pieces), 10, tags={"k": 1})
        assert store["a"] == b"0123456789"
        assert store.tags("a") == {"k": 1}
        store.put_sized("empty", Source(), 0)
        assert store["empty"] == b""
        assert (store.stats().puts, store.stats().bytes_in) == (2, 10)


@pytest.mark.parametrize(
    ("pieces", "raised"),
    [
        ((b"0123", b"45"), SizeMismatchError),
        ((b"0123456789", b"x"), SizeMismatchError),
        ((b"01234567", b"89x"), SizeMismatchError),
        ((b"0123", LookupError("mine")), LookupError),
        ((b"0123", KeyboardInterrupt("mine")), KeyboardInterrupt),
        ((b"0123", "text"), TypeError),
        ((b"0123", None), SizeMismatchError),
        ((LookupError("mine"),), LookupError),
    ],
)
@pytest.mark.parametrize("chunk_size", [3, 100])
def test_a_source_that_fails_leaves_what_was_there(
    tmp_path: Path, pieces: tuple[Any, ...], raised: type[BaseException], chunk_size: int
) -> None:
    with opened(tmp_path / "s.db", options=quick(chunk_size=chunk_size)) as store:
        store["a"] = b"old"
        with pytest.raises(raised) as caught:
            store.put_sized("a", Source(*pieces), 10)
        if raised in {LookupError, KeyboardInterrupt}:
            assert any(caught.value is piece for piece in pieces)
        assert store["a"] == b"old"
        assert store.stats().puts == 1
        assert store.usage().staged_bytes == 0
        assert store.check().is_clean


def test_a_source_is_not_read_for_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", capacity=100) as store:
        source = Source(bytes(101))
        with pytest.raises(BlobTooLargeError):
            store.put_sized("a", source, 101)
        with pytest.raises(BlobNameError):
            store.put_sized("", source, 10)
        with pytest.raises(ValueError):
            store.put_sized("a", source, -1)
        assert source.reads == 0


def test_a_file_goes_in(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(OLD)
    with opened(tmp_path / "s.db", options=quick(chunk_size=1000)) as store:
        store.put_file("a", path, tags={"from": "a file"})
        assert store["a"] == OLD
        with pytest.raises(FileNotFoundError):
            store.put_file("b", tmp_path / "nowhere")


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("length", [10, 5000])
@pytest.mark.parametrize("chunk_size", [7, 6000, 1 << 20])
def test_chunks_become_one_blob(tmp_path: Path, keep: bool, length: int, chunk_size: int) -> None:
    with opened(tmp_path / "s.db", options=quick(chunk_size=chunk_size)) as store:
        pieces = [bytes([65 + number]) * length for number in range(12)]
        for number in sorted(range(12), key=str):
            store[f"p/{number * length}"] = pieces[number]
        whole = b"".join(pieces)
        store["all"] = b"old"
        assert store.read_consecutive_chunks("p/", size=len(whole)) == whole
        assert store.compose("all", "p/", size=len(whole), delete=not keep) == len(whole)
        assert store["all"] == whole
        assert len(store) == (13 if keep else 1)
        assert store.usage().payload_bytes == len(whole) * (2 if keep else 1)
        assert store.read_range("all", length - 3, 6) == whole[length - 3 : length + 3]
        store.write_at("all", length - 1, b"!!")
        assert store["all"] == whole[: length - 1] + b"!!" + whole[length + 1 :]
        if keep:
            assert store["p/0"] == pieces[0], "a copy does not change with the whole"
            store.delete_prefix("p/")
        assert store.check().is_clean
        store.rename("all", "q/0")
        store[f"q/{len(whole)}"] = b"tail"
        assert store.compose("twice", "q/") == len(whole) + 4
        assert store["twice"].endswith(b"tail") and store.check().is_clean
        store.clear()
        report, usage = store.check(), store.usage()
        assert report.is_clean and usage.payload_bytes == usage.items == 0


@pytest.mark.parametrize("length", [10, 8192])
def test_an_empty_last_chunk_is_no_part_of_the_whole(tmp_path: Path, length: int) -> None:
    with opened(tmp_path / "s.db") as store:
        store["a/0"], store[f"a/{length}"] = bytes(length), b""
        assert store.compose("b/0", "a/") == length
        store[f"b/{length}"] = b"x" * length
        assert store.compose("c", "b/") == 2 * length
        assert store["c"] == bytes(length) + b"x" * length
        store["d/0"] = b""
        assert store.compose("e", "d/") == 0
        assert store["e"] == b"" and list(store) == ["c", "e"]
        assert store.check().is_clean


@pytest.mark.parametrize(
    ("sizes", "total", "raised", "offset", "expected"),
    [
        ({}, None, ChunkGapError, None, 0),
        ({5: 5}, None, ChunkGapError, 5, 0),
        ({0: 5, 6: 5}, None, ChunkGapError, 6, 5),
        ({0: 5, 4: 5}, None, ChunkGapError, 4, 5),
        ({0: 5, 5: 5}, 11, ChunkGapError, None, 10),
        ({0: 5, 5: 5}, 9, SizeMismatchError, None, None),
    ],
)
def test_a_gap_leaves_everything_as_it_is(
    tmp_path: Path,
    sizes: dict[int, int],
    total: int | None,
    raised: type[Exception],
    offset: int | None,
    expected: int | None,
) -> None:
    with opened(tmp_path / "s.db") as store:
        for start, size in sizes.items():
            store[f"p/{start}"] = bytes(size)
        store["all"] = b"old"
        for use in (
            lambda: store.compose("all", "p/", size=total),
            lambda: store.open_chunks("p/", size=total),
            lambda: store.read_consecutive_chunks("p/", size=total),
        ):
            with pytest.raises(raised) as caught:
                use()
            if raised is ChunkGapError:
                assert (caught.value.offset, caught.value.expected) == (offset, expected)
        assert store["all"] == b"old" and len(store) == len(sizes) + 1
        assert store.stats().open_readers == 0


def test_a_whole_keeps_within_the_capacity_and_does_not_eat_itself(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", capacity=30) as store:
        store["p/0"], store["p/10"] = bytes(10), bytes(10)
        with pytest.raises(BlobExistsError):
            store.compose("p/0", "p/")
        assert store.compose("all", "p/", delete=False) == 20
        assert store.usage().payload_bytes == 30
        assert list(store) == ["all", "p/10"]
        store.capacity = 20
        with pytest.raises(ChunkGapError):
            store.compose("all", "p/")
        assert store["all"] == bytes(20)


def test_a_range_may_be_asked_to_be_as_long_as_can_be(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(chunk_size=100)) as store:
        for size in (50, 250):
            store["a"] = OLD[:size]
            assert store.read_range("a", 0, sys.maxsize) == OLD[:size]
            assert store.read_range("a", 10, sys.maxsize) == OLD[10:size]
            assert store.read_range("a", sys.maxsize, sys.maxsize) == b""
            assert store.read_range("a", 1 << 70, 1 << 70) == b""


@pytest.mark.parametrize("writes", [False, True], ids=["reads", "reads and writes in turn"])
def test_memory_does_not_grow_with_the_number_of_chunks_that_were_opened(
    tmp_path: Path, writes: bool
) -> None:
    with opened(tmp_path / "store.db", options=quick(readers=2)) as store:
        store["long"] = bytes(100_000)

        def references() -> int:
            for _ in range(5000):
                assert len(store["long"]) == 100_000
                if writes:
                    store.write_at("long", 0, b"x")
                else:
                    store.read_range("long", 0, 1)
            return sum(type(one) is weakref.ref for one in gc.get_objects())

        # Python's connections would keep one of each.
        before = references()
        assert references() - before < 4500
