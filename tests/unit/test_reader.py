"""ReaderVFS: databases in memory, in archives and in snapshots."""

import atexit
import contextlib
import gc
import importlib
import io
import os
import sqlite3
import sys
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from ltxcore import ReaderVFS, ltx
from ltxcore.errors import FormatError

ROWS = 1000
TOTAL = sum(range(ROWS))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("CREATE TABLE t (a)")
    connection.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(ROWS)])
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def snapshot(database: Path, tmp_path: Path) -> Path:
    path = tmp_path / ltx.format_filename(1, 1)
    with path.open("wb") as file:
        ltx.encode_database(database, file)
    return path


def total(reader: ReaderVFS) -> int:
    connection = reader.connect()
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(connection.execute("SELECT sum(a) FROM t").fetchone()[0])
    finally:
        connection.close()


def test_bytes(database: Path) -> None:
    content = database.read_bytes()
    assert content[18] == 2, "in WAL mode, which has no place here"
    with ReaderVFS(content) as reader:
        assert total(reader) == TOTAL
        assert total(ReaderVFS(bytearray(content))) == TOTAL


def test_a_member_of_an_archive(database: Path, tmp_path: Path) -> None:
    archive = tmp_path / "backup.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(database, "app.db")
    with zipfile.ZipFile(archive) as file, file.open("app.db") as member, ReaderVFS(member) as reader:
        assert total(reader) == TOTAL


def test_snapshots(snapshot: Path) -> None:
    assert total(ReaderVFS(snapshot)) == TOTAL
    assert total(ReaderVFS(snapshot.read_bytes())) == TOTAL
    with snapshot.open("rb") as file:
        assert total(ReaderVFS(file)) == TOTAL


