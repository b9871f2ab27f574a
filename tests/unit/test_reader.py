"""ReaderVFS: databases in memory, in archives and in snapshots."""

import io
import sqlite3
import threading
import zipfile
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
    connection = apsw.Connection(reader.uri, flags=apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READONLY)
    assert list(connection.execute("SELECT sum(a) FROM t")) == [(TOTAL,)]
    connection.close()


class Failing(io.BytesIO):
    """A medium that breaks beyond its second page."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= 8192:
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
