"""The read lock that is kept while reads are frequent: it makes them fast, and is in nobody's way for long."""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ltxcore.blob_store import BlobStore
from ltxcore.blob_store._process.connections import BURST, NEVER, ReadHold
from ltxcore.vfs import OSVFS

from .blobs import opened, plain, quick, run_script

LONG = 30.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def read_closely(store: BlobStore) -> None:
    """Read until a lock is held."""
    deadline = time.monotonic() + 20
    while not store._engine.pool.hold.is_held:
        assert time.monotonic() < deadline
        store["name"]


@contextlib.contextmanager
def held(path: Path, **options: Any) -> Iterator[BlobStore]:
    """A store that keeps its lock for much longer than any test takes."""
    options.setdefault("hold_reads", LONG)
    with opened(path, options=quick(**options)) as store:
        store["name"] = b"first"
        read_closely(store)
        yield store


def checkpoint(path: Path) -> bool:
    """Whether another program can have all of the WAL written back, and the file emptied."""
    with plain(path) as connection:
        connection.execute("PRAGMA busy_timeout = 0")
        return bool(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)


def test_many_reads_have_one_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with held(path) as store:
        assert not checkpoint(path)
        assert store["name"] == b"first"


@pytest.mark.parametrize("vfs", [None, "ltx-os"])
def test_it_is_let_go_for_every_write(tmp_path: Path, vfs: str | None) -> None:
    path = tmp_path / "store.db"
    OSVFS().register()
    with held(path, vfs=vfs) as store:
        store["other"] = b""
        assert not store._engine.pool.hold.is_held
        assert checkpoint(path)
        assert store["name"] == b"first"


def test_it_is_let_go_in_time(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with held(path, hold_reads=0.05) as store:
        until(lambda: not store._engine.pool.hold.is_held)
        assert checkpoint(path)


def test_reads_see_what_others_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with held(path) as store, opened(path) as other:
        for number in range(50):
            other["name"] = str(number).encode()
            assert store["name"] == str(number).encode()
        assert store._engine.pool.hold.is_held


def test_the_wal_of_another_writer_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with opened(path) as store, opened(path, options=quick(journal_size_limit=None)) as other:
        store["name"] = b"first"
        is_done = threading.Event()

        def read() -> None:
            while not is_done.is_set():
                store["name"]

        reader = threading.Thread(target=read)
        reader.start()
        try:
            read_closely(store)
            for number in range(3000):
                other[str(number % 100)] = bytes(16384)
        finally:
            is_done.set()
            reader.join()
        # 60 MiB were written. The WAL of a store that nobody reads has 4 MiB.
        assert path.with_name("store.db-wal").stat().st_size < 20 << 20


def test_a_store_that_is_only_read_holds_too(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with opened(path) as store:
        store["name"] = b"first"
    with opened(path, readonly=True, options=quick(hold_reads=LONG)) as store:
        read_closely(store)
        with opened(path) as other:
            other["other"] = b""
            assert not checkpoint(path)
    assert checkpoint(path)


@pytest.mark.parametrize("options", [{"hold_reads": 0}, {"journal_mode": "delete"}])
def test_none_is_held(tmp_path: Path, options: dict[str, Any]) -> None:
    with opened(tmp_path / "store.db", options=quick(**options)) as store:
        store["name"] = b"first"
        for _ in range(BURST * 10):
            store["name"]
        assert not store._engine.pool.hold.is_held
        assert store._engine.pool.hold._thread is None


def test_none_is_held_of_a_store_in_memory() -> None:
    with BlobStore.memory() as store, BlobStore.memory(shared_name="held") as shared:
        for one in (store, shared):
            one["name"] = b"first"
            for _ in range(BURST * 10):
                one["name"]
            assert one._engine.pool.hold.due == NEVER


def test_reads_that_are_far_apart_hold_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "store.db") as store:
        store["name"] = b"first"
        for _ in range(3):
            for _ in range(BURST // 2):
                store["name"]
            assert not store._engine.pool.hold.is_held
            time.sleep(0.02)


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    threads, descriptors = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    with held(tmp_path / "store.db"):
        assert any(thread.name == "ltxcore-blob-hold" for thread in threading.enumerate())
    # What other tests have left may go meanwhile.
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_a_store_that_is_garbage_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = opened(path, options=quick(hold_reads=LONG))
    store["name"] = b"first"
    read_closely(store)
    del store
    assert checkpoint(path)


def test_a_forked_child_leaves_it_alone(tmp_path: Path) -> None:
    script = """
        import os, sys
        from ltxcore.blob_store import BlobStore, Options
        from ltxcore.errors import ForkedError
        store = BlobStore(sys.argv[1], options=Options(hold_reads=30.0))
        store["name"] = b"first"
        while not store._engine.pool.hold.is_held:
            store["name"]
        child = os.fork()
        if child == 0:
            try:
                store["name"]
            except ForkedError:
                store.close()
                sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert store._engine.pool.hold.is_held
        store["name"] = b"second"
        assert store["name"] == b"second"
        store.close()
    """
    done = run_script(script, tmp_path / "store.db")
    assert done.returncode == 0, done.stderr


class Interrupted(sqlite3.Connection):
    """Is interrupted once, as by a signal, when a transaction has begun."""

    def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
        if sql.startswith("PRAGMA data_version") and not hasattr(self, "was"):
            self.was = True
            raise KeyboardInterrupt
        return super().execute(sql, *rest)


def test_one_that_is_interrupted_ends_in_time(tmp_path: Path) -> None:
    with plain(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE meta (id)")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            tmp_path / "a.db", factory=Interrupted, check_same_thread=False, isolation_level=None
        )

    hold = ReadHold(connect, 0.02)
    hold.consider(0)
    with pytest.raises(KeyboardInterrupt):
        hold.consider(BURST)
    until(lambda: not hold.is_held)
    hold.close()


def test_one_that_fails_is_tried_again_later(tmp_path: Path) -> None:
    attempts = []

    def connect() -> sqlite3.Connection:
        attempts.append(1)
        raise sqlite3.OperationalError("unable to open database file")

    hold = ReadHold(connect, 0.02)
    for reads in range(0, BURST * 10, BURST):
        hold.consider(reads)
    assert len(attempts) == 1
    assert not hold.is_held
    assert hold.due != NEVER
    hold.close()