def test_a_damaged_snapshot_is_refused_before_anything_is_read(snapshot: Path) -> None:
    content = bytearray(snapshot.read_bytes())
    content[len(content) // 2] ^= 1
    with pytest.raises(FormatError):
        ReaderVFS(bytes(content))


def test_the_path_of_a_live_database_is_refused(database: Path) -> None:
    with pytest.raises(ValueError, match="sqlite3"):
        ReaderVFS(database)


def test_nobody_writes(database: Path) -> None:
    connection = ReaderVFS(database.read_bytes()).connect()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM t")
    connection.execute("PRAGMA cache_size = 5")
    connection.execute("PRAGMA temp_store = file")
    connection.execute("CREATE TEMP TABLE s AS SELECT a, hex(randomblob(500)) AS x FROM t")
    assert len(connection.execute("SELECT x FROM s ORDER BY x").fetchall()) == ROWS
    connection.close()


def test_closed_is_not_found_but_open_connections_go_on(database: Path) -> None:
    reader = ReaderVFS(database.read_bytes())
    connection = reader.connect()
    reader.close()
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (ROWS,)
    connection.close()
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        reader.connect()


def test_attach(database: Path) -> None:
    reader = ReaderVFS(database.read_bytes())
    connection = sqlite3.connect("file::memory:", uri=True)
    connection.execute("ATTACH ? AS old", (reader.uri,))
    assert connection.execute("SELECT sum(a) FROM old.t").fetchone() == (TOTAL,)
    connection.close()


def test_another_library(snapshot: Path) -> None:
    reader = ReaderVFS(snapshot, module=apsw)
    by_hand = apsw.Connection(reader.uri, flags=apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READONLY)
    opened = [
        by_hand,
        reader.connect(),
        reader.connect(flags=apsw.SQLITE_OPEN_READONLY, statementcachesize=3),
    ]
    for connection in opened:
        assert type(connection) is apsw.Connection
        assert list(connection.execute("SELECT sum(a) FROM t")) == [(TOTAL,)]
        connection.close()
    reader.close()
    with pytest.raises(apsw.CantOpenError):
        reader.connect()


class Failing(io.BytesIO):
    """A medium that breaks beyond its second page."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() + (size or 0) > 8192:
            raise RuntimeError("the tape is torn")
        return super().read(size)


def test_an_exception_of_the_file_comes_out_as_it_was(database: Path) -> None:
    reader = ReaderVFS(Failing(database.read_bytes()))
    connection = reader.connect()
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        connection.execute("SELECT sum(a) FROM t").fetchall()
    error = reader.take_error()
    assert isinstance(error, RuntimeError)
    assert str(error) == "the tape is torn"
    assert error.__traceback__ is not None
    assert reader.take_error() is None
    connection.close()


def test_many_threads_share_one_file_object(database: Path) -> None:
    with database.open("rb") as file:
        reader = ReaderVFS(io.BytesIO(file.read()))
    totals: list[int] = []
    threads = [threading.Thread(target=lambda: totals.append(total(reader))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals == [TOTAL] * 8


def test_the_size_is_that_of_the_beginning(database: Path) -> None:
    source = io.BytesIO(database.read_bytes())
    reader = ReaderVFS(source)
    source.seek(0, io.SEEK_END)
    source.write(b"x" * 4096)
    assert total(reader) == TOTAL


def short_file(content: bytes, snapshot: Path) -> ReaderVFS:
    source = io.BytesIO(content)
    reader = ReaderVFS(source)
    source.truncate(len(content) - 4096)
    return reader


def short_snapshot(content: bytes, snapshot: Path) -> ReaderVFS:
    reader = ReaderVFS(snapshot)
    os.truncate(snapshot, 200)
    return reader


def short_snapshot_object(content: bytes, snapshot: Path) -> ReaderVFS:
    source = io.BytesIO(snapshot.read_bytes())
    reader = ReaderVFS(source)
    source.truncate(200)
    return reader


@pytest.mark.parametrize("shorten", [short_file, short_snapshot, short_snapshot_object])
@pytest.mark.parametrize("options", [{}, {"check_same_thread": False}], ids=["alone", "shared"])
def test_a_source_that_ends_early_is_an_error(
    shorten: Callable[[bytes, Path], ReaderVFS], options: dict[str, bool], database: Path, snapshot: Path
) -> None:
    content = database.read_bytes()
    reader = shorten(content, snapshot)
    with (
        pytest.raises((sqlite3.OperationalError, OSError, FormatError)) as raised,
        contextlib.closing(reader.connect(**options)) as connection,
    ):
        connection.execute("SELECT sum(a) FROM t").fetchone()
    error = raised.value
    if isinstance(error, sqlite3.Error):
        assert str(error) == "disk I/O error"
        cause = reader.take_error()
        assert cause is not None
        error = cause
    if shorten is short_file:
        at, size = len(content) - 4096, len(content)
        assert str(error) == f"the database ends at byte {at}, though it had {size} bytes when it was opened"


class Source(io.BytesIO):
    """Something that can be seen to be gone."""


def test_a_source_is_let_go_of_with_reader_and_connections(database: Path) -> None:
    content = database.read_bytes()
    source = Source(content)
    gone = weakref.ref(source)
    connection = ReaderVFS(source).connect()
    del source
    gc.collect()
    assert connection.execute("SELECT sum(a) FROM t").fetchone() == (TOTAL,)
    connection.close()
    assert gone() is None

    source = Source(content)
    gone = weakref.ref(source)
    reader = ReaderVFS(source)
    uri = reader.uri
    del source, reader
    gc.collect()
    assert gone() is None
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        sqlite3.connect(uri, uri=True)


def test_a_source_that_failed_is_let_go_of(database: Path) -> None:
    source = Failing(database.read_bytes())
    gone = weakref.ref(source)
    reader = ReaderVFS(source)
    connection = reader.connect()
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError):
            connection.execute("SELECT sum(a) FROM t").fetchall()
    connection.close()
    del source, reader, connection
    gc.collect()
    assert gone() is None


def test_no_name_is_used_again_when_the_package_is_imported_again(database: Path) -> None:
    reader = ReaderVFS(database.read_bytes())
    names = {reader.uri}
    modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "ltxcore"}
    try:
        for name in modules:
            del sys.modules[name]
        other = importlib.import_module("ltxcore").ReaderVFS(b"")
        atexit.unregister(sys.modules["ltxcore._process.runtime"]._close_all)
    finally:
        sys.modules.update(modules)
    names |= {other.uri, ReaderVFS(b"").uri}
    assert len(names) == 3
    assert total(reader) == TOTAL


def test_names_are_those_of_no_file(database: Path) -> None:
    reader = ReaderVFS(database.read_bytes())
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        sqlite3.connect(reader.uri.partition("vfs=")[0], uri=True)


def test_other_files_beside_a_reader(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reader = ReaderVFS(io.BytesIO(database.read_bytes()))
    connection = reader.connect()
    connection.execute("VACUUM INTO 'vacuum.db'")
    connection.execute("ATTACH 'new.db' AS new")
    connection.execute("ATTACH ':memory:' AS memory")
    connection.execute("ATTACH ? AS again", (reader.uri,))
    connection.execute("CREATE TABLE new.t AS SELECT * FROM main.t")
    connection.execute("CREATE TABLE memory.t AS SELECT * FROM again.t")
    connection.commit()
    connection.close()
    for name in ("vacuum.db", "new.db"):
        copy = sqlite3.connect(tmp_path / name)
        assert copy.execute("SELECT sum(a) FROM t").fetchone() == (TOTAL,)
        copy.close()


@pytest.mark.parametrize("begin", ["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("main_is_reader", [True, False])
@pytest.mark.parametrize("writable", [1, 2])
def test_commits_with_attached_databases(
    begin: str, mode: str, main_is_reader: bool, writable: int, database: Path, tmp_path: Path
) -> None:
    reader = ReaderVFS(database.read_bytes())
    paths = [str(tmp_path / f"{number}.db") for number in range(writable)]
    main, *attached = [reader.uri, *paths] if main_is_reader else [*paths, reader.uri]
    connection = sqlite3.connect(main, uri=True, isolation_level=None)
    for number, name in enumerate(attached):
        connection.execute(f"ATTACH ? AS a{number}", (name,))
    schemas = {row[2]: row[1] for row in connection.execute("PRAGMA database_list")}
    source = next(schema for path, schema in schemas.items() if path not in paths)
    for path in paths:
        connection.execute(f"PRAGMA {schemas[path]}.journal_mode = {mode}")
    connection.execute(begin)
    for path in paths:
        connection.execute(f"CREATE TABLE {schemas[path]}.w AS SELECT a FROM {source}.t")
    # The file that would bind two rollback journals together has no place beside the reader.
    refused = main_is_reader and writable == 2 and mode == "delete"
    if refused:
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            connection.execute("COMMIT")
        assert "attach the reader to it, or use WAL" in str(reader.take_error())
    else:
        connection.execute("COMMIT")
    connection.close()
    for path in paths:
        connection = sqlite3.connect(path)
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        assert tables == (0 if refused else 1,)
        connection.close()


class Counting(io.BytesIO):
    """Counts how often it is read."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        return super().read(size)


def test_a_connection_to_be_shared_reads_a_copy_that_is_made_once(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(tmp_path.iterdir())
    source = Counting(database.read_bytes())
    reader = ReaderVFS(source)
    one = reader.connect(check_same_thread=False)
    reads = source.reads
    two = reader.connect(check_same_thread=False, factory=sqlite3.Connection)
    three = reader.connect(check_same_thread=False)
    three.row_factory = sqlite3.Row
    for connection in (one, two, three):
        assert connection.execute("SELECT sum(a) AS s FROM t").fetchone()[0] == TOTAL
        assert connection.cursor().execute("SELECT 1 WHERE ?", (0,)).fetchall() == []
    assert three.execute("SELECT 1 AS one").fetchone()["one"] == 1
    assert source.reads == reads
    assert set(tmp_path.iterdir()) == before
    reader.close()
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        reader.connect(check_same_thread=False)
    assert one.execute("SELECT sum(a) FROM t").fetchone() == (TOTAL,)
    for connection in (one, two, three):
        connection.close()


def test_an_exception_while_copying_comes_out_as_it_was(database: Path) -> None:
    reader = ReaderVFS(Failing(database.read_bytes()))
    with pytest.raises(RuntimeError, match="the tape is torn"):
        reader.connect(check_same_thread=False)
    reader.close()
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        reader.connect(check_same_thread=False)


@pytest.mark.parametrize("source", [bytes, io.BytesIO])
def test_threads_share_a_connection(source: type, database: Path) -> None:
    connection = ReaderVFS(source(database.read_bytes())).connect(check_same_thread=False)
    found: list[int] = []

    def read() -> None:
        for number in range(50):
            found.append(connection.execute("SELECT a FROM t WHERE a = ?", (number,)).fetchone()[0])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(list(range(50)) * 4)
    connection.close()
