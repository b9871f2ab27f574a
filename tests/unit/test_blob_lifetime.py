"""Stores that are closed, forgotten, or held up while they close."""

import contextlib
import gc
import io
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ltxcore.blob_store import BlobStore
from ltxcore.errors import StoreBusyError, StoreClosedError

from tests.unit.blobs import in_use, locked, opened, original, plain, quick, run_script
from tests.unit.databases import eventually


def our_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("ltxcore-blob")}


def test_closing_twice_is_nothing(tmp_path: Path) -> None:
    for store in (opened(tmp_path / "s.db"), BlobStore.memory(), BlobStore.memory(shared_name="twice")):
        with store:
            store["a"] = b"x"
            store.close()
            store.close(timeout=1)
        store.close()
        assert "closed" in repr(store) or "BlobStore" in repr(store)
    assert [path.name for path in tmp_path.iterdir()] == ["s.db"]
    with opened(tmp_path / "s.db", readonly=True) as store:
        store.close()


def test_closing_writes_what_waits_and_what_was_used(tmp_path: Path) -> None:
    threads = our_threads()
    store = opened(tmp_path / "s.db", options=quick(touch_interval=1000), on_evict=print)
    store["a"] = b"x"
    store.get("a")
    futures = [store.put_nowait(f"{number}", b"y") for number in range(50)]
    store.close()
    assert all(future.done() for future in futures)
    assert our_threads() <= threads
    with opened(tmp_path / "s.db") as store:
        assert len(store) == 51
        assert store.stat("a").hits == 1


#: Every public method of a store with arguments that work.
USES: dict[str, Callable[[BlobStore, Path], object]] = {
    "put": lambda store, _: store.put("a", b"x"),
    "put_nowait": lambda store, _: store.put_nowait("a", b"x"),
    "put_sized": lambda store, _: store.put_sized("a", io.BytesIO(b"x"), 1),
    "put_file": lambda store, path: store.put_file("a", path / "original.db"),
    "get": lambda store, _: store.get("a"),
    "__getitem__": lambda store, _: store["a"],
    "__setitem__": lambda store, _: store.__setitem__("a", b"x"),
    "__delitem__": lambda store, _: store.__delitem__("a"),
    "__contains__": lambda store, _: "a" in store,
    "__len__": lambda store, _: len(store),
    "__iter__": lambda store, _: list(store),
    "__eq__": lambda store, _: store == {},
    "keys": lambda store, _: list(store.keys()),
    "items": lambda store, _: list(store.items()),
    "values": lambda store, _: list(store.values()),
    "pop": lambda store, _: store.pop("a"),
    "popitem": lambda store, _: store.popitem(),
    "setdefault": lambda store, _: store.setdefault("n", b""),
    "update": lambda store, _: store.update({"n": b""}),
    "clear": lambda store, _: store.clear(),
    "read_range": lambda store, _: store.read_range("a", 0, 1),
    "readinto": lambda store, _: store.readinto("a", bytearray(1)),
    "open": lambda store, _: store.open("a"),
    "open r+b": lambda store, _: store.open("a", "r+b"),
    "open wb": lambda store, _: contextlib.closing(store.open("n", "wb")).__exit__(None, None, None),
    "open xb": lambda store, _: contextlib.closing(store.open("n", "xb")).__exit__(None, None, None),
    "open_chunks": lambda store, _: store.open_chunks("p/"),
    "read_consecutive_chunks": lambda store, _: store.read_consecutive_chunks("p/"),
    "compose": lambda store, _: store.compose("n", "p/"),
    "stat": lambda store, _: store.stat("a"),
    "tags": lambda store, _: store.tags("a"),
    "set_tags": lambda store, _: store.set_tags("a", {"k": 1}),
    "write_at": lambda store, _: store.write_at("a", 0, b"y"),
    "delete": lambda store, _: store.delete("a", missing_ok=True),
    "rename": lambda store, _: store.rename("a", "n"),
    "delete_prefix": lambda store, _: store.delete_prefix("p/"),
    "rename_prefix": lambda store, _: store.rename_prefix("p/", "q/"),
    "list": lambda store, _: list(store.list()),
    "iterdir": lambda store, _: list(store.iterdir()),
    "capacity": lambda store, _: store.capacity,
    "capacity set": lambda store, _: setattr(store, "capacity", 10_000),
    "usage": lambda store, _: store.usage(),
    "check": lambda store, _: store.check(),
    "check repair": lambda store, _: store.check(repair=True),
    "vacuum": lambda store, _: store.vacuum(),
    "flush": lambda store, _: store.flush(),
    "import_original": lambda store, path: store.import_original(path / "original.db"),
    "batch": lambda store, _: with_batch(store),
    "blob": lambda store, _: store.blob("a").exists(),
}
#: What needs no open store.
AT_ANY_TIME = {"close", "stats", "options", "effective_options", "memory", "get", "batch", "blob"}


