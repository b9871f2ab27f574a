"""Stores that have filled their disk, or what else bounds them: what they refuse, and how they are emptied."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ltxcore.blob_store import BlobStore
from ltxcore.blob_store._writer import space
from ltxcore.errors import ConfigError, StoreFullError

from tests.unit.blobs import opened, quick
from tests.unit.databases import eventually

MIB = 1 << 20


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes the file system seems to have."""

    def bytes_free(count: int) -> None:
        monkeypatch.setattr(space, "free_bytes", lambda directory: count)

    return bytes_free


def test_what_would_take_the_last_space_is_refused(tmp_path: Path, free: Callable[[int], None]) -> None:
    with opened(tmp_path / "s.db") as store:
        store["old"] = os.urandom(2 * MIB)
        free(2 * MIB)
        with pytest.raises(StoreFullError, match="2097152 bytes are free") as caught:
            store["new"] = os.urandom(2 * MIB)
        assert "delete blobs" in str(caught.value.hint) and caught.value.path == str(tmp_path / "s.db")
        with pytest.raises(StoreFullError):
            store["long"] = os.urandom(20 * MIB)
        assert list(store) == ["old"] and store.usage().staged_bytes == 0
        # All that takes no space works, and so does what is small.
        store.rename("old", "moved")
        store.set_tags("moved", {"a": 1})
        store["small"] = b"small"
        store.capacity = 3 * MIB
        store.delete("moved")
        # What was removed makes room in the file.
        store["new"] = os.urandom(MIB // 4)
        store.clear()
        assert not list(store) and store.check().is_clean
        free(100 * MIB)
        store["new"] = os.urandom(2 * MIB)


def test_small_blobs_are_counted_together(tmp_path: Path, free: Callable[[int], None]) -> None:
    """The file system is asked once for each MiB, and not for each blob."""
    with opened(tmp_path / "s.db") as store:
        store["first"] = os.urandom(2 * MIB)
        free(MIB)
        with pytest.raises(StoreFullError):
            for number in range(1100):
                store[f"{number}"] = bytes(1000)
        with pytest.raises(StoreFullError):
            store["one more"] = os.urandom(100_000)
        store.clear()


def test_only_what_takes_space_fails_in_a_batch(tmp_path: Path, free: Callable[[int], None]) -> None:
    with opened(tmp_path / "s.db") as store:
        store["a"], store["b"] = os.urandom(2 * MIB), b"b"
        free(3 * MIB)
        failed: list[BaseException] = []

        def run(action: Callable[[], object]) -> None:
            try:
                action()
            except StoreFullError as error:
                failed.append(error)

        actions: list[Callable[[], object]] = [
            lambda: store.delete("b"),
            lambda: store.put("c", os.urandom(2 * MIB)),
            lambda: store.put("d", b"d"),
        ]
        threads = [threading.Thread(target=run, args=[action]) for action in actions]
        with store._engine.writer._lead:  # so that all come into one transaction
            for count, thread in enumerate(threads, 1):
                thread.start()
                eventually(lambda count=count: store.stats().queue_depth == count)
        for thread in threads:
            thread.join()
        assert len(failed) == 1
        assert sorted(store) == ["a", "d"]


def test_the_wal_is_copied_into_the_file_before_a_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has old versions of pages, too: what is copied may well be less than it takes itself."""
    with opened(tmp_path / "s.db", options=quick(wal_autocheckpoint=0)) as store:
        for _ in range(10):
            store["same"] = os.urandom(MIB)
        assert store.usage().wal_bytes > 10 * MIB

        def free(directory: str) -> int:
            return 20 * MIB - store.usage().wal_bytes - store.usage().file_bytes

        monkeypatch.setattr(space, "free_bytes", free)
        for number in range(10):
            store[f"{number}"] = os.urandom(MIB)
        assert len(store) == 11


def test_the_hint_of_a_file_that_may_not_grow(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(max_page_count=40)) as store:
        with pytest.raises(StoreFullError) as caught:
            store["big"] = bytes(MIB)
        assert "max_page_count" in str(caught.value.hint)
        with pytest.raises(StoreFullError) as caught:
            store.put_nowait("big", bytes(MIB)).result()
        assert "max_page_count" in str(caught.value.hint)


@pytest.mark.parametrize("capacity", [(1000 << 20) + 1, 1 << 30, 1 << 40])
def test_shared_memory_ends_at_one_gibibyte(capacity: int) -> None:
    """SQLite ends such a file there, overhead included: at 1,016 MiB of payload `put` failed, whatever the capacity."""
    with pytest.raises(ConfigError, match="holds at most 1048576000") as caught:
        BlobStore.memory(shared_name="limited", capacity=capacity)
    assert "use a file" in str(caught.value.hint)
    with BlobStore.memory(shared_name="limited", capacity=1000 << 20) as store:
        with pytest.raises(ConfigError, match="holds at most"):
            store.capacity = capacity
        store.capacity = None
    with BlobStore.memory(capacity=capacity) as store:
        assert store.capacity == capacity


def test_the_hint_of_a_full_store_in_memory() -> None:
    with (
        BlobStore.memory(shared_name="full", options=quick(max_page_count=40)) as store,
        pytest.raises(StoreFullError) as caught,
    ):
        store["big"] = bytes(MIB)
    assert "1 GiB" in str(caught.value.hint)
