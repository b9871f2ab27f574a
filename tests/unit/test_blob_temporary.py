"""What a statement may have to undo: in memory for puts, where a file costs as much as they do, else in a file."""

import contextlib
import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from ltxcore.blob_store import BlobStore
from ltxcore.blob_store._writer.space import STEP

from tests.unit.blobs import opened, quick

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for deleted files in /proc")

BLOBS = 5000


def spread(start: int, count: int) -> list[str]:
    """Names that have nothing to do with one another, so that each is on a page of its own."""
    return [hashlib.sha256(b"%d" % number).hexdigest() for number in range(start, start + count)]


def fill(store: BlobStore) -> list[str]:
    names = spread(0, BLOBS)
    with store.batch() as batch:
        for name in names:
            batch.put(name, b"12345")
    return names


class Watch:
    """What the writer's transactions do."""

    def __init__(self) -> None:
        #: SQLite's temporary files at the end of each transaction.
        self.files: list[int] = []
        self.has_begun = threading.Event()

    def see(self, statement: str) -> None:
        if statement == "BEGIN IMMEDIATE":
            self.has_begun.set()
        if statement == "COMMIT":
            self.files.append(temporary_files())


def temporary_files() -> int:
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += "/etilqs_" in os.readlink(f"/proc/self/fd/{name}")
    return found


@contextlib.contextmanager
def watched(store: BlobStore) -> Iterator[Watch]:
    watch = Watch()
    with store._engine.writer.connection() as connection:
        connection.set_trace_callback(watch.see)
    try:
        yield watch
    finally:
        with store._engine.writer.connection() as connection:
            connection.set_trace_callback(None)


def put_together(store: BlobStore, names: list[str]) -> None:
    """As one transaction: all wait until the writer is let go."""
    with store._engine.writer.connection():
        futures = [store.put_nowait(name, b"12345") for name in names]
    for future in futures:
        future.result(10)


def test_puts_need_no_temporary_file(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db") as store:
        fill(store)
        with watched(store) as watch:
            put_together(store, spread(BLOBS, 200))
        assert store.stats().max_batch == 200
        assert watch.files == [0]
        assert store.check().is_clean


def test_what_may_be_of_any_size_has_one(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db") as store:
        names = fill(store)
        put_together(store, spread(BLOBS, 100))
        with watched(store) as watch:
            with store.batch() as batch:
                for name in names[::2]:
                    batch.put(name, b"54321")
            assert store.delete_prefix("0") > 100
            store.capacity = 5 * BLOBS // 2
        assert watch.files == [1, 1, 1]
        assert store.check().is_clean


def test_puts_are_not_in_one_transaction_with_what_comes_later_and_may_be_of_any_size(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(linger=0.3)) as store:
        fill(store)
        with watched(store) as watch:
            put = store.put_nowait("a put", b"1")
            assert watch.has_begun.wait(10)
            others = [threading.Thread(target=store.delete_prefix, args=(digit,)) for digit in "012"]
            for other in others:
                other.start()
            put.result(10)
            for other in others:
                other.join()
        assert watch.files[0] == 0
        assert 1 in watch.files[1:]
        assert {name[0] for name in store} == set("3456789abcdef")
        assert store.check().is_clean


def test_many_evictions_are_several_statements(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", capacity=5 * BLOBS) as store:
        fill(store)
        transaction = store._engine.writer._commits._transaction
        with (
            watched(store) as watch,
            mock.patch.object(transaction, "execute", wraps=transaction.execute) as execute,
        ):
            store.put("large", bytes(5 * (BLOBS - 10)))
        assert watch.files == [0]
        removals = [call for call in execute.mock_calls if call.args[0].startswith("DELETE FROM item")]
        assert len(removals) == BLOBS // STEP + 1
        assert store.stats().evictions == BLOBS - 10
        assert sorted(store) == sorted([*spread(BLOBS - 10, 10), "large"])
        assert store.check().is_clean


@pytest.mark.parametrize("count", [STEP - 1, STEP, STEP + 1, 3 * STEP])
def test_evictions_in_steps_take_as_many_as_have_to_go(tmp_path: Path, count: int) -> None:
    with opened(tmp_path / "s.db", capacity=5 * BLOBS) as store:
        names = fill(store)
        store[names[0]]  # used last
        store.put("large", bytes(5 * count))
        assert set(store) == {names[0], *names[count + 1 :], "large"}
        assert store.check().is_clean


def test_others_find_the_connection_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db") as store:
        store.put("a", b"1")
        with store._engine.writer.connection() as connection:
            assert connection.execute("PRAGMA temp_store").fetchone() == (0,)
        store.put("b", b"2")
        store.vacuum()
        store.put("c", b"3")
        assert store.check().is_clean
