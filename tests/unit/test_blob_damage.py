"""Files that somebody or something has damaged: what is read of them is right, or an error."""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ltxcore.blob_store import BlobStore
from ltxcore.errors import BlobChangedError, BlobStoreError, StoreCorruptError

from tests.unit.blobs import ask, opened, plain, quick
from tests.unit.test_blob_repair import DAMAGE, filled

READS: list[Callable[[BlobStore, str], bytes]] = [
    lambda store, name: store[name],
    lambda store, name: store.read_range(name, 0, 1 << 20),
    lambda store, name: store.open(name).read(),
    lambda store, name: b"".join(iter(partial(store.open(name).read, 7), b"")),
    lambda store, name: store.blob(name).read_bytes(),
    lambda store, name: store.setdefault(name, b"another"),
    lambda store, name: store.pop(name),
]
OF_LONG = "(SELECT id FROM item WHERE name = 'long')"
MORE_DAMAGE = [
    f"DELETE FROM part WHERE item = {OF_LONG}",
    f"DELETE FROM part WHERE item = {OF_LONG} AND offset = 200",
    f"DELETE FROM chunk WHERE id IN (SELECT chunk FROM part WHERE item = {OF_LONG} AND offset = 100)",
    f"UPDATE chunk SET data = x'' WHERE id IN (SELECT chunk FROM part WHERE item = {OF_LONG})",
    "UPDATE chunk SET data = zeroblob(70000) WHERE id = (SELECT id FROM item WHERE name = 'single')",
    "UPDATE chunk SET data = zeroblob(80000) WHERE id = (SELECT id FROM item WHERE name = 'short')",
]


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
@pytest.mark.parametrize("sql", [*(damage[0] for damage in DAMAGE), *MORE_DAMAGE])
def test_a_blob_is_read_as_it_was_or_not_at_all(tmp_path: Path, sql: str, journal_mode: str) -> None:
    path = tmp_path / "s.db"
    # Without a snapshot, a chunk that is missing cannot be told apart from a blob that was deleted.
    told = [StoreCorruptError] if journal_mode == "wal" else [StoreCorruptError, BlobChangedError]
    filled(path).close()
    with opened(path, options=quick(chunk_size=1 << 20)) as store:
        store["single"] = bytes(range(250)) * 400
        right = dict(store)
    with opened(path, options=quick(journal_mode=journal_mode)) as store:
        with plain(path) as connection:
            connection.executescript(sql)
        for read in READS:
            for name, data in right.items():
                with contextlib.suppress(*told):
                    assert read(store, name) == data


def test_tags_that_cannot_be_read_are_found_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path) as store:
        for name, bad in (("a", "{"), ("b", "[1]"), ("c", None)):
            store.put(name, b"x", tags={"t": 1})
            with plain(path) as connection:
                connection.execute(
                    "UPDATE item SET tags = ? WHERE name = ? AND ? IS NOT NULL", (bad, name, bad)
                )
        for name in ("a", "b"):
            with pytest.raises(StoreCorruptError):
                store.tags(name)
        assert len(store.check().problems) == 2
        assert store.check(repair=True).repaired
        assert [store.tags(name) for name in ("a", "b", "c")] == [{}, {}, {"t": 1}]
        assert store.check().is_clean and len(store) == 3


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE meta",
        "DELETE FROM meta",
        "UPDATE meta SET policy = 'mru'",
        "UPDATE meta SET capacity = 'much'",
    ],
)
@pytest.mark.parametrize("readonly", [True, False])
def test_a_file_that_only_says_that_it_is_a_store_is_damaged(
    tmp_path: Path, sql: str, readonly: bool
) -> None:
    path = tmp_path / "s.db"
    with opened(path) as store:
        store["a"] = b"x"
    with plain(path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = 1")
        connection.executescript(sql)
    for capacity in ("keep", 5):
        with pytest.raises(StoreCorruptError) as caught:
            opened(path, readonly=readonly, capacity="keep" if readonly else capacity)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("table", ["meta", "item", "chunk", "part", "item_order", "stage"])
def test_a_damaged_page_is_an_error_of_ours_wherever_it_is(tmp_path: Path, table: str) -> None:
    path = tmp_path / "s.db"
    with filled(path) as store:
        names = list(store)
        store.put("tagged", b"x", tags={"a": "b"})
    page = ask(path, f"SELECT rootpage FROM sqlite_master WHERE name = '{table}'")
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    for readonly in (True, False):
        try:
            store = opened(path, readonly=readonly)
        except StoreCorruptError:
            continue
        with store:
            found = store.check()
            assert not found.is_clean
            for read in READS[:5]:
                for name in names:
                    with contextlib.suppress(StoreCorruptError):
                        read(store, name)
            for use in (store.usage, lambda: list(store), lambda: store.open_chunks("p/")):  # noqa: B023
                with contextlib.suppress(BlobStoreError):
                    use()
            if not readonly:
                assert not store.check(repair=True).repaired, "it says what is wrong, and that it stays so"
