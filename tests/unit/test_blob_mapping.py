"""A store as a mapping, blobs as paths, changes that happen together, and what is known of all of it."""

import array
import threading
import time
from collections.abc import MutableMapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ltxcore.blob_store import BlobPath, BlobStore
from ltxcore.errors import BlobExistsError, BlobNotFoundError, BlobTooLargeError, ChunkGapError

from tests.unit.blobs import in_use, opened, quick


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with opened(tmp_path / "s.db", options=quick(chunk_size=100)) as made:
        yield made


def test_a_store_is_a_mutable_mapping(store: BlobStore) -> None:
    assert isinstance(store, MutableMapping)
    right: dict[str, bytes] = {}
    for mapping in (store, right):
        mapping["b"], mapping["a"] = b"2", b"1"
        mapping.update({"c": b"3"}, d=b"4")
        mapping.update([("e", b"5")])
        assert mapping.setdefault("a", b"-") == b"1"
        assert mapping.setdefault("f", b"6") == b"6"
        assert mapping.pop("c") == b"3"
        assert mapping.pop("c", None) is None
        with pytest.raises(KeyError):
            mapping.pop("c")
        with pytest.raises(KeyError):
            mapping["c"]
        with pytest.raises(KeyError):
            del mapping["c"]
        assert mapping.get("c") is None
        assert mapping.get("c", b"-") == b"-"
        assert mapping.get("a", b"-") == b"1"
        assert "a" in mapping and "c" not in mapping and 5 not in mapping and None not in mapping
        assert len(mapping) == 5
    assert sorted(store) == sorted(right) == sorted(store.keys())
    assert dict(store.items()) == right == dict(store)
    assert sorted(store.values()) == sorted(right.values())
    assert store == right and right == store and store != {} and store != {"a": b"1"}
    assert store.keys() == right.keys() and store.items() == right.items()
    assert store.keys() & {"a", "x"} == {"a"} and ("a", b"1") in store.items() and b"1" in store.values()
    assert {**store} == right
    assert list(store) == sorted(right)
    taken = dict(store.popitem() for _ in range(5))
    assert taken == right
    with pytest.raises(KeyError):
        store.popitem()
    store["x"] = b""
    store.clear()
    assert store == {} and len(store) == 0
    assert store, "a store without blobs is a store"
    with pytest.raises(TypeError):
        hash(store)


