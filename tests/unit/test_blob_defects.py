"""Defects of the original design, each by its number: 1 to 14. They do not come back."""

import threading
import time
from io import BytesIO
from pathlib import Path

import pytest

from ltxcore.blob_store._sql import transaction
from ltxcore.errors import (
    BlobNotFoundError,
    BlobTooLargeError,
    ConfigError,
    SizeMismatchError,
    StoreBusyError,
    StoreFullError,
)

from tests.unit.blobs import ask, in_use, opened, plain, quick


class Failing:
    """A source that breaks in the middle."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def read(self, _size: int = -1, /) -> bytes:
        if not self.pieces:
            raise LookupError("the source broke")
        return self.pieces.pop(0)


def test_defect_01_a_capacity_can_be_taken_back(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", capacity=10) as store:
        store.capacity = None
        assert store.capacity is None
        for name in "abcde":
            store[name] = b"12345"
        assert store.usage().payload_bytes == 25
    with opened(tmp_path / "s.db") as store:
        assert store.capacity is None


@pytest.mark.parametrize("count", [1, 5])
def test_defect_02_when_the_commit_fails_every_caller_is_told(tmp_path: Path, count: int) -> None:
    path = tmp_path / "s.db"
    with opened(path, options=quick(journal_mode="delete", busy_timeout=0.3, linger=0.05)) as store:
        store["old"] = b"old"
        with plain(path) as reader:
            # COMMIT needs the file for itself: it fails as long as somebody reads.
            reader.execute("BEGIN").execute("SELECT * FROM meta").fetchall()
            futures = [store.put_nowait(f"new {number}", b"x") for number in range(count)]
            raised = [future.exception(timeout=10) for future in futures]
            reader.execute("ROLLBACK")
        assert [type(error) for error in raised] == [StoreBusyError] * count
        assert len({id(error) for error in raised}) == count, "each caller raises an error of its own"
        assert store.stats().batch_errors >= 1
        assert in_use(store) == {"old": b"old"}
        store["new"] = b"it works again"
        assert store["new"] == b"it works again"


def test_defect_02_a_full_file_fails_the_write_and_keeps_the_rest(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(max_page_count=40)) as store:
        store["old"] = b"old"
        futures = [store.put_nowait(f"big {number}", bytes(1 << 20)) for number in range(3)]
        assert [type(future.exception(timeout=10)) for future in futures] == [StoreFullError] * 3
        assert in_use(store) == {"old": b"old"}
        store["small"] = b"fits"
        assert store.check().is_clean


def test_defect_03_a_write_that_fails_leaves_nothing_and_spares_its_neighbours(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(linger=0.1)) as store:
        barrier, raised = threading.Barrier(5), []

        def poisoned() -> None:
            barrier.wait()
            try:
                with store.batch() as batch:
                    batch.put("half", b"done")
                    batch.delete("nothing")
            except BlobNotFoundError as error:
                raised.append(error)

        def sound(name: str) -> None:
            barrier.wait()
            store[name] = b"sound"

        threads = [threading.Thread(target=sound, args=[name]) for name in "abcd"]
        threads.append(threading.Thread(target=poisoned))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(raised) == 1
        assert in_use(store) == dict.fromkeys("abcd", b"sound")
        assert store.usage().payload_bytes == 20


def test_defect_03_a_source_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(chunk_size=10)) as store:
        store["piece"] = b"old"
        with pytest.raises(LookupError, match="the source broke"):
            store.put_sized("piece", Failing(b"0123456789", b"01234"), 40)
        assert store["piece"] == b"old"
        assert store.usage().staged_bytes == 0
        assert store.check().is_clean


@pytest.mark.parametrize("size", [4, 6, 25, 100])
def test_defect_04_a_source_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    with opened(tmp_path / "s.db", options=quick(chunk_size=10)) as store:
        for actual in (size - 1, size + 1, size + 30, 0):
            with pytest.raises(SizeMismatchError) as caught:
                store.put_sized("x", BytesIO(bytes(actual)), size)
            assert (caught.value.expected, caught.value.actual) == (size, min(actual, size + 1))
            assert "x" not in store
        assert store.usage().staged_bytes == 0


def test_defect_05_an_id_is_never_used_again(tmp_path: Path) -> None:
    path, seen = tmp_path / "s.db", set()
    for number in range(4):
        with opened(path) as store:
            store["a"] = b"%d" % number
            seen.add(ask(path, "SELECT id FROM item"))
            seen.add(store.stat("a").etag)
            del store["a"]
            assert ask(path, "SELECT count(*) FROM chunk") == 0
    assert len(seen) == 8


def test_defect_05_a_reader_never_gets_the_bytes_of_another_blob(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(chunk_size=100)) as store:
        stop = threading.Event()

        def churn() -> None:
            while not stop.is_set():
                for name in (b"a", b"b"):
                    store.delete(name.decode(), missing_ok=True)
                    store.put(name.decode(), name * 250)

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            until = time.monotonic() + 0.4
            while time.monotonic() < until:
                for name in ("a", "b"):
                    assert store.get(name) in {None, name.encode() * 250}
        finally:
            stop.set()
            thread.join(10)


def test_defect_06_there_is_no_null(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path, capacity=25) as store:
        with pytest.raises(TypeError):
            store.put("a", None)  # type: ignore[arg-type]  # the point of the test
        with plain(path) as connection:
            for sql in (
                "INSERT INTO chunk VALUES (999999999, NULL)",
                "INSERT INTO item SELECT 'a', 1, 1, 1, NULL, 0, 0, 0, 0, NULL",
                "UPDATE item SET size = NULL",
                "UPDATE meta SET bytes = NULL",
            ):
                store["b"] = b"12345"
                with pytest.raises(Exception, match="NOT NULL"):
                    connection.execute(sql)
        for name in "cdefg":
            store[name] = bytes(10)
        assert store.usage().payload_bytes == 20


def test_defect_07_a_blob_above_the_capacity_is_refused_and_evicts_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", capacity=25, options=quick(chunk_size=10, batch_max_bytes=15)) as store:
        store["a"], store["b"] = b"0123456789", b"x"
        for size in (26, 30, 1000):
            with pytest.raises(BlobTooLargeError):
                store.put("big", bytes(size))
            with pytest.raises(BlobTooLargeError):
                store.put_sized("big", BytesIO(bytes(size)), size)
            with pytest.raises(BlobTooLargeError):
                store.put_nowait("big", bytes(size)).result(timeout=10)
            with pytest.raises(BlobTooLargeError), store.batch() as batch:
                batch.put("big", bytes(size))
            with pytest.raises(BlobTooLargeError), store.open("big", "wb") as file:
                file.write(bytes(size))
        assert in_use(store) == {"a": b"0123456789", "b": b"x"}
        assert store.usage().staged_bytes == 0
        assert store.stats().evictions == 0


@pytest.mark.parametrize("capacity", [-1, 0, -(1 << 40)])
def test_defect_08_a_capacity_that_is_not_positive_is_refused(tmp_path: Path, capacity: int) -> None:
    path = tmp_path / "s.db"
    with pytest.raises(ConfigError):
        opened(path, capacity=capacity)
    with opened(path, capacity=25) as store:
        store["a"] = bytes(20)
        with pytest.raises(ConfigError):
            store.capacity = capacity
        assert store.capacity == 25
        assert "a" in store


def test_defect_09_a_clock_that_goes_back_changes_no_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "s.db", capacity=30) as store:
        for number, name in enumerate("abcde"):
            monkeypatch.setattr(transaction, "now_ms", lambda number=number: 10**12 - number * 86_400_000)
            store[name] = bytes(10)
        assert list(store) == ["c", "d", "e"]
        assert store.stat("c").created_at > store.stat("e").created_at, "the clock did go back"


def test_defect_10_uses_within_one_moment_have_an_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "now_ms", lambda: 10**12)
    with opened(tmp_path / "s.db", capacity=30) as store:
        for name in "abc":
            store[name] = bytes(10)
        assert store["a"] == bytes(10)
        store["d"] = bytes(10)
        assert list(store) == ["a", "c", "d"]


def test_defect_11_the_cost_of_an_eviction_grows_with_what_goes(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db") as store:
        spent = dict.fromkeys((1000, 16_000), 9.9)
        # The best of three: whatever else the machine does is not the cost of an eviction.
        for count in [*spent] * 3:
            with store.batch() as batch:
                for number in range(count):
                    batch.put(f"{number:06}", b"x")
            start = time.monotonic()
            store.capacity = 10
            spent[count] = min(spent[count], time.monotonic() - start)
            assert len(store) == 10
            store.capacity = None
        assert spent[16_000] < max(spent[1000], 0.004) * 60, "256 times as long if it were quadratic"


def test_defect_12_the_order_of_eviction_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path, capacity=1000) as store:
        for number in (5, 3, 9, 1, 7):
            store[f"{number}"] = bytes(200)
        with plain(path) as connection:
            # An index that a planner without statistics would find tempting, the wrong way round.
            connection.execute("CREATE INDEX tempting ON item(tick DESC, name, id, size)")
            connection.execute("ANALYZE")
        store["new"] = bytes(300)
        assert list(store) == ["1", "7", "9", "new"]


def test_defect_13_every_row_has_a_place_in_the_order(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path, capacity=25) as store:
        store["a"] = bytes(25)
        with plain(path) as connection:
            for column in ("tick", "id", "hits", "used_ms"):
                with pytest.raises(Exception, match="NOT NULL"):
                    connection.execute(f"UPDATE item SET {column} = NULL")
        store["b"] = bytes(25)
        assert list(store) == ["b"]


def test_defect_14_totals_hold_whatever_the_settings_of_other_writers(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path) as store:
        for name in "abc":
            store[name] = bytes(10)
        store["a"] = bytes(10)
        with plain(path) as connection:
            connection.execute("PRAGMA recursive_triggers = off")
            connection.execute("DELETE FROM item WHERE name = 'b'")
            connection.execute(
                "INSERT INTO item SELECT 'b', 9, 9, 9, 10, -1, 0, 0, 0, NULL ON CONFLICT DO NOTHING"
            )
            connection.execute("DELETE FROM item WHERE name = 'b'")
        assert (store.usage().payload_bytes, store.usage().items) == (20, 2)
        assert store.check().is_clean


def test_defect_14_totals_are_counted_anew_when_a_store_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path, capacity=1000) as store:
        store["a"] = bytes(10)
    with plain(path) as connection:
        connection.execute("UPDATE meta SET bytes = -10, items = 77")
    with opened(path) as store:
        assert (store.usage().payload_bytes, len(store)) == (10, 1)
        assert store.check().is_clean
