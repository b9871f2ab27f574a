"""The promises of an object store."""

from __future__ import annotations

import io
import time
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING

from ltxcore.errors import ObjectExistsError, ObjectNotFoundError
from ltxcore.stores import BLOCK_SIZE, SignedURL
from ltxcore.testing._tools import (
    THREADS,
    TIME,
    BrokenSource,
    SourceFailed,
    at_once,
    first_difference,
    in_pieces,
    raises,
    succeeded,
)
from ltxcore.testing._version_contract import VersionContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from pathlib import Path

    from ltxcore.stores import ObjectInfo, ObjectStore

_DATA = bytes(range(256)) * 4
#: In the order of the bytes of their UTF-8 form.
_ODD_KEYS = [
    " /leading space",
    "%41/percent",
    "+&=?#:@;,!$'()*/signs",
    "..a/.hidden",
    "A",
    "a b/c d.ltx",
    "a-b",
    "a/b",
    "a0",
    'quote"<>|^`{}[]~',
    "u/\u00e9",
    "u/\u4e2d\u6587",
    "u/\uffee",
    "u/\U0001f4be",
    "z" * 200 + "/" + "z" * 200,
]


class ObjectStoreContract(VersionContract):
    """What every :class:`~ltxcore.stores.ObjectStore` has to do. Override :meth:`make`."""

    #: The size of the object, in bytes, that is read without being held in memory. Smaller is faster, but not below 8 MiB.
    big_object: int = 16 << 20
    #: How many objects are listed, and deleted, at once: more than the storage has on one page of a listing. Fewer are faster.
    many_objects: int = 1100

    def make(self, tmp_path: Path) -> ObjectStore:
        """An empty store.

        Args:
            tmp_path: an empty directory, which may be used for anything.
        """
        raise NotImplementedError("override make()")

    def test_a_new_store_is_empty(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            store.init()
            store.init()
            assert [*store.list("")] == []
            assert [*store.list("any/prefix", start="any/prefix/x")] == []
            assert store.delete([]) == {}
            assert [*store.read_many([])] == []
            assert len(store.type.split()) == 1

    def test_a_closed_store_connects_again(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            _put(store, "a", b"1")
            store.close()
            store.close()
            assert store.read("a") == b"1"

    def test_listings_ascend(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            for key in _shuffled(_ODD_KEYS):
                _put(store, key, key.encode())
            assert _keys(store.list("")) == _ODD_KEYS == sorted(_ODD_KEYS, key=str.encode)
            assert [store.read(key).decode() for key in _ODD_KEYS] == _ODD_KEYS

    def test_a_prefix_is_a_text(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            keys = ["a/x/1", "a/x/2", "a/xy", "a/y", "ab", "b/a/x/1"]
            for key in keys:
                _put(store, key)
            assert _keys(store.list("a")) == keys[:5]
            assert _keys(store.list("a/")) == keys[:4]
            assert _keys(store.list("a/x")) == keys[:3]
            assert _keys(store.list("a/x/")) == keys[:2]
            assert _keys(store.list("a/x/2")) == keys[1:2]
            assert _keys(store.list("a/x/2/")) == []
            assert _keys(store.list("c")) == []

    def test_a_listing_begins_at_start(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            keys = ["a/1", "a/2", "a/3", "a/4/1", "b"]
            for key in keys:
                _put(store, key)
            assert _keys(store.list("a/", start="a/2")) == keys[1:4]
            assert _keys(store.list("a/", start="a/2\u00e9")) == keys[2:4]
            assert _keys(store.list("a/", start="a/4/1")) == keys[3:4]
            assert _keys(store.list("a/", start="a/4/2")) == []
            assert _keys(store.list("a/", start="a")) == keys[:4]
            assert _keys(store.list("a/", start="Z")) == keys[:4]
            assert _keys(store.list("a/", start="b")) == []
            assert _keys(store.list("", start="a/3")) == keys[2:]

    def test_many_objects_are_listed_and_deleted(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            keys = [f"m/{number:06}" for number in range(self.many_objects)]

            def put(thread: int) -> None:
                for key in keys[thread::THREADS]:
                    _put(store, key)

            succeeded(at_once(put))
            assert not first_difference(_keys(store.list("m/")), keys)
            assert _keys(store.list("m/", start=keys[-2])) == keys[-2:]
            assert store.delete(keys[1:]) == {}
            assert not first_difference(_keys(store.list("")), keys[:1])

    def test_a_listing_goes_on_while_objects_come_and_go(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            for key in ("a/1", "a/2", "a/4", "a/5"):
                _put(store, key)
            listing = iter(store.list("a/"))
            found = [next(listing).key]
            _put(store, "a/3")
            store.delete(["a/4"])
            found += _keys(listing)
            assert found == sorted(found)
            assert [key for key in found if key not in ("a/3", "a/4")] == ["a/1", "a/2", "a/5"]

    def test_objects_are_listed_as_write_returned_them(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            written = [_put(store, f"k/{number}", bytes(number)) for number in (0, 1, 1000)]
            listed = [*store.list("k/")]
            assert [(info.key, info.size) for info in listed] == sorted(
                (info.key, info.size) for info in written
            )
            # Services tell the time that they list only in a listing.
            tolerance = timedelta(0) if store.capabilities.keeps_time else timedelta(seconds=5)
            by_key = {info.key: info for info in written}
            assert all(abs(info.modified - by_key[info.key].modified) <= tolerance for info in listed)
            assert {info.key: info.size for info in written} == {"k/0": 0, "k/1": 1, "k/1000": 1000}
            assert all(info.modified.utcoffset() is not None for info in written)

    def test_times_are_kept_to_the_millisecond(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            for at, key in enumerate(("a", "b")):
                when = TIME + timedelta(milliseconds=at)
                written = _put(store, key, when=when)
                if store.capabilities.keeps_time:
                    assert written.modified == when
                    assert [info.modified for info in store.list(key)] == [when]

    def test_ranges_are_read(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            _put(store, "a", _DATA)
            _put(store, "empty", b"")
            for offset, size in _ranges(len(_DATA)):
                expected = _cut(_DATA, offset, size)
                found = store.read("a", offset=offset, size=size)
                assert found == expected
                assert isinstance(found, bytes)
                with store.open("a", offset=offset, size=size) as file:
                    assert file.read() == expected
            assert store.read("empty") == store.read("empty", size=5) == store.read("empty", offset=5) == b""
            with store.open("empty") as file:
                assert file.read(7) == b""

    def test_readers_yield_all_bytes_in_pieces_of_any_size(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            data = _DATA * (2 * BLOCK_SIZE // len(_DATA)) + b"rest"
            _put(store, "a", data)
            for piece in (1000, BLOCK_SIZE, BLOCK_SIZE + 1):
                with store.open("a", offset=3) as file:
                    found = in_pieces(file, piece)
                    assert not first_difference(found, data[3:])

    def test_many_ranges_are_read(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            _put(store, "a", _DATA)
            _put(store, "b", b"123")
            requests = [("b", 1, 1), ("a", 7, 9), ("b", 0, 99), ("a", 0, 1), ("b", 3, 5), ("b", 1, 1)] * 20
            found = [*store.read_many(requests)]
            assert found == [b"2", _DATA[7:16], b"123", _DATA[:1], b"", b"2"] * 20
            assert all(isinstance(each, bytes) for each in found)
            with raises(ObjectNotFoundError):
                store.read_many([("b", 0, 1), ("missing", 0, 1)])

    def test_what_is_missing_is_not_found(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            _put(store, "a/b")
            for key in ("missing", "a/missing", "a/b0"):
                for size in (None, 10):
                    with raises(ObjectNotFoundError):
                        store.read(key, size=size)
                    with raises(ObjectNotFoundError), store.open(key, size=size) as file:
                        file.read()

    def test_a_big_object_is_not_held_in_memory(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            _put(store, "big", bytes(self.big_object))
            tracemalloc.start()
            try:
                before, total = tracemalloc.get_traced_memory()[0], 0
                tracemalloc.reset_peak()
                with store.open("big") as file:
                    while block := file.read(1 << 16):
                        total += len(block)
                peak = tracemalloc.get_traced_memory()[1] - before
            finally:
                tracemalloc.stop()
            assert total == self.big_object
            assert peak < self.big_object // 2, f"{peak} bytes of memory to read {total} bytes"

    def test_an_object_is_replaced(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            _put(store, "a", _DATA)
            assert _put(store, "a", b"new").size == 3
            assert store.read("a") == b"new"
            assert [(info.key, info.size) for info in store.list("")] == [("a", 3)]

    def test_data_is_read_from_where_it_stands_and_stays_open(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            data = io.BytesIO(_DATA)
            data.seek(100)
            assert store.write("a", data).size == len(_DATA) - 100
            assert not data.closed
            assert store.read("a") == _DATA[100:]

    def test_data_that_fails_leaves_nothing(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            _put(store, "old", b"old")
            modes = (False, True) if store.capabilities.creates_if_absent else (False,)
            for if_absent in modes:
                with raises(SourceFailed):
                    store.write("new", BrokenSource(_DATA), if_absent=if_absent)
            with raises(SourceFailed):
                store.write("old", BrokenSource(_DATA))
            assert _keys(store.list("")) == ["old"]
            assert store.read("old") == b"old"

    def test_an_object_is_created_only_if_it_is_absent(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            if not store.capabilities.creates_if_absent:
                return
            store.write("a", io.BytesIO(b"first"), if_absent=True, time=TIME)
            for other in (b"first", b"other", b""):
                with raises(ObjectExistsError):
                    store.write("a", io.BytesIO(other), if_absent=True)
            assert store.read("a") == b"first"
            assert store.delete(["a"]) == {}
            store.write("a", io.BytesIO(b"again"), if_absent=True)
            assert store.read("a") == b"again"

    def test_one_of_many_creates_an_object(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            if not store.capabilities.creates_if_absent:
                return
            for turn in range(5):
                key = f"race/{turn}"

                def write(number: int, key: str = key) -> ObjectInfo:
                    return store.write(key, io.BytesIO(bytes([number]) * 999), if_absent=True)

                done = at_once(write)
                winners = [number for number, each in enumerate(done) if not isinstance(each, Exception)]
                losers = [each for each in done if isinstance(each, Exception)]
                assert len(winners) == 1, done
                assert all(isinstance(each, ObjectExistsError) for each in losers), done
                assert store.read(key) == bytes(winners) * 999

    def test_objects_are_deleted(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            for key in ("a", "d/1", "d/2", "z"):
                _put(store, key)
            assert store.delete(key for key in ("d/1", "missing", "a", "a")) == {}
            assert _keys(store.list("")) == ["d/2", "z"]
            assert store.delete(["a", "d/2"]) == {}
            assert store.delete(f"missing/{number}" for number in range(1001)) == {}
            assert _keys(store.list("")) == ["z"]

    def test_a_location_is_where_the_object_is(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            _put(store, "a/b c", _DATA)
            place = store.locate("a/b c")
            if isinstance(place, SignedURL):
                assert place.url not in repr(place)
                assert place.expires_at.utcoffset() is not None
            elif place is not None:
                assert place.read_bytes() == _DATA

    def test_a_change_changes_the_token(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            tokens = [store.change_token()]
            changes: list[Callable[[], object]] = [
                lambda: _put(store, "a"),
                lambda: _put(store, "b"),
                lambda: store.delete(["a"]),
            ]
            for change in changes:
                # The clock of a file system may be this coarse.
                time.sleep(0.05)
                change()
                tokens.append(store.change_token())
            assert tokens[-1] == store.change_token()
            assert all(token is None for token in tokens) or len({*tokens}) == len(tokens)

    def test_threads_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:

            def work(number: int) -> None:
                for turn in range(5):
                    key, data = f"t/{number}/{turn}", bytes([number, turn]) * 500
                    _put(store, key, data)
                    assert store.read(key) == data
                    assert _keys(store.list(f"t/{number}/")) == [key]
                    with store.open(key, offset=1) as file:
                        assert file.read() == data[1:]
                    assert store.delete([key]) == {}

            succeeded(at_once(work))
            assert _keys(store.list("")) == []


def _put(store: ObjectStore, key: str, data: bytes = b"x", *, when: datetime = TIME) -> ObjectInfo:
    return store.write(key, io.BytesIO(data), time=when)


def _keys(infos: Iterable[ObjectInfo]) -> list[str]:
    return [info.key for info in infos]


def _shuffled(keys: list[str]) -> list[str]:
    """The same keys in another order, the same one each time."""
    return [*keys[1::3], *reversed(keys[2::3]), *keys[::3]]


def _ranges(size: int) -> list[tuple[int, int | None]]:
    """Offsets and sizes within an object of so many bytes, at its end, and beyond it."""
    offsets = (0, 1, 100, size - 1, size, size + 1, size + 10_000)
    return [(offset, count) for offset in offsets for count in (None, 0, 1, 10, size, 2 * size)]


def _cut(data: bytes, offset: int, size: int | None) -> bytes:
    return data[offset:] if size is None else data[offset : offset + size]
