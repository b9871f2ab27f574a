"""OSVFS, and the SQLite libraries it goes into."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType

import apsw
import pysqlite3
import pytest

import ltxcore
from ltxcore import OSVFS, sqlite_library, vfs
from ltxcore.errors import SQLiteNotFoundError, VFSError, VFSNameInUseError
from ltxcore.vfs._sqlite import known_bugs

MODES = ["auto", "ofd", "posix", "flock", "dotfile", "excl"]


@pytest.mark.parametrize("module", [sqlite3, pysqlite3, apsw], ids=lambda module: str(module.__name__))
def test_the_library_of_a_module_is_the_one_it_uses(module: ModuleType) -> None:
    library = sqlite_library(module)
    connection = (module.Connection if module is apsw else module.connect)(":memory:")
    assert next(iter(connection.execute("SELECT sqlite_source_id()")))[0] == library.source_id
    connection.close()
    assert library.path is not None
    assert library.path.exists()


def test_libraries_of_one_process_are_kept_apart() -> None:
    handles = {sqlite_library(module)._handle for module in (sqlite3, pysqlite3, apsw)}
    assert len(handles) == 3
    for module in (sqlite3, pysqlite3, apsw):
        OSVFS(name="test-apart", lock="flock").register(module)
    assert sqlite_library(sqlite3)._handle == sqlite_library()._handle


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("lock", MODES)
def test_ordinary_work(tmp_path: Path, lock: vfs.LockMode, journal: str) -> None:
    os_vfs = OSVFS(name=f"test-{lock}", lock=lock).register()
    path = tmp_path / "caf\u00e9 & 100%.db"
    first, second = os_vfs.connect(path), os_vfs.connect(path)
    assert first.execute(f"PRAGMA journal_mode = {journal}").fetchone() == (journal,)
    first.execute("CREATE TABLE t (a)")
    first.execute("INSERT INTO t VALUES (1)")
    first.commit()
    assert second.execute("SELECT a FROM t").fetchall() == [(1,)]
    assert second.execute("PRAGMA ltx_lock").fetchone() == ("ofd" if lock == "auto" else lock,)
    first.close()
    second.close()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_without_locks_wal_needs_exclusive_mode(tmp_path: Path) -> None:
    connection = OSVFS(name="test-none", lock="none").register().connect(tmp_path / "app.db")
    assert connection.execute("PRAGMA journal_mode = wal").fetchone() == ("delete",)
    connection.execute("PRAGMA locking_mode = exclusive")
    assert connection.execute("PRAGMA journal_mode = wal").fetchone() == ("wal",)
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    assert not (tmp_path / "app.db-shm").exists()


def test_the_uri_overrules_the_name(tmp_path: Path) -> None:
    uri = OSVFS().register().uri(tmp_path / "app.db", lock="flock")
    connection = sqlite3.connect(uri, uri=True)
    assert connection.execute("PRAGMA ltx_lock").fetchone() == ("flock",)
    connection.close()
    for parameter in ({"lock": "maybe"}, {"shm": "cloud"}, {"sync": "later"}, {"shm": "heap"}):
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            sqlite3.connect(OSVFS().uri(tmp_path / "app.db", **parameter), uri=True)


def test_a_name_is_taken_once() -> None:
    OSVFS(name="test-once", lock="ofd").register().register()
    with pytest.raises(VFSNameInUseError):
        OSVFS(name="test-once", lock="flock").register()
    with pytest.raises(VFSNameInUseError):
        OSVFS(name="unix").register()
    with pytest.raises(ValueError, match="lock must be one of auto, ofd"):
        OSVFS(lock="maybe")  # type: ignore[arg-type]  # the point of the test


DEFAULT = """
import sqlite3, sys
from ltxcore import OSVFS
before = sqlite3.connect(sys.argv[1])
OSVFS().register()
assert before.execute("PRAGMA ltx_lock").fetchone() is None
assert sqlite3.connect(sys.argv[1]).execute("PRAGMA ltx_lock").fetchone() is None
OSVFS().register(make_default=True)
assert before.execute("PRAGMA ltx_lock").fetchone() is None
assert sqlite3.connect(sys.argv[1]).execute("PRAGMA ltx_lock").fetchone() == ("ofd",)
"""


@pytest.mark.parametrize("module", [sqlite3, pysqlite3, apsw], ids=lambda module: str(module.__name__))
def test_every_name_may_have_every_lock_mode(module: ModuleType, tmp_path: Path) -> None:
    """Each case in a process of its own: names are for life. With APSW, looking for its SQLite took all the usual names."""
    names = ["ltx-os", "ltx-ofd", "ltx-flock", "ltx-dotfile", "ltx-none"]
    for name, lock in zip(names, [*MODES[1:], "none"], strict=False):
        argv = [sys.executable, "-c", NAMED, module.__name__, name, lock, tmp_path / f"{name}.db"]
        subprocess.run(argv, check=True, timeout=30)


NAMED = """
import importlib, sys
from ltxcore import OSVFS
from ltxcore.errors import VFSNameInUseError
name, lock, path = sys.argv[2:]
module = importlib.import_module(sys.argv[1])
vfs = OSVFS(name=name, lock=lock).register(module).register(module)
if module.__name__ == "apsw":
    connection = module.Connection(path, vfs=name)
