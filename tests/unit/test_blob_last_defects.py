"""Defects of the original design, each by its number: 31 to 44. They do not come back."""

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from ltxcore.blob_store import BlobPath, BlobStore, Options
from ltxcore.blob_store._sql import sqlite
from ltxcore.errors import (
    BlobNameError,
    BlobStoreError,
    ConfigError,
    NotABlobStoreError,
    OptionMismatchError,
    StoreBusyError,
)

from tests.unit.blobs import ask, in_use, locked, opened, original, plain, quick, run_script


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
    path, real, made = tmp_path / "s.db", sqlite.pragma, []

    def pragma(connection: sqlite3.Connection, name: str, value: object = None) -> int | str | None:
        found = real(connection, name, value)
        if name == asked and not made:
            made.append(name)
            with opened(path) as first:
                first["a"] = b"x"
        return found

    monkeypatch.setattr(sqlite, "pragma", pragma)
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
