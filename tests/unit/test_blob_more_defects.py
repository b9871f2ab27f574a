"""Defects of the original design, each by its number: 15 to 30. They do not come back."""

import contextlib
import io
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from ltxcore.blob_store import BlobStore
from ltxcore.blob_store._sql.queries import where
from ltxcore.blob_store._sql.sqlite import is_busy
from ltxcore.errors import (
    BlobNameError,
    ChunkGapError,
    SizeMismatchError,
    StoreClosedError,
)

from tests.unit.blobs import locked, opened, plain, quick


def test_defect_15_no_character_of_a_prefix_is_a_wildcard_and_case_counts(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db") as store:
        for name in ("a/1", "A/2", "a_b/1", "axb/2", "%/1", "%%/2"):
            store[name] = b""
        assert list(store.list("a/")) == ["a/1"]
        assert list(store.list("a_b/")) == ["a_b/1"]
        assert list(store.list("%/")) == ["%/1"]
        assert store.delete_prefix("a_") == 1
        assert "axb/2" in store


def test_defect_16_a_prefix_is_a_search_in_an_index(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path) as store:
        store["a"] = b""
        condition, values = where("a/")
        with plain(path) as connection:
            rows = connection.execute(f"EXPLAIN QUERY PLAN SELECT name FROM item WHERE {condition}", values)
            assert [row[3].split(" USING ")[0] for row in rows] == ["SEARCH item"]


def test_defect_17_a_directory_has_what_is_directly_in_it(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db") as store:
        for name in ("d/a", "d/x/y", "d/x/z/w", "d/x", "dd/a", "e"):
            store[name] = b""
        assert list(store.iterdir("d")) == ["d/a", "d/x", "d/x/"]
        assert list(store.iterdir("d/")) == ["d/a", "d/x", "d/x/"]
        assert list(store.iterdir()) == ["d/", "dd/", "e"]
        assert list(store.list("d/")) == ["d/a", "d/x", "d/x/y", "d/x/z/w"]


def test_defect_18_offsets_follow_a_prefix_of_characters(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db") as store:
        for prefix in ("pr\u00e9/", "\U0001f4a9\u00e9\u00e9:"):
            store[f"{prefix}16384"] = b"end"
            store[f"{prefix}0"] = bytes(16384)
            assert store.read_consecutive_chunks(prefix) == bytes(16384) + b"end"


@pytest.mark.parametrize("suffix", ["junk", "", "5x", "05", "-1", "+5", " 5", "5.0", "\u0665", "1_0", "5\n"])
def test_defect_19_a_name_that_says_no_offset_is_named(tmp_path: Path, suffix: str) -> None:
    with opened(tmp_path / "s.db") as store:
        store["p/0"] = b"01234"
        store[f"p/{suffix}"] = b"56789"
        for read in (store.open_chunks, lambda prefix: store.compose("all", prefix)):
            with pytest.raises(BlobNameError) as caught:
                read("p/")
            assert repr(f"p/{suffix}") in str(caught.value)
        assert "all" not in store


def test_defect_20_gaps_are_found_before_the_first_byte(tmp_path: Path) -> None:
    with BlobStore(tmp_path / "s.db", options=quick()) as store:
        with pytest.raises(ChunkGapError) as caught:
            store.open_chunks("p/")
        assert (caught.value.offset, caught.value.expected) == (None, 0)
        store["p/0"], store["p/5"], store["p/12"] = b"01234", b"56789", b"cd"
        with pytest.raises(ChunkGapError) as caught:
            store.open_chunks("p/")
        assert (caught.value.offset, caught.value.expected) == (12, 10)
        store["p/10"] = b"ab"
        assert store.read_consecutive_chunks("p/", size=14) == b"0123456789abcd"
        with pytest.raises(ChunkGapError) as caught:
            store.open_chunks("p/", size=20)
        assert (caught.value.offset, caught.value.expected) == (None, 14)
        with pytest.raises(SizeMismatchError):
            store.open_chunks("p/", size=13)


def test_defect_21_a_negative_offset_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db") as store:
        store["a"] = b"0123456789"
        for offset, length in ((-3, 3), (-1, 10), (0, -1)):
            with pytest.raises(ValueError):
                store.read_range("a", offset, length)
        with pytest.raises(ValueError):
            store.readinto("a", bytearray(3), -3)
        with pytest.raises(ValueError):
            store.write_at("a", -3, b"x")
        assert store["a"] == b"0123456789"


def test_defect_22_a_range_of_a_long_blob_does_not_read_all_of_it(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(chunk_size=1 << 16, cache_size=20, mmap_size=0)) as store:
        store["long"] = bytes(16 << 20) + b"the end"
        whole, end = [], []
        for _ in range(3):
            start = time.perf_counter()
            assert len(store["long"]) == (16 << 20) + 7
            whole.append(time.perf_counter() - start)
            start = time.perf_counter()
            assert store.read_range("long", 16 << 20, 100) == b"the end"
            end.append(time.perf_counter() - start)
        assert min(end) * 3 < min(whole)


def test_defect_23_bytes_are_bytes_whatever_they_look_like(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path, capacity=20) as store:
        store["a"] = b"\0hello"
        assert (store.stat("a").size, store["a"], store.usage().payload_bytes) == (6, b"\0hello", 6)
        with pytest.raises(TypeError):
            store.put("b", "text")  # type: ignore[arg-type]  # the point of the test
        with plain(path) as connection, pytest.raises(sqlite3.IntegrityError):
            connection.execute("UPDATE chunk SET data = 'text'")
        store["b"] = bytes(14)
        assert list(store) == ["a", "b"]


def test_defect_24_a_read_never_fails_because_another_program_writes(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path, options=quick(touch="exact", busy_timeout=0.1)) as store:
        store["a"] = b"bytes"
        with locked(path):
            for _ in range(3):
                assert store.get("a") == b"bytes"
                with store.open("a") as file:
                    assert file.read() == b"bytes"
                assert store.read_range("a", 1, 2) == b"yt"
        store.flush()
        assert store.stat("a").hits > 0


@pytest.mark.parametrize("code", [5, 517, 261, 773, 6, 262])
def test_defect_25_every_way_of_being_busy_is_known(code: int) -> None:
    error = sqlite3.OperationalError("busy")
    error.sqlite_errorcode = code
    assert is_busy(error)
    for other in (1, 8, 10, 13, 19, 266):
        error.sqlite_errorcode = other
        assert not is_busy(error)


def test_defect_26_a_stale_snapshot_makes_no_write_fail(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path) as first, opened(path) as second:
        first["count"] = b"0"
        with first.open("count"), second.open("count"):
            for number in range(20):
                (first, second)[number % 2]["count"] = b"%d" % number
        assert first["count"] == second["count"] == b"19"


def test_defect_26_a_batch_is_tried_again_until_the_other_program_is_done(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path, options=quick(busy_timeout=5)) as store:
        with locked(path):
            future = store.put_nowait("a", b"x")
            time.sleep(0.1)
            assert not future.done()
        future.result(timeout=5)
        assert store["a"] == b"x"


def test_defect_27_nobody_waits_for_a_slow_source_and_it_may_use_the_store(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(chunk_size=4, readers=1)) as store:
        go_on, waits = threading.Event(), threading.Event()

        class Source(io.RawIOBase):
            left = 12

            def read(self, size: int = -1, /) -> bytes:
                store["from the source"] = b"%d" % self.left
                assert store["from the source"] == b"%d" % self.left
                if self.left == 8:
                    waits.set()
                    assert go_on.wait(10)
                size = min(size, self.left)
                self.left -= size
                return bytes(size)

        thread = threading.Thread(target=store.put_sized, args=["slow", Source(), 12])
        thread.start()
        try:
            assert waits.wait(10)
            store["quick"] = b"x"
            assert (store["quick"], "slow" in store) == (b"x", False)
        finally:
            go_on.set()
            thread.join(10)
        assert store["slow"] == bytes(12)


def test_defect_28_there_is_one_way_for_sources_in_every_journal_mode(tmp_path: Path) -> None:
    for mode in ("wal", "delete", "truncate", "persist", "memory"):
        options = quick(journal_mode=mode, readers=1, chunk_size=3)
        with opened(tmp_path / f"{mode}.db", options=options) as store:
            store.put_sized("a", io.BytesIO(b"0123456789"), 10)
            assert store["a"] == b"0123456789"


def test_defect_29_a_closed_store_says_that_it_is_closed(tmp_path: Path) -> None:
    for store in (opened(tmp_path / "s.db", options=quick(readers=1)), BlobStore.memory()):
        store["a"] = b"x"
        store.close()
        for use in (lambda: store.get("a"), lambda: store.open("a"), lambda: store.open_chunks("a")):  # noqa: B023
            with pytest.raises(StoreClosedError):
                use()


def test_defect_30_readers_that_were_forgotten_do_not_hold_a_close_up(tmp_path: Path) -> None:
    store = opened(tmp_path / "s.db", options=quick(chunk_size=1 << 16))
    store["a"] = bytes(1 << 18)
    store["p/0"] = bytes(1 << 18)
    readers = [store.open("a"), store.open_chunks("p/"), store.open("a", "r+b")]
    assert readers[0].read(10) == bytes(10)
    start = time.monotonic()
    store.close()
    assert time.monotonic() - start < 3
    for reader in readers:
        with pytest.raises(ValueError, match="closed"):
            reader.read()
    for reader in readers[:2]:
        reader.close()
    with contextlib.suppress(ValueError):
        readers[2].close()