else:
    connection = module.connect(vfs.uri(path), uri=True)
assert list(connection.execute("PRAGMA ltx_lock")) == [(lock,)]
try:
    OSVFS(name=name).register(module)
except VFSNameInUseError:
    sys.exit()
raise AssertionError("a name that means something else")
"""


@pytest.mark.parametrize("name", ["my vfs", "a&b", "a+b", "50%41", "#?", "caf\u00e9", "a/b"])
@pytest.mark.parametrize("module", [sqlite3, apsw], ids=lambda module: str(module.__name__))
def test_names_with_any_letters(module: ModuleType, name: str, tmp_path: Path) -> None:
    os_vfs = OSVFS(name=name).register(module)
    path = tmp_path / "app.db"
    if module is sqlite3:
        with closing(os_vfs.connect(path)) as connection:
            assert connection.execute("PRAGMA ltx_lock").fetchone() == ("ofd",)
    else:
        assert apsw.Connection(str(path), vfs=name).execute("PRAGMA ltx_lock").fetchall() == [("ofd",)]


@pytest.mark.parametrize("name", ["", "\0", "os\0x"])
def test_names_that_no_connection_could_ask_for(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        OSVFS(name=name)


@pytest.mark.parametrize(
    "name", ["app.db", "a b.db", "a+b.db", "a%20b.db", "a?b#c&d.db", "caf\u00e9", "\udce9.db"]
)
def test_paths_of_any_kind(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os_vfs = OSVFS().register()
    monkeypatch.chdir(tmp_path)
    for number, path in enumerate(
        [tmp_path / name, f"/{tmp_path}/{name}", f"//{tmp_path}/{name}", name, f".//{name}"]
    ):
        for target in (path, os.fsencode(path)):
            connection = os_vfs.connect(target)  # type: ignore[arg-type]  # bytes: sqlite3 takes them as well
            connection.execute("CREATE TABLE IF NOT EXISTS t (a)")
            connection.execute("INSERT INTO t VALUES (?)", (number,))
            connection.commit()
            connection.close()
    assert os.listdir(tmp_path) == [name]
    with closing(os_vfs.connect(name)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (10,)


def test_names_of_no_file() -> None:
    for name in ("", ":memory:"):
        with closing(OSVFS().register().connect(name)) as connection:
            assert connection.execute("PRAGMA database_list").fetchall()[0][2] == ""


def test_a_nul_would_cut_a_name(tmp_path: Path) -> None:
    os_vfs = OSVFS().register()
    for work in (
        lambda: os_vfs.connect(f"{tmp_path}/short.db\0long"),
        lambda: os_vfs.uri(f"{tmp_path}/short.db", modeof=f"{tmp_path}/model\0"),
    ):
        with pytest.raises(ValueError, match="null byte"):
            work()
    assert list(tmp_path.iterdir()) == []


def test_parameters_with_any_letters(tmp_path: Path) -> None:
    os_vfs = OSVFS().register()
    for name in ("a b", "a+b", "a&mode=ro", "50%41", "caf\u00e9", "\udce9"):
        (model := tmp_path / name).touch(mode=0o640)
        for number, value in enumerate((model, str(model))):
            path = tmp_path / f"{name}-{number}.db"
            connection = sqlite3.connect(os_vfs.uri(path, modeof=value, psow=0), uri=True)
            connection.execute("CREATE TABLE t (a)")
            connection.close()
            assert path.stat().st_mode & 0o777 == 0o640


def test_a_directory_is_answered_as_by_the_vfs_of_sqlite(tmp_path: Path) -> None:
    for connect in (OSVFS().register().connect, sqlite3.connect):
        with pytest.raises(sqlite3.OperationalError) as caught:
            connect(tmp_path)
        assert caught.value.sqlite_errorname == "SQLITE_CANTOPEN"


def test_memory_mapping_is_off(tmp_path: Path) -> None:
    """As in a SQLite that was built without it: asking and setting both answer 0."""
    with closing(OSVFS().register().connect(tmp_path / "app.db")) as connection:
        for sql in ("PRAGMA mmap_size", "PRAGMA mmap_size = 1048576", "PRAGMA main.mmap_size"):
            assert connection.execute(sql).fetchall() == [(0,)]


def test_only_whoever_asks_gets_it_unless_it_is_the_default(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", DEFAULT, tmp_path / "app.db"], check=True, timeout=30)


class Hidden(ModuleType):
    """A module with its SQLite inside, that loads no extension: what a statically linked Python has."""

    class Connection:
        """Only what is asked for."""

        def execute(self, _sql: str) -> list[tuple[str]]:
            return [("none",)]

        def close(self) -> None:
            pass

    def connect(self, *_: object, **__: object) -> Connection:
        return self.Connection()


def test_what_cannot_be_reached_says_what_was_tried() -> None:
    with pytest.raises(SQLiteNotFoundError) as caught:
        sqlite_library(Hidden("hidden"))
    assert len(caught.value.tried) == 2
    assert "without extension loading" in str(caught.value)
    assert caught.value.hint is not None
    with pytest.raises(TypeError):
        sqlite_library(sys)
    with pytest.raises(VFSError):
        sqlite_library()._handle.set_default_vfs("test-nowhere")


def test_the_door_for_modules_that_hide_their_symbols() -> None:
    assert sqlite_library(apsw).found_by == "extension"
    assert sqlite_library(sqlite3).found_by == "symbols"


@pytest.mark.parametrize(
    ("version", "bugs"),
    [
        ("3.6.23", ()),
        ("3.7.0", ("wal-reset",)),
        ("3.40.1", ("wal-reset",)),
        ("3.44.5", ("wal-reset",)),
        ("3.44.6", ()),
        ("3.45.0", ("wal-reset",)),
        ("3.50.7", ()),
        ("3.51.2", ("wal-reset",)),
        ("3.51.3", ()),
        ("3.54.1.0", ()),
    ],
)
def test_known_bugs(version: str, bugs: tuple[str, ...]) -> None:
    assert known_bugs(version) == bugs
    assert set(bugs) <= set(vfs.KNOWN_BUGS)


def test_probe(tmp_path: Path) -> None:
    found = vfs.probe(tmp_path)
    assert found.lock_modes == vfs.supports_file_locking(tmp_path)
    assert found.lock_modes[-1] == "none"
    assert {"posix", "dotfile"} <= set(found.lock_modes)
    assert vfs.supports_shared_memory(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        vfs.probe(tmp_path / "nowhere")


def test_break_lock(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    connection = OSVFS(name="test-dotfile", lock="dotfile").register().connect(path)
    connection.execute("CREATE TABLE t (a)")
    path.with_name("app.db.lock").mkdir()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        connection.execute("PRAGMA busy_timeout = 0").connection.execute("SELECT * FROM t")
    vfs.break_lock(path)
    assert connection.execute("SELECT * FROM t").fetchall() == []
    with pytest.raises(FileNotFoundError):
        vfs.break_lock(path)
    connection.close()


def test_page_checksums(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    connect = ltxcore.OSVFS().register().connect
    connection = connect(path, checksums=True)
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (zeroblob(20000))")
    connection.commit()
    assert connection.execute("PRAGMA checksum_verification").fetchone() == ("1",)
    connection.close()
    content = bytearray(path.read_bytes())
    content[3 * 4096 + 99] ^= 1
    path.write_bytes(content)
    for checksums in (True, False):
        connection = connect(path, checksums=checksums)
        sql = "SELECT length(hex(a)) FROM t"
        if checksums:
            with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
                connection.execute(sql).fetchall()
        else:
            assert connection.execute(sql).fetchone() == (40000,)
        connection.close()
    assert vfs.write_checksums(path) == 1
    assert vfs.write_checksums(path) == 0