def with_batch(store: BlobStore) -> None:
    with store.batch() as batch:
        batch.put("a", b"x")


def test_no_public_method_is_forgotten_here() -> None:
    public = {name for name in dir(BlobStore) if not name.startswith("_")}
    assert public <= {name.split()[0] for name in USES} | AT_ANY_TIME


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("where", ["file", "memory", "shared"])
def test_every_use_of_a_closed_store_says_that_it_is_closed(tmp_path: Path, name: str, where: str) -> None:
    made: list[BlobStore] = []
    original(tmp_path / "original.db", ("imported", "2021-01-01", b"x", None))
    for number in range(2):
        store = (
            opened(tmp_path / "s.db", options=quick(readers=2))
            if where == "file"
            else BlobStore.memory(shared_name=f"closed {number}" if where == "shared" else None)
        )
        store["a"], store["p/0"] = b"x", b"y"
        made.append(store)
    USES[name](made[0], tmp_path)  # it does work
    made[0].close()
    made[1].close()
    with pytest.raises(StoreClosedError):
        USES[name](made[1], tmp_path)
    assert made[1].stats().puts >= 2 and made[1].options is not None and made[1].effective_options.page_size


def test_a_file_that_is_open_for_changes_can_be_closed_after_the_store(tmp_path: Path) -> None:
    store = opened(tmp_path / "s.db")
    store["a"] = bytes(100)
    file = store.open("a", "r+b")
    assert file.read(3) == bytes(3)
    store.close()
    file.close()
    assert file.closed


def test_a_listing_that_goes_on_after_the_close_says_so(tmp_path: Path) -> None:
    store = opened(tmp_path / "s.db")
    with store.batch() as batch:
        for number in range(1001):
            batch.put(f"{number:04}", b"")
    names = iter(store)
    assert next(names) == "0000"
    store.close()
    with pytest.raises(StoreClosedError):
        list(names)


