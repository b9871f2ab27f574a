"""Damage that is found and mended, space that is given back, and databases of the original design."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ltxcore.blob_store import BlobStore, Imported
from ltxcore.blob_store._process.identity import Owner
from ltxcore.errors import BlobStoreError, NotABlobStoreError, StoreCorruptError

from tests.unit.blobs import ask, in_use, opened, original, plain, quick


def filled(path: Path) -> BlobStore:
    """A short blob, a long one, one that was put together, and an empty one."""
    store = opened(path, options=quick(chunk_size=100))
    store["short"], store["long"], store["empty"] = b"short", bytes(250), b""
    for start in range(0, 20_000, 5000):
        store[f"p/{start}"] = bytes(5000)
    store.compose("whole", "p/")
    assert store.check().is_clean
    return store


LONG = "(SELECT id FROM item WHERE name = 'long')"
#: Statements of another program, and what a check says then.
DAMAGE: list[tuple[str, dict[str, Any]]] = [
    ("UPDATE meta SET bytes = bytes + 5", {"bytes_off": 5}),
    ("UPDATE meta SET items = items - 2", {"items_off": -2}),
    ("DELETE FROM chunk WHERE id = (SELECT id FROM item WHERE name = 'short')", {"broken": ("short",)}),
    (
        "UPDATE chunk SET data = x'00' WHERE id = (SELECT id FROM item WHERE name = 'short')",
        {"broken": ("short",)},
    ),
    ("UPDATE item SET size = 7 WHERE name = 'short'", {"broken": ("short",)}),
    (f"DELETE FROM part WHERE item = {LONG} AND offset = 100", {"broken": ("long",)}),
    (f"UPDATE part SET offset = 101 WHERE item = {LONG} AND offset = 100", {"broken": ("long",)}),
    (f"UPDATE part SET size = 99 WHERE item = {LONG} AND offset = 100", {"broken": ("long",)}),
    (
        f"DELETE FROM chunk WHERE id = (SELECT chunk FROM part WHERE item = {LONG} AND offset = 0)",
        {"broken": ("long",)},
    ),
    ("UPDATE item SET size = size - 1 WHERE name = 'whole'", {"broken": ("whole",)}),
    ("UPDATE item SET parts = 9 WHERE name = 'whole'", {"broken": ("whole",)}),
    ("INSERT INTO chunk VALUES (999999, x'0102'), (999998, x'')", {"stray_chunks": 2}),
    ("INSERT INTO part VALUES (999999, 0, 5, 999998)", {"stray_parts": 1}),
    (
        "UPDATE meta SET bytes = 1; DELETE FROM chunk WHERE id IN (SELECT max(chunk) FROM part);"
        "INSERT INTO chunk VALUES (77777, x'')",
        {"bytes_off": -20_254, "broken": ("whole",), "stray_chunks": 1},
    ),
]


@pytest.mark.parametrize(("sql", "expected"), DAMAGE)
def test_damage_is_found_and_mended(tmp_path: Path, sql: str, expected: dict[str, Any]) -> None:
    path = tmp_path / "s.db"
    with filled(path) as store:
        names = set(store)
        with plain(path) as connection:
            connection.executescript(sql)
        found = store.check()
        for field in ("bytes_off", "items_off", "broken", "stray_chunks", "stray_parts"):
            if field in expected or field in {"bytes_off", "items_off"}:
                assert getattr(found, field) == expected.get(field, 0), field
        assert found.problems and not found.is_clean and not found.repaired
        again = store.check()
        assert again == found, "a check changes nothing"
        mended = store.check(repair=True)
        assert mended.repaired and mended.problems == found.problems
        assert store.check().is_clean
        assert set(store) == names - set(expected.get("broken", ()))
        assert store.usage().payload_bytes == sum(map(len, in_use(store).values()))
        assert len(store) == len(in_use(store))
        store["new"] = bytes(500)
        assert store["new"] == bytes(500)
    with opened(path) as store:
        assert store.check().is_clean


@pytest.mark.parametrize("name", ["short", "long", "whole"])
def test_a_blob_without_its_bytes_raises_and_spares_the_others(tmp_path: Path, name: str) -> None:
    path = tmp_path / "s.db"
    with filled(path) as store:
        others = {other: store[other] for other in store if other != name}
        with plain(path) as connection:
            own = "SELECT id FROM item WHERE name = ?"
            connection.execute(
                f"DELETE FROM chunk WHERE id IN ({own} UNION SELECT chunk FROM part WHERE item IN ({own}))",
                [name, name],
            )
        for use in (
            lambda: store[name],
            lambda: store.read_range(name, 0, 1),
            lambda: store.open(name).read(),
        ):
            with pytest.raises(BlobStoreError):
                use()
        assert {other: store[other] for other in store if other != name} == others
        store[name] = b"new"
        assert store[name] == b"new" and store.check().is_clean


def test_clocks_that_were_set_back_are_mended(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with filled(path) as store:
        with plain(path) as connection:
            connection.execute("UPDATE meta SET clock = 0")
        store.check(repair=True)
        for number in range(20):
            store[f"{number}"] = b"new"
        assert store["short"] == b"short" and store.check().is_clean


def test_damage_that_sqlite_finds_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path) as store:
        for number in range(200):
            store[f"{number:0100}"] = bytes(100)
    with plain(path) as connection:
        rows = "SELECT rootpage FROM sqlite_master WHERE name = 'item_order'"
        root = connection.execute(rows).fetchone()[0]
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = bytes(4096)
    path.write_bytes(content)
    try:
        with opened(path) as store:
            report = store.check()
            assert report.problems and not report.is_clean
            assert not store.check(repair=True).repaired
    except StoreCorruptError:
        pass  # found even before anybody asked


def test_what_was_never_finished_is_swept_when_its_process_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    here = Owner.this_process()
    gone = Owner(here.pid, "another start", here.host, "token")
    elsewhere = Owner(here.pid, "another start", "another host", "token")
    opened(path).close()
    with plain(path) as connection:
        for number, owner in enumerate((gone, here, elsewhere, "not an owner"), 1):
            connection.execute("INSERT INTO stage VALUES (?, ?, 3, 0)", [number * 1000, str(owner)])
            connection.execute("INSERT INTO chunk VALUES (?, x'010203')", [number])
            connection.execute("INSERT INTO part VALUES (?, 0, 3, ?)", [number * 1000, number])
    with opened(path) as store:
        assert store.usage().staged_bytes == 9
        assert store.check().is_clean, "what may still be finished is no damage"
    with plain(path) as connection:
        assert connection.execute("SELECT id FROM stage ORDER BY id").fetchall() == [
            (2000,),
            (3000,),
            (4000,),
        ]
        assert connection.execute("SELECT count(*) FROM chunk").fetchone() == (3,)


@pytest.mark.parametrize("size", [10, 250])
def test_what_is_not_finished_at_close_leaves_nothing(tmp_path: Path, size: int) -> None:
    path = tmp_path / "s.db"
    store = opened(path, options=quick(chunk_size=100))
    file = store.open("a", "wb")
    file.write(bytes(size))
    store.close()
    with pytest.raises(ValueError, match="closed"):
        file.close()
    assert file.closed
    for table in ("item", "chunk", "part", "stage"):
        assert ask(path, f"SELECT count(*) FROM {table}") == 0


@pytest.mark.parametrize("auto_vacuum", ["incremental", "full", "none"])
@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_space_is_given_back(tmp_path: Path, auto_vacuum: Any, journal_mode: Any) -> None:
    path, options = tmp_path / "s.db", quick(auto_vacuum=auto_vacuum, journal_mode=journal_mode)
    with opened(path, options=options) as store:
        store["stays"] = bytes(100_000)
        store["goes"] = bytes(1 << 20)
        del store["goes"]
        free = store.usage().freelist
        if auto_vacuum == "full":
            assert free == 0 == store.vacuum()
        else:
            assert free > 250
            assert store.vacuum(0) == 0
            assert store.usage().freelist == free
            assert store.vacuum(10) == (10 if auto_vacuum == "incremental" else free)
            assert store.vacuum() == (free - 10 if auto_vacuum == "incremental" else 0)
        assert store.usage().freelist == 0
        assert store["stays"] == bytes(100_000)
        assert store.check().is_clean
    assert path.stat().st_size < 200_000


ROWS = [
    ("b", "2021-05-01 00:00:02", b"second", None),
    ("a", "2021-05-01 00:00:01", b"first", True),
    ("z", "2021-05-01 00:00:03", b"\0" * 300, False),
    ("y", "2021-05-01 00:00:03", b"same time as z", 1),
    ("text", "2021-05-01 00:00:04", "\u00e9\0text", None),
    ("empty", "2021-05-01 00:00:05", b"", None),
]
BAD = [
    (None, "2021-05-01 00:00:00", b"no name", None),
    ("null", "2021-05-01 00:00:00", None, None),
    ("", "2021-05-01 00:00:00", b"empty name", None),
    ("a\0b", "2021-05-01 00:00:00", b"NUL", None),
    ("huge", "2021-05-01 00:00:00", bytes(2000), None),
    ("x" * 40_000, "2021-05-01 00:00:00", b"long name", None),
]


@pytest.mark.parametrize("chunk_size", [100, 1 << 20])
def test_a_database_of_the_original_design_is_taken_over(tmp_path: Path, chunk_size: int) -> None:
    source = original(tmp_path / "original 100%.db", *ROWS, *BAD)
    before = source.read_bytes()
    with opened(tmp_path / "s.db", capacity=1000, options=quick(chunk_size=chunk_size)) as store:
        store["a"] = b"old"
        found = store.import_original(source)
        expected = {row[0]: row[2].encode() if isinstance(row[2], str) else row[2] for row in ROWS}
        assert in_use(store) == expected
        assert isinstance(found, Imported)
        assert (found.blobs, found.bytes) == (len(ROWS), sum(map(len, expected.values())))
        assert len(found.skipped) == len(BAD)
        assert any("huge" in line for line in found.skipped) and any("null" in line for line in found.skipped)
        assert store.tags("a") == store.tags("y") == {"verified": True}
        assert store.tags("b") == store.tags("z") == {}
        assert store.check().is_clean
        with plain(tmp_path / "s.db") as connection:
            rows = connection.execute("SELECT name FROM item ORDER BY tick").fetchall()
        assert [row[0] for row in rows] == ["a", "b", "z", "y", "text", "empty"]
    assert source.read_bytes() == before


def test_an_import_keeps_within_the_capacity(tmp_path: Path) -> None:
    rows = [(f"{number}", f"2021-05-01 00:00:0{number}", bytes(10), None) for number in range(9)]
    source = original(tmp_path / "original.db", *rows)
    with opened(tmp_path / "s.db", capacity=25) as store:
        assert store.import_original(source).blobs == 9
        assert list(store) == ["7", "8"]


def test_a_name_that_is_not_utf8_is_skipped(tmp_path: Path) -> None:
    source = original(tmp_path / "original.db", ("a", "1", b"x", None), ("b", "2", b"y", None))
    with plain(source) as connection:
        connection.execute("UPDATE blob SET name = CAST(x'ff41' AS TEXT) WHERE name = 'a'")
    with opened(tmp_path / "s.db") as store:
        done = store.import_original(source)
        assert (done.blobs, done.bytes, len(done.skipped)) == (1, 1, 1)
        assert in_use(store) == {"b": b"y"}


def test_only_the_original_tables_are_imported(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db") as store:
        with pytest.raises(FileNotFoundError):
            store.import_original(tmp_path / "nowhere.db")
        assert not (tmp_path / "nowhere.db").exists()
        with plain(tmp_path / "other.db") as connection:
            connection.execute("CREATE TABLE blob (x)")
        with pytest.raises(NotABlobStoreError):
            store.import_original(tmp_path / "other.db")
        (tmp_path / "text.txt").write_text("no database at all\n" * 1000)
        with pytest.raises(BlobStoreError):
            store.import_original(tmp_path / "text.txt")
        with sqlite3.connect(original(tmp_path / "early.db")) as connection:
            connection.execute("ALTER TABLE blob DROP COLUMN verified")
            connection.execute("INSERT INTO blob (name, data) VALUES ('a', x'01')")
        connection.close()
        assert store.import_original(tmp_path / "early.db") == Imported(blobs=1, bytes=1, skipped=())
