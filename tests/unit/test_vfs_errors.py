"""Bad input to the functions that take a path, a parameter or a source: the error says what it is about."""

from __future__ import annotations

import fcntl
import io
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore
from ltxcore import OSVFS, ReaderVFS, _ltxcore, ltx, vfs
from ltxcore.errors import DatabaseBusyError, FormatError, OutputInUseError

BY_PATH: list[Callable[[Path], object]] = [
    ltx.open,
    ltx.read_page_index,
    ltx.checksum_database,
    lambda path: ltx.encode_database(path, io.BytesIO()),
    lambda path: ltx.compact([path], io.BytesIO()),
    lambda path: ltx.apply(path, path.parent / "app.db"),
    ReaderVFS,
    vfs.write_checksums,
    vfs.probe,
]


@pytest.mark.parametrize("function", BY_PATH)
def test_a_file_that_is_not_there_is_named(function: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "none.ltx"
    with pytest.raises(FileNotFoundError) as caught:
        function(path)
    assert caught.value.filename == str(path)


@pytest.mark.parametrize(
    "function", [each for each in BY_PATH if each not in (vfs.write_checksums, vfs.probe)]
)
def test_a_file_of_another_kind_is_named(function: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "text.ltx"
    path.write_bytes(b"something else" * 100)
    (tmp_path / "app.db").touch()
    with pytest.raises(FormatError, match=r"text\.ltx|input 0") as caught:
        function(path)
    assert caught.value.path == (None if "input 0" in str(caught.value) else str(path))


def test_the_database_that_a_file_is_applied_to_is_named(tmp_path: Path) -> None:
    database, file = tmp_path / "app.db", tmp_path / "part.ltx"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE t (a)")
    with ltxcore.DB(database, replica=tmp_path / "replica") as db:
        db.wait(timeout=30)
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("INSERT INTO t VALUES (1)")
        db.wait(timeout=30)
    file.write_bytes(max((tmp_path / "replica/ltx/0").iterdir()).read_bytes())
    with pytest.raises(FileNotFoundError) as caught:
        ltx.apply(file, tmp_path / "none.db")
    assert caught.value.filename == str(tmp_path / "none.db")


def test_a_lock_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.with_name("app.db.lock").touch()
    with pytest.raises(NotADirectoryError) as caught:
        vfs.break_lock(path)
    assert caught.value.filename == f"{path}.lock"
    path.with_name("app.db.lock").unlink()
    with pytest.raises(FileNotFoundError) as missing:
        vfs.break_lock(path)
    assert missing.value.filename == f"{path}.lock"


@pytest.mark.parametrize("source", [None, 5, ["app.db"], io.StringIO("text")])
def test_a_source_that_is_none(source: object) -> None:
    with pytest.raises(TypeError):
        ReaderVFS(source)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["lock", "shm", "sync", "psow", "cksm", "readonly_shm"])
@pytest.mark.parametrize("value", ["", "ja", "2x", "true "])
def test_a_parameter_that_means_nothing(key: str, value: str, tmp_path: Path) -> None:
    uri = OSVFS().register().uri(tmp_path / "app.db", **{key: value})
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        sqlite3.connect(uri, uri=True)
    assert _ltxcore.take_refusal() == ("parameter", f"invalid URI parameter: {key}={value}")


@pytest.mark.parametrize("value", ["any", "refused", "1:2:3:4", "1:2:3:4:5:6"])
def test_a_stamp_that_is_none_changes_nothing(value: str, tmp_path: Path) -> None:
    with closing(OSVFS().register().connect(tmp_path / "app.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("PRAGMA ltx_unwritten_since = '1:2:3:4:5'")
        with pytest.raises(sqlite3.OperationalError, match="device:inode:mtime:ctime:size"):
            connection.execute(f"PRAGMA ltx_unwritten_since = '{value}'")
        assert connection.execute("PRAGMA ltx_unwritten_since").fetchone() == ("1:2:3:4:5",)
        connection.execute("PRAGMA ltx_unwritten_since = ''")
        assert connection.execute("PRAGMA ltx_unwritten_since").fetchone() == ("any",)


@pytest.mark.parametrize("lock", ["ofd", "posix", "flock", "dotfile", "excl"])
def test_checksums_are_not_written_beside_a_transaction(lock: vfs.LockMode, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(OSVFS().register().connect(path, checksums=True)) as connection:
        connection.execute("CREATE TABLE t (a)")
    uri = OSVFS().register().uri(path, lock=lock)
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusyError):
            vfs.write_checksums(path)
        connection.execute("INSERT INTO t VALUES (1)")
        connection.execute("COMMIT")
    # Somebody else's idea of a lock.
    path.with_name("app.db.lock").touch()
    assert vfs.write_checksums(path) == 0


def write_checksums(path: Path) -> None:
    vfs.write_checksums(path)


def restore(path: Path) -> None:
    ltxcore.restore(path.parent / "replica", path, overwrite=True)


@pytest.mark.parametrize("change", [write_checksums, restore])
def test_a_lock_that_no_connection_needs_to_have_is_named(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "app.db"
    with closing(OSVFS().register().connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")
    with ltxcore.DB(path, replica=tmp_path / "replica") as db:
        db.wait(timeout=30)
    before = path.read_bytes()
    (lock := tmp_path / "app.db.lock").mkdir()
    with pytest.raises((DatabaseBusyError, OutputInUseError), match=r"app\.db\.lock is there") as caught:
        change(path)
    assert caught.value.hint is not None and "break_lock" in caught.value.hint
    lock.rmdir()
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        with pytest.raises((DatabaseBusyError, OutputInUseError), match="flock"):
            change(path)
    assert path.read_bytes() == before
    change(path)


def test_exceptions_of_a_file_object_come_out_as_they_were(tmp_path: Path) -> None:
    mine = ltxcore.Error("mine")

    class Failing(io.RawIOBase):
        def write(self, _content: object) -> int:
            raise mine

    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.execute("CREATE TABLE t (a)")
    with pytest.raises(ltxcore.Error) as caught:
        ltx.encode_database(tmp_path / "app.db", Failing())  # type: ignore[arg-type]
    assert caught.value is mine and str(mine) == "mine"


def test_a_file_object_may_give_any_bytes(tmp_path: Path) -> None:
    class Arrays(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return bytearray(super().read(size))  # type: ignore[return-value]

    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.execute("CREATE TABLE t (a)")
    content = (tmp_path / "app.db").read_bytes()
    with ReaderVFS(Arrays(content)) as reader, closing(reader.connect()) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
