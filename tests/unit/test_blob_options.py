"""How a store is set up: every option is in force, or refused; in a new file and in one that is there."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ltxcore.blob_store import BlobStore, Options
from ltxcore.blob_store._sql import sqlite
from ltxcore.errors import (
    BlobNotFoundError,
    ConfigError,
    NotABlobStoreError,
    OptionMismatchError,
    StoreFullError,
)
from ltxcore.vfs import OSVFS

from tests.unit.blobs import ask, locked, opened, original, plain, quick

#: What is asked for, and what is in force then.
IN_FORCE: list[tuple[str, Any, Any]] = [
    *[("page_size", size, size) for size in (512, 1024, 4096, 16384, 65536)],
    *[("auto_vacuum", mode, mode) for mode in ("none", "full", "incremental")],
    *[("journal_mode", mode, mode) for mode in ("wal", "delete", "truncate", "persist", "memory")],
    ("journal_mode", "WAL", "wal"),
    ("journal_mode", "Delete", "delete"),
    *[("synchronous", level, level) for level in ("off", "normal", "full", "extra")],
    ("durability", "cache", "off"),
    ("durability", "normal", "normal"),
    ("durability", "durable", "full"),
    ("mmap_size", 0, 0),
    ("mmap_size", 1 << 20, 1 << 20),
    ("cache_size", 100, 100),
    ("cache_size", -500, -500),
    ("journal_size_limit", 0, 0),
    ("journal_size_limit", 1 << 20, 1 << 20),
    ("journal_size_limit", -1, -1),
    ("wal_autocheckpoint", 0, 0),
    ("wal_autocheckpoint", 50, 50),
    ("secure_delete", True, True),
    ("secure_delete", False, False),
    ("max_page_count", 1000, 1000),
]
#: Settings that only a new file takes.
OF_THE_FILE = {"page_size", "auto_vacuum"}


def effective(store: BlobStore, name: str) -> Any:
    return getattr(store.effective_options, "synchronous" if name == "durability" else name)


@pytest.mark.parametrize(("name", "requested", "expected"), IN_FORCE)
def test_an_option_is_in_force_in_a_new_file_and_when_it_is_opened_again(
    tmp_path: Path, name: str, requested: Any, expected: Any
) -> None:
    path, options = tmp_path / "s.db", Options(**{"durability": "cache", name: requested})
    for number in range(2):
        with BlobStore(path, options=options) as store:
            store[f"{number}"] = bytes(3000)
            assert effective(store, name) == expected
            assert store["0"] == bytes(3000)
            assert store.options is options
    if name in {"page_size", "journal_mode"} and expected not in {"truncate", "persist", "memory"}:
        assert ask(path, f"PRAGMA {name}") == expected


@pytest.mark.parametrize(("name", "requested", "expected"), IN_FORCE)
def test_a_file_with_defaults_takes_an_option_or_refuses_it(
    tmp_path: Path, name: str, requested: Any, expected: Any
) -> None:
    path = tmp_path / "s.db"
    with opened(path) as store:
        store["a"] = b"x"
        default = effective(store, name)
    options = Options(**{"durability": "cache", name: requested})
    if name in OF_THE_FILE and expected != default:
        with pytest.raises(OptionMismatchError) as caught:
            BlobStore(path, options=options)
        assert (caught.value.name, caught.value.requested, caught.value.actual) == (name, requested, default)
    else:
        with BlobStore(path, options=options) as store:
            assert effective(store, name) == expected
    with opened(path) as store:
        assert store["a"] == b"x"


@pytest.mark.parametrize(("name", "requested", "expected"), IN_FORCE)
def test_without_a_request_the_file_stays_as_it_was_made(
    tmp_path: Path, name: str, requested: Any, expected: Any
) -> None:
    path = tmp_path / "s.db"
    BlobStore(path, options=Options(**{"durability": "cache", name: requested})).close()
    kept = name in OF_THE_FILE or expected == "wal" or (name == "journal_mode")
    for number in range(2):
        with BlobStore(path) as store:
            store[f"{number}"] = b"x"
            if kept:
                of_file = "wal" if expected == "wal" else "delete" if name == "journal_mode" else expected
                assert effective(store, name) == of_file
            elif name in {"durability", "synchronous"}:
                assert effective(store, name) == "normal"


def test_a_vacuum_leaves_the_settings_of_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    opened(path, options=quick(auto_vacuum="none", page_size=8192, journal_mode="delete")).close()
    with opened(path) as store:
        store["a"] = bytes(1 << 20)
        del store["a"]
        assert store.vacuum() > 100
    assert (ask(path, "PRAGMA auto_vacuum"), ask(path, "PRAGMA page_size")) == (0, 8192)


def test_what_the_build_allows_of_mmap_is_reported(tmp_path: Path) -> None:
    with plain(tmp_path / "other.db") as connection:
        most = connection.execute(f"PRAGMA mmap_size = {1 << 40}").fetchone()[0]
    with opened(tmp_path / "s.db", options=quick(mmap_size=1 << 40)) as store:
        assert store.effective_options.mmap_size == most


def test_every_connection_has_the_settings(tmp_path: Path) -> None:
    options = Options(synchronous="extra", cache_size=77, mmap_size=1 << 20, max_page_count=5000)
    with BlobStore(tmp_path / "s.db", options=options) as store:
        store["a"] = b"x"
        with store.open("a"), store.open("a") as other:
            for connection in (other.raw._cursor.connection, store._engine._connection):
                found = sqlite.effective(connection, "lru")
                assert found == store.effective_options
                assert connection.execute("PRAGMA recursive_triggers").fetchone() == (1,)


def test_the_page_limit_bounds_the_file_and_may_not_be_below_it(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path, options=quick(max_page_count=60)) as store:
        with pytest.raises(StoreFullError):
            store["a"] = bytes(80 * 4096)
        store["a"] = bytes(40 * 4096)
        assert store.usage().page_count <= 60
    with pytest.raises(OptionMismatchError) as caught:
        opened(path, options=quick(max_page_count=20))
    assert caught.value.name == "max_page_count"


@pytest.mark.parametrize(("pages", "least", "most"), [(50, 50, 80), (0, 3000, 10_000), (None, 1000, 1030)])
def test_the_wal_starts_anew_after_so_many_pages(
    tmp_path: Path, pages: int | None, least: int, most: int
) -> None:
    with opened(tmp_path / "s.db", options=quick(wal_autocheckpoint=pages)) as store:
        for number in range(1000):
            store[f"{number}"] = b"x"
        size = (tmp_path / "s.db-wal").stat().st_size
    assert least <= size // (4096 + 24) <= most


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_store_over_a_vfs_of_ours(tmp_path: Path, mode: str) -> None:
    OSVFS().register()
    path = tmp_path / "s 100%.db"
    with opened(path, options=quick(vfs="ltx-os", journal_mode=mode)) as store:
        assert store._engine._connection.execute("PRAGMA ltx_lock").fetchone() is not None
        store["a"] = bytes(2 << 20)
        with store.open("a") as file:
            assert file.raw._pool is store._pool
            assert file.read() == bytes(2 << 20)
        with opened(path) as other:
            other["b"] = b"beside it"
        assert store["b"] == b"beside it"
    assert list(tmp_path.iterdir()) == [path]


def test_a_vfs_that_is_not_there_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such vfs"):
        opened(tmp_path / "s.db", options=quick(vfs="nobody"))
    assert list(tmp_path.iterdir()) == []


def test_a_vfs_makes_no_file_of_a_store_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    OSVFS().register()
    monkeypatch.chdir(tmp_path)
    try:
        with BlobStore.memory(options=Options(vfs="ltx-os")) as store:
            store["a"] = b"x"
    except ConfigError:
        pass
    assert list(tmp_path.iterdir()) == []


def test_in_memory_only_the_journal_modes_of_memory_are_there() -> None:
    for mode in ("wal", "delete", "truncate", "persist"):
        with pytest.raises(OptionMismatchError) as caught:
            BlobStore.memory(options=Options(journal_mode=mode))
        assert (caught.value.name, caught.value.requested, caught.value.actual) == (
            "journal_mode",
            mode,
            "memory",
        )
    with BlobStore.memory(options=Options(journal_mode="memory")) as store:
        assert store.effective_options.journal_mode == "memory"


@pytest.mark.parametrize("mode", ["wal", "delete", "truncate", "persist", "memory", "off"])
def test_whatever_the_journal_mode_what_fails_changes_nothing(tmp_path: Path, mode: Any) -> None:
    try:
        store = opened(tmp_path / "s.db", options=quick(journal_mode=mode))
    except (ConfigError, OptionMismatchError):
        assert mode == "off", "SQLite cannot roll back without a journal"
        return
    with store:
        store["a"] = bytes(100)
        with pytest.raises(BlobNotFoundError), store.batch() as batch:
            batch.put("new", bytes(10_000))
            batch.delete("a")
            batch.delete("missing")
        assert list(store) == ["a"]
        assert store.check().is_clean


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("durability", "safe"),
        ("synchronous", "none"),
        ("synchronous", 2),
        ("page_size", 0),
        ("page_size", 256),
        ("page_size", 1000),
        ("page_size", 131072),
        ("page_size", -4096),
        ("auto_vacuum", "yes"),
        ("journal_mode", "wal2"),
        ("journal_mode", ""),
        ("mmap_size", -1),
        ("wal_autocheckpoint", -1),
        ("max_page_count", -1),
        ("busy_timeout", -0.1),
        ("readers", 0),
        ("chunk_size", 0),
        ("chunk_size", (1 << 29) + 1),
        ("batch_max_items", 0),
        ("batch_max_bytes", 0),
        ("linger", -1),
        ("touch", "sometimes"),
        ("touch_interval", -1),
        ("touch_max", 0),
        ("policy", "mru"),
        ("secure_delete", "fast"),
        ("secure_delete", 2),
    ],
)
def test_an_option_that_cannot_work_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Options(**{name: value})
    assert caught.value.key == name
    assert name in str(caught.value)


def test_options_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Options().readers = 3  # type: ignore[misc]  # the point of the test
    with pytest.raises(TypeError):
        Options("cache")  # type: ignore[misc]  # the point of the test


def test_a_store_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with plain(path) as connection:
        connection.execute("PRAGMA auto_vacuum = full")
        connection.execute("CREATE TABLE t (x)")
    before = path.read_bytes()
    with pytest.raises(NotABlobStoreError, match="another application"):
        opened(path)
    assert path.read_bytes() == before
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be taken for one\n" * 100)
    with pytest.raises(NotABlobStoreError):
        opened(text)
    assert text.read_text().startswith("not a database")


def test_a_database_of_the_original_design_can_only_be_imported(tmp_path: Path) -> None:
    path = original(tmp_path / "original.db", ("a", "2021-01-01 00:00:00", b"x", None))
    before = path.read_bytes()
    with pytest.raises(NotABlobStoreError) as caught:
        opened(path)
    assert "import" in (caught.value.hint or "")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["a b#c?d=e&f%20.db", "caf\u00e9 \U0001f4a9.db", "-", "file:x", ":memory: ", "a;b'c"]
)
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    with opened(tmp_path / name) as store:
        store["a"] = b"x"
    with opened(tmp_path / name, create=False) as store:
        assert store["a"] == b"x"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_path_need_not_be_text(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.db")
    with opened(path) as store:
        store["a"] = b"x"
        assert store["a"] == b"x"
    assert path.exists()


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with BlobStore("s.db", options=quick()) as store:
        monkeypatch.chdir(tmp_path / "elsewhere")
        store["a"] = b"x"
        assert store["a"] == b"x"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_waiting_for_another_program_has_an_end(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path, options=quick(busy_timeout=0)) as store:
        store["a"] = b"x"
        with locked(path), pytest.raises(TimeoutError):
            store["a"] = b"y"
        assert store["a"] == b"x"
        store["a"] = b"z"


def test_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(ConfigError, match=r"3\.35"):
        opened(tmp_path / "s.db")