def test_closing_has_an_end_even_if_another_program_never_ends(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = opened(path, options=quick(busy_timeout=0.1))
    store["a"] = b"x"
    store.flush()
    with locked(path):
        store.get("a")
        start = time.monotonic()
        store.close(timeout=5)
        assert time.monotonic() - start < 3
    with opened(path) as store:
        assert in_use(store) == {"a": b"x"} and store.check().is_clean


def test_closing_may_be_given_a_time_and_be_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = opened(path, options=quick(busy_timeout=20))
    store["a"] = b"x"
    with locked(path):
        future = store.put_nowait("b", b"y")
        time.sleep(0.05)
        with pytest.raises(StoreBusyError):
            store.close(timeout=0.1)
        with pytest.raises(StoreClosedError):
            store["c"] = b"z"
        assert not future.done()
    store.close()
    future.result(timeout=5)
    with opened(path) as store:
        assert in_use(store) == {"a": b"x", "b": b"y"}


@pytest.mark.parametrize("use", ["vacuum", "check", "put", "batch", "capacity", "wb"])
def test_another_program_that_writes_is_always_told_as_such(tmp_path: Path, use: str) -> None:
    path = tmp_path / "s.db"
    with opened(path, options=quick(busy_timeout=0.05, auto_vacuum="none")) as store:
        store["a"] = b"x"
        uses: dict[str, Callable[[], object]] = {
            "vacuum": store.vacuum,
            "check": lambda: store.check(repair=True),
            "put": lambda: store.put("b", b"y"),
            "batch": lambda: with_batch(store),
            "capacity": lambda: setattr(store, "capacity", 5),
            "wb": lambda: store.open("b", "wb").close(),
        }
        with locked(path), pytest.raises(StoreBusyError):
            uses[use]()
        assert in_use(store) == {"a": b"x"}


def test_closing_under_load_answers_everybody(tmp_path: Path) -> None:
    store = opened(tmp_path / "s.db")
    outcomes: list[Any] = []
    barrier = threading.Barrier(5)

    def work(number: int) -> None:
        barrier.wait()
        with contextlib.suppress(StoreClosedError):
            for count in range(10_000):
                name = f"{number}/{count}"
                future = store.put_nowait(name, b"x")
                outcomes.append((name, future))
                store.put(f"lone {name}", b"x")

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    barrier.wait()
    time.sleep(0.1)
    store.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert all(future.done() and future.exception() is None for _, future in outcomes)
    with opened(tmp_path / "s.db") as store:
        assert {name for name, _ in outcomes} <= set(store)
        assert store.check().is_clean


@pytest.mark.parametrize("where", ["file", "memory"])
def test_a_store_that_nobody_holds_is_closed(tmp_path: Path, where: str) -> None:
    threads = our_threads()
    store = opened(tmp_path / "s.db", on_evict=print) if where == "file" else BlobStore.memory(on_evict=print)
    store["a"] = b"x"
    engine, gone = weakref.ref(store._engine), weakref.ref(store)
    file = store.open("a")
    del store
    gc.collect()
    assert gone() is not None, "an open blob holds its store"
    assert file.read() == b"x"
    file.close()
    del file
    gc.collect()
    assert gone() is None
    eventually(lambda: our_threads() <= threads)
    gc.collect()
    assert engine() is None
    assert [path.name for path in tmp_path.iterdir()] == (["s.db"] if where == "file" else [])


def test_nothing_is_left_open_after_a_close(tmp_path: Path) -> None:
    for _ in range(2):  # what is imported and cached on first use does not count
        gc.collect()
        before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
        with opened(tmp_path / "s.db", options=quick(chunk_size=1000)) as store:
            store["a"] = bytes(5000)
            files = [store.open("a") for _ in range(5)]
            assert [file.read(1) for file in files] == [b"\0"] * 5
        after = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    assert len(after) <= len(before)
    assert all(file.raw.closed or file.raw._cursor is None for file in files)


def test_a_store_is_closed_at_the_end_of_the_process(tmp_path: Path) -> None:
    script = """
        import sys
        from ltxcore.blob_store import BlobStore
        store = BlobStore(sys.argv[1])
        store["a"] = b"x"
        store.get("a")
        futures = [store.put_nowait(f"{number}", b"y") for number in range(20)]
        store.flush()
        file, half = store.open("0"), store.open("half", "wb")
        half.write(bytes(3 << 20))
    """
    done = run_script(script, tmp_path / "s.db")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["s.db"]
    with plain(tmp_path / "s.db") as connection:
        assert connection.execute("SELECT count(*) FROM item").fetchone() == (21,)
        assert connection.execute("SELECT hits FROM item WHERE name = 'a'").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM stage").fetchone() == (0,)


def test_in_memory_a_write_leaves_the_transactions_of_readers_alone() -> None:
    with BlobStore.memory() as store:
        store["a"] = b"before"
        writer = threading.Thread(target=store.put, args=("a", b"after"))
        with store._snapshot() as connection:
            writer.start()
            writer.join(0.1)
            assert connection.in_transaction and writer.is_alive()
        writer.join()
        assert store["a"] == b"after"


def test_reads_are_counted_once_though_the_next_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path, options=quick(busy_timeout=0.05)) as store:
        store["a"] = b"x"
        for _ in range(3):
            store.get("a")
        store.flush()
        with locked(path), pytest.raises(StoreBusyError):
            store["b"] = b"y"
        store.flush()
        assert store.stat("a").hits == 3


def test_uses_are_not_lost_if_a_signal_comes_right_after_a_rollback_of_sqlite(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(touch_interval=1000)) as store:
        store["a"] = b"x"
        for _ in range(3):
            store.get("a")

        signals = [KeyboardInterrupt]

        def interrupted(transaction: Any) -> None:
            transaction.write_uses()
            if signals:
                # As SQLite does when the disk is full.
                transaction.execute("ROLLBACK")
                raise signals.pop()

        with pytest.raises(KeyboardInterrupt):
            store._engine.writer.call(interrupted)
        store.flush()
        assert store.stat("a").hits == 3


def test_in_memory_a_finalizer_that_reads_in_the_middle_of_a_write_leaves_it_whole() -> None:
    with BlobStore.memory(options=quick(chunk_size=10)) as store:
        store["long"] = bytes(25)

        def reading(transaction: Any) -> None:
            transaction.put("a", b"x")
            assert store["long"] == bytes(25) and store.read_range("long", 5, 10) == bytes(10)
            assert transaction.connection.in_transaction
            transaction.put("b", b"y")

        store._engine.writer.call(reading)
        assert sorted(store) == ["a", "b", "long"] and store.check().is_clean