def test_of_several_that_take_a_blob_one_gets_it(store: BlobStore) -> None:
    taken: list[bytes | None] = []
    kept: list[bytes] = []

    def take(number: int) -> None:
        for turn in range(50):
            kept.append(store.setdefault(f"{turn}", b"%d" % number))
        for turn in range(50):
            taken.append(store.pop(f"{turn}", None))

    threads = [threading.Thread(target=take, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 200 and len(store) == 0
    gone = sorted(data for data in taken if data is not None)
    assert 50 <= len(gone) <= 200 and set(gone) <= set(kept)
    assert store.stats().deletes == len(gone) == store.stats().puts


def test_long_blobs_are_taken_whole(store: BlobStore) -> None:
    store["long"], store["short"] = bytes(1000), b"x"
    assert store.setdefault("longer", bytes(2000)) == bytes(2000)
    assert store.setdefault("longer", b"") == bytes(2000)
    assert store.popitem() == ("long", bytes(1000))
    assert store.pop("longer") == bytes(2000)
    assert store.popitem() == ("short", b"x")
    with pytest.raises(KeyError):
        store.popitem()
    assert store.check().is_clean


def test_what_goes_while_it_is_looked_through_is_left_out(store: BlobStore) -> None:
    names = [f"{number:02}" for number in range(20)]
    for look in (store.items, store.values):
        for name in names:
            store[name] = name.encode()
        seen = []
        for found in look():
            seen.append(found)
            store.delete_prefix("1")
        assert len(seen) == 10
    assert ("00", b"00") in store.items() and ("10", b"10") not in store.items()
    assert b"00" in store.values() and b"10" not in store.values()
    assert len(store.items()) == len(store.values()) == 10


@pytest.mark.parametrize(
    "data",
    [
        b"bytes",
        bytearray(b"bytes"),
        memoryview(b"bytes"),
        memoryview(b"-b-y-t-e-s")[1::2],
        array.array("H", [1, 2, 3]),
        memoryview(array.array("i", range(6))).cast("B").cast("i", (2, 3)),
        b"",
        memoryview(b""),
        array.array("d"),
    ],
)
def test_any_buffer_is_stored_as_its_bytes(store: BlobStore, data: Any) -> None:
    expected = memoryview(data).tobytes()
    store.put("put", data)
    store.put_nowait("nowait", data).result(timeout=10)
    with store.batch() as batch:
        batch.put("batch", data)
    with store.open("file", "wb") as file:
        assert file.write(memoryview(data).tobytes()) == len(expected)
    assert set(in_use(store).values()) == {expected}
    assert type(store["put"]) is bytes


@pytest.mark.parametrize("data", ["text", None, 5, [1], 1.5])
def test_what_is_no_buffer_is_refused(store: BlobStore, data: Any) -> None:
    store["a"] = b"old"
    for use in (
        lambda: store.put("a", data),
        lambda: store.put_nowait("a", data),
        lambda: store.write_at("a", 0, data),
        lambda: store.open("a", "wb").write(data),
    ):
        with pytest.raises(TypeError):
            use()
    with pytest.raises(TypeError), store.batch() as batch:
        batch.put("a", data)
    assert in_use(store) == {"a": b"old"}


def test_what_was_put_without_waiting_is_a_copy(store: BlobStore) -> None:
    data = bytearray(b"before")
    future = store.put_nowait("a", data, tags={"k": 1})
    data[:] = b"after!"
    assert future.result(timeout=10) is None
    assert not future.cancel()
    assert (store["a"], store.tags("a")) == (b"before", {"k": 1})
    for number in range(300):
        future = store.put_nowait("a", b"%d" % number)
    store.flush()
    assert future.done() and store["a"] == b"299", "they keep their order"


def test_changes_in_a_batch_happen_together(store: BlobStore) -> None:
    store["a"], store["b"], store["x/1"], store["p/0"] = b"a", b"b", b"x", b"p"
    with store.batch() as batch:
        batch.put("n", bytes(250), tags={"new": True})
        batch.delete("a")
        batch.delete("missing", missing_ok=True)
        batch.rename("b", "c")
        batch.set_tags("c", {"k": None})
        batch.delete_prefix("x/")
        batch.compose("whole", "p/")
        assert sorted(store) == ["a", "b", "p/0", "x/1"], "not before the end of the block"
    assert in_use(store) == {"n": bytes(250), "c": b"b", "whole": b"p"}
    assert (store.tags("n"), store.tags("c")) == ({"new": True}, {"k": None})
    before = store.stats().batches
    with store.batch():
        pass
    assert store.stats().batches == before
    assert store.check().is_clean


@pytest.mark.parametrize(
    ("spoil", "raised"),
    [
        (lambda batch: batch.delete("missing"), BlobNotFoundError),
        (lambda batch: batch.rename("a", "b"), BlobExistsError),
        (lambda batch: batch.set_tags("missing", {}), BlobNotFoundError),
        (lambda batch: batch.compose("c", "missing/"), ChunkGapError),
        (lambda batch: batch.put("big", bytes(1001)), BlobTooLargeError),
        (lambda batch: batch.put("x", None), TypeError),
        (lambda _: 1 / 0, ZeroDivisionError),
    ],
)
def test_a_batch_that_fails_changes_nothing(store: BlobStore, spoil: Any, raised: type[Exception]) -> None:
    store.capacity = 1000
    store["a"], store["b"] = b"a", b"b"
    with pytest.raises(raised), store.batch() as batch:
        batch.put("n", bytes(250))
        batch.delete("b")
        batch.put("b", b"new")
        spoil(batch)
        batch.delete("a")
    assert in_use(store) == {"a": b"a", "b": b"b"}
    assert store.usage().payload_bytes == 2
    assert store.check().is_clean


def test_a_blob_as_a_path(store: BlobStore) -> None:
    root = store.blob("d")
    path = root / "sub" / "a.txt"
    assert (str(path), path.name, str(path.parent), repr(path)) == (
        "d/sub/a.txt",
        "a.txt",
        "d/sub",
        "BlobPath('d/sub/a.txt')",
    )
    assert isinstance(path, BlobPath) and path == store.blob("d/sub/a.txt") != root
    assert len({path, store.blob("d/sub/a.txt"), root}) == 2
    assert path != "d/sub/a.txt"
    assert not path.exists() and not root.is_dir()
    with pytest.raises(FileNotFoundError):
        path.read_bytes()
    assert path.write_bytes(array.array("H", [1, 2])) == 4
    assert path.exists() and root.is_dir() and not root.exists() and (root / "sub").is_dir()
    assert path.read_bytes() == array.array("H", [1, 2]).tobytes()
    assert path.stat().size == 4
    path.tags = {"k": "v"}
    assert path.tags == {"k": "v"}
    with (root / "b").open("wb") as file:
        file.write(b"b")
    assert (root / "b").open().read() == b"b"
    assert [str(found) for found in root.iterdir()] == ["d/b", "d/sub/"]
    assert [str(found) for found in next(found for found in root.iterdir() if found.is_dir()).iterdir()] == [
        "d/sub/a.txt"
    ]
    moved = path.rename("d/c")
    assert str(moved) == "d/c" and moved.tags == {"k": "v"} and not path.exists()
    with pytest.raises(FileExistsError):
        moved.rename(root / "b")
    assert (root / "b").rename(moved, overwrite=True) == moved
    moved.unlink()
    with pytest.raises(FileNotFoundError):
        moved.unlink()
    moved.unlink(missing_ok=True)
    assert len(store) == 0


def test_what_is_known_of_a_blob(store: BlobStore) -> None:
    start = datetime.now(UTC) - timedelta(milliseconds=1)
    store.put("a", bytes(250), tags={"text": "\u00e9", "int": 1, "float": 1.5, "none": None, "bool": True})
    first = store.stat("a")
    assert (first.name, first.size, first.hits) == ("a", 250, 0)
    assert start <= first.created_at == first.used_at <= datetime.now(UTC)
    assert (
        first.tags
        == {"text": "\u00e9", "int": 1, "float": 1.5, "none": None, "bool": True}
        == store.tags("a")
    )
    time.sleep(0.003)
    assert store["a"] == bytes(250)
    store.flush()
    second = store.stat("a")
    assert second.hits == 1 and second.used_at > first.used_at and second.etag == first.etag
    store.set_tags("a", None)
    assert store.tags("a") == {} and store.stat("a").etag == first.etag
    store.write_at("a", 0, b"x")
    third = store.stat("a")
    assert third.etag != first.etag and third.created_at == first.created_at
    store["a"] = store["a"]
    fourth = store.stat("a")
    assert fourth.etag not in {first.etag, third.etag} and fourth.hits == 0 and fourth.tags == {}
    for wrong in ({"k": b"bytes"}, {"k": [1]}, {"k": float("nan")}):
        with pytest.raises((TypeError, ValueError)):
            store.set_tags("a", wrong)  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(AttributeError):
        fourth.size = 3  # type: ignore[misc]  # the point of the test


def test_what_was_done_is_counted(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", capacity=30) as store:
        at_first = store.stats()
        for name in "abcd":
            store[name] = bytes(10)
        store.get("d")
        store.get("a")
        store.read_range("c", 0, 4)
        store.delete("d")
        store.delete("d", missing_ok=True)
        with pytest.raises(BlobNotFoundError):
            store.delete("missing")
        with store.open("b") as file:
            file.read()
            stats = store.stats()
        assert (stats.puts, stats.bytes_in, stats.hits, stats.misses) == (4, 40, 1, 1)
        assert (stats.range_reads, stats.opens, stats.open_readers, stats.bytes_out) == (1, 1, 1, 14)
        assert (stats.evictions, stats.evicted_bytes, stats.rejected) == (1, 10, 1)
        assert stats.batches - at_first.batches == stats.batched_ops - at_first.batched_ops == 7
        assert (stats.batch_errors, stats.queue_depth, stats.max_batch, stats.busy_retries) == (0, 0, 1, 0)
        assert stats.as_expvar() == {
            "batchTransactions": stats.batches,
            "batchedQueries": stats.batched_ops,
            "batchTransactionErrors": 0,
        }
        assert at_first.puts == 0, "what was handed out does not change"
        store["a"] = b""
        assert stats.puts == 4


def test_how_large_a_store_is(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path, capacity=10_000, options=quick(chunk_size=100)) as store:
        store["a"], store["b"] = bytes(250), bytes(50)
        with store.open("c", "wb") as file:
            file.write(bytes(301))
            usage = store.usage()
            assert (usage.payload_bytes, usage.items, usage.capacity, usage.staged_bytes) == (
                300,
                2,
                10_000,
                300,
            )
        usage = store.usage()
        assert (usage.payload_bytes, usage.items, usage.staged_bytes) == (601, 3, 0)
        assert usage.page_size == 4096 and usage.page_count > 5
        assert usage.file_bytes == path.stat().st_size
        assert usage.wal_bytes == path.with_name("s.db-wal").stat().st_size > 0
    with BlobStore.memory() as memory:
        memory["a"] = bytes(9000)
        usage = memory.usage()
        assert (usage.payload_bytes, usage.file_bytes, usage.wal_bytes) == (9000, 0, 0)
