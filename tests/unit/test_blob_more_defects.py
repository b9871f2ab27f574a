"""The second half of the defects of the original design, each by its number: they do not come back."""

import contextlib
import io
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from ltxcore.blob_store import BlobPath, BlobStore, Options, _options
from ltxcore.blob_store._failures import is_busy
from ltxcore.errors import (
    BlobNameError,
    BlobStoreError,
    ConfigError,
    NotABlobStoreError,
    OptionMismatchError,
    StoreBusyError,
    StoreClosedError,
)

from tests.unit.blobs import ask, in_use, locked, opened, original, plain, quick, run_script


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


def test_defect_31_a_writer_that_cannot_start_is_told(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    opened(path).close()
    threads, start = set(threading.enumerate()), time.monotonic()
    with locked(path), pytest.raises(StoreBusyError):
        opened(path, capacity=10, options=quick(busy_timeout=0.1))
    assert time.monotonic() - start < 5
    assert set(threading.enumerate()) <= threads
    opened(path, capacity=10).close()


def test_defect_32_one_reader_is_enough_beside_the_writer(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(readers=1)) as store:
        for number in range(20):
            store["a"] = b"%d" % number
            assert store["a"] == b"%d" % number
        with store.open("a"):
            store["b"] = b"written while the one reader is in use"


def test_defect_33_stores_in_memory_are_apart_unless_they_share_a_name() -> None:
    with BlobStore.memory() as one, BlobStore.memory() as two:
        one["a"] = b"one"
        assert "a" not in two
    with BlobStore.memory(shared_name="n") as one, BlobStore.memory(shared_name="n") as two:
        one["a"] = b"one"
        assert two["a"] == b"one"
        with BlobStore.memory(shared_name="N") as three:
            assert "a" not in three
    with BlobStore.memory(shared_name="n") as one:
        assert "a" not in one, "it is gone when all are closed"


@pytest.mark.parametrize("shared_name", [None, "defect 34"])
def test_defect_34_in_memory_an_open_reader_blocks_no_write(shared_name: str | None) -> None:
    with BlobStore.memory(shared_name=shared_name, options=Options(busy_timeout=1)) as store:
        store["a"], store["b"] = bytes(200_000), b"b"
        with store.open("a") as file:
            assert file.read(10) == bytes(10)
            store["b"] = b"changed"
            store.get("a")
            store.flush()
            assert len(file.read()) == 200_000 - 10
        assert store["b"] == b"changed"


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_defect_35_a_store_needs_a_path(path: str) -> None:
    with pytest.raises(ConfigError, match=r"BlobStore\.memory|needs a path"):
        BlobStore(path)


def test_defect_36_many_may_make_a_store_at_once(tmp_path: Path) -> None:
    path, barrier, made = tmp_path / "s.db", threading.Barrier(6), []

    def make(number: int) -> None:
        barrier.wait()
        with BlobStore(path, options=quick()) as store:
            store[f"{number}"] = b"x"
            made.append(number)

    threads = [threading.Thread(target=make, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    with opened(path) as store:
        assert list(store) == ["0", "1", "2", "3", "4", "5"] == [f"{number}" for number in sorted(made)]
        assert store.check().is_clean


@pytest.mark.parametrize("asked", ["application_id", "user_version", "page_count"])
def test_defect_36_a_store_that_is_made_while_it_is_looked_for_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    path, real, made = tmp_path / "s.db", _options.pragma, []

    def pragma(connection: sqlite3.Connection, name: str, value: object = None) -> int | str | None:
        found = real(connection, name, value)
        if name == asked and not made:
            made.append(name)
            with opened(path) as first:
                first["a"] = b"x"
        return found

    monkeypatch.setattr(_options, "pragma", pragma)
    with opened(path) as second:
        assert made and second["a"] == b"x"
        assert second.effective_options.journal_mode == "wal"


def test_defect_36_a_second_process_waits_for_the_first(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    script = """
        import sys
        from ltxcore.blob_store import BlobStore
        with BlobStore(sys.argv[1]) as store:
            store["child"] = b"x"
    """
    with plain(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        done: list[object] = []
        thread = threading.Thread(target=lambda: done.append(run_script(script, path)))
        thread.start()
        thread.join(0.7)
        assert not done
        connection.execute("ROLLBACK")
        thread.join(15)
    assert [(process.returncode, process.stderr) for process in done] == [(0, "")]  # type: ignore[attr-defined]
    with opened(path) as store:
        assert in_use(store) == {"child": b"x"}


def test_defect_37_a_file_gives_its_space_back(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path) as store:
        for number in range(8):
            store[f"{number}"] = bytes(1 << 18)
        before = store.usage()
        store.clear()
        assert store.usage().freelist > 400
        assert store.vacuum(100) == 100
        assert store.vacuum() > 300
        assert store.usage().page_count < before.page_count // 8
        assert store.usage().freelist == 0
        assert store.effective_options.journal_size_limit == 64 << 20
    assert path.stat().st_size < 200_000
    assert not path.with_name("s.db-wal").exists()


def test_defect_38_what_the_file_takes_is_reported_beside_the_payload(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db") as store:
        store["a"] = bytes(1 << 20)
        usage = store.usage()
        assert usage.payload_bytes == 1 << 20
        assert usage.wal_bytes > 1 << 20
        assert usage.page_count * usage.page_size > 1 << 20
        assert usage.file_bytes >= usage.page_size


def test_defect_39_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    opened(path).close()
    assert ask(path, "PRAGMA user_version") == 1
    assert ask(path, "PRAGMA application_id") == 0x4C545842
    with plain(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    with pytest.raises(NotABlobStoreError, match="version 2"):
        opened(path)
    assert path.read_bytes() == before


def test_defect_40_a_mismatch_says_what_was_asked_for_and_what_there_is(tmp_path: Path) -> None:
    opened(tmp_path / "s.db", options=quick(page_size=4096)).close()
    with pytest.raises(OptionMismatchError) as caught:
        opened(tmp_path / "s.db", options=quick(page_size=8192))
    assert (caught.value.name, caught.value.requested, caught.value.actual) == ("page_size", 8192, 4096)
    assert str(caught.value) == "page_size is 4096, where 8192 was asked for"


def test_defect_41_what_was_missing_is_there(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db") as store:
        store["d/a"] = b"0123456789"
        store.write_at("d/a", 3, b"xyz")
        assert store["d/a"] == b"012xyz6789"
        assert store.stat("d/a").name == "d/a"
        assert "d/a" in store and "d/b" not in store
        assert store.rename_prefix("d/", "e/") == 1
        assert list(store) == ["e/a"]
        with store.batch() as batch:
            batch.put("e/b", b"b")
            batch.delete("e/a")
        assert isinstance(store.blob("e"), BlobPath)
        assert store.delete_prefix("e/") == 1


@pytest.mark.parametrize("name", [None, 5, b"bytes", "", "a\0b", "\0"])
def test_defect_42_what_is_no_name_is_refused(tmp_path: Path, name: object) -> None:
    path = tmp_path / "s.db"
    with opened(path) as store:
        store["5"] = b"a number is no name"
        raises = pytest.raises(BlobNameError if isinstance(name, str) else TypeError)
        for use in (lambda: store.put(name, b""), lambda: store.get(name), lambda: store[name]):  # type: ignore[call-overload,arg-type,index]
            with raises:
                use()
        with plain(path) as connection, pytest.raises(sqlite3.IntegrityError):
            connection.execute("INSERT INTO item VALUES (NULL, 1, 1, 1, 0, 0, 0, 0, 0, NULL)")
        assert len(store) == 1


def test_defect_43_a_store_is_opened_as_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    made = quick(page_size=16384, auto_vacuum="none", journal_mode="delete", policy="fifo")
    opened(path, options=made).close()
    with opened(path) as store:
        found = store.effective_options
        assert (found.page_size, found.auto_vacuum, found.journal_mode) == (16384, "none", "delete")
        assert found.policy == "fifo"


def test_defect_44_what_cannot_be_opened_raises_and_leaves_nothing(tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    for path, kind in (
        (tmp_path, BlobStoreError),
        (tmp_path / "nowhere" / "s.db", FileNotFoundError),
        (original(tmp_path / "original.db"), NotABlobStoreError),
    ):
        with pytest.raises(kind):
            opened(path)
    with pytest.raises(OptionMismatchError):
        opened(tmp_path / "s.db", options=quick(max_page_count=1))
    assert set(threading.enumerate()) <= threads
