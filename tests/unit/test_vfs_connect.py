"""OSVFS.connect and OSVFS.uri: parameters, and mistakes in a call, which are answered with what is wrong."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType

import apsw
import pysqlite3
import pytest

from ltxcore import OSVFS, ReaderVFS, _ltxcore, vfs
from ltxcore.errors import VFSError, VFSNameInUseError, VFSParameterError

OTHERS = pytest.mark.parametrize("module", [pysqlite3, apsw], ids=lambda module: str(module.__name__))


def test_parameters_reach_the_vfs_and_sqlite(tmp_path: Path) -> None:
    os_vfs, path = OSVFS().register(), tmp_path / "app.db"
    parameters: dict[str, str | int] = {"lock": "flock", "psow": 0}
    with closing(os_vfs.connect(path, parameters=parameters, checksums=True)) as connection:
        assert connection.execute("PRAGMA ltx_lock").fetchone() == ("flock",)
        connection.execute("CREATE TABLE t (a)")
        assert connection.execute("PRAGMA checksum_verification").fetchone() == ("1",)
    assert parameters == {"lock": "flock", "psow": 0}
    with (
        closing(os_vfs.connect(path, parameters={"mode": "ro"}, timeout=0)) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        os_vfs.connect(tmp_path / "none.db", parameters={"mode": "ro"})


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"lock": "OFD"}, "invalid URI parameter: lock=OFD"),
        ({"shm": "cloud"}, "invalid URI parameter: shm=cloud"),
        ({"sync": "later"}, "invalid URI parameter: sync=later"),
        ({"shm": "heap"}, "shm=heap needs lock=excl or lock=dotfile"),
    ],
)
def test_a_parameter_that_is_refused_is_named(parameters: dict[str, str], said: str, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with pytest.raises(VFSParameterError, match=said) as caught:
        OSVFS().register().connect(path, parameters=parameters)
    error = caught.value
    assert isinstance(error, sqlite3.OperationalError)
    assert isinstance(error, ValueError)
    assert (error.sqlite_errorname, error.path) == ("SQLITE_CANTOPEN", str(path))
    assert error.hint is not None
    assert _ltxcore.take_refusal() is None


def test_checksums_that_are_asked_for_and_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cksm"):
        OSVFS().register().connect(tmp_path / "app.db", checksums=True, parameters={"cksm": 0})
    OSVFS().register().connect(tmp_path / "app.db", checksums=True, parameters={"cksm": 1}).close()


def test_the_vfs_of_a_uri_is_this_one() -> None:
    with pytest.raises(ValueError, match="vfs"):
        OSVFS().uri("app.db", vfs="unix")
    with pytest.raises(ValueError, match="vfs"):
        OSVFS().register().connect("app.db", parameters={"vfs": "unix"})


@pytest.mark.parametrize("database", ["file:app.db", b"file:app.db", "file:///app.db?mode=ro"])
def test_a_uri_is_no_path(database: str | bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os_vfs = OSVFS().register()
    makers: list[Callable[..., object]] = [os_vfs.uri, os_vfs.connect]
    for make in makers:
        with pytest.raises(ValueError, match="not a URI"):
            make(database)
    assert list(tmp_path.iterdir()) == []
    with closing(os_vfs.connect("./file:app.db")) as connection:
        connection.execute("CREATE TABLE t (a)")
    assert [file.name for file in tmp_path.iterdir()] == ["file:app.db"]


@pytest.mark.parametrize(
    "lock",
    ["auto", "ofd", "posix", "flock", "dotfile", "excl", "none"],
)
def test_the_name_follows_the_lock(lock: vfs.LockMode) -> None:
    name = "ltx-os" if lock == "auto" else f"ltx-{lock}"
    assert OSVFS(lock=lock).name == name
    assert OSVFS(lock=lock, name="mine").name == "mine"
    assert repr(OSVFS(lock=lock)) == f"OSVFS(name={name!r}, lock={lock!r})"


EVERY_LOCK = """
import sys
from contextlib import closing
from ltxcore import OSVFS
for lock in ("auto", "ofd", "posix", "flock", "dotfile", "excl", "none"):
    with closing(OSVFS(lock=lock).register().connect(f"{sys.argv[1]}/{lock}.db")) as connection:
        assert connection.execute("PRAGMA ltx_lock").fetchone() == ("ofd" if lock == "auto" else lock,)
"""


def test_every_lock_mode_beside_the_others(tmp_path: Path) -> None:
    """In a process of its own: names are for life."""
    subprocess.run([sys.executable, "-c", EVERY_LOCK, tmp_path], check=True, timeout=30)


@pytest.mark.parametrize("lock", ["auto", "posix", "none"])
def test_a_name_that_is_taken_says_by_which_lock(lock: vfs.LockMode) -> None:
    name = f"test-taken-{lock}"
    OSVFS(name=name, lock=lock).register()
    with pytest.raises(VFSNameInUseError, match=f"'{name}' is registered with lock='{lock}'") as caught:
        OSVFS(name=name, lock="dotfile").register()
    assert "name=" in str(caught.value.hint)
    with pytest.raises(VFSNameInUseError, match="'unix' belongs to another VFS") as caught:
        OSVFS(name="unix", lock=lock).register()
    assert "name=" in str(caught.value.hint)


@OTHERS
def test_connect_does_not_change_the_library(module: ModuleType, tmp_path: Path) -> None:
    """The name is known to `sqlite3` as well, or not: it would be the wrong SQLite, or no such VFS."""
    OSVFS().register()
    for name in ("ltx-os", f"test-only-{module.__name__}"):
        os_vfs = OSVFS(name=name).register(module)
        with pytest.raises(VFSError, match=rf"{module.__name__}.*sqlite3") as caught:
            os_vfs.connect(tmp_path / "app.db")
        assert module.__name__ in str(caught.value.hint)
        os_vfs.register().connect(tmp_path / "app.db").close()
        assert (tmp_path / "app.db").exists()


@OTHERS
def test_a_reader_of_another_library_is_opened_with_that(module: ModuleType) -> None:
    """`connect()` refused to: it opened with `sqlite3` and nothing else."""
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.execute("CREATE TABLE t (a)")
        data = memory.serialize()
    ReaderVFS(data).connect().close()
    with ReaderVFS(data, module=module) as reader:
        with closing(reader.connect()) as connection:
            assert type(connection).__module__.partition(".")[0] in (module.__name__, "pysqlite3")
            assert list(connection.execute("SELECT count(*) FROM t")) == [(0,)]
        # Turns are taken by connections of sqlite3 alone.
        with pytest.raises(VFSError, match=f"no connections of {module.__name__} that threads share"):
            reader.connect(check_same_thread=False)


def test_a_module_within_sqlite3_is_sqlite3(tmp_path: Path) -> None:
    os_vfs = OSVFS().register(sqlite3.dbapi2)  # the module that SQLAlchemy and Django use
    os_vfs.connect(tmp_path / "app.db").close()


SWAPPED = """
import sys, pysqlite3
sys.modules["sqlite3"] = pysqlite3
from ltxcore import OSVFS
from ltxcore.vfs import _os_vfs
assert _os_vfs.sqlite3 is pysqlite3
for module in (None, pysqlite3):
    connection = OSVFS().register(module).connect(sys.argv[1])
    assert isinstance(connection, pysqlite3.Connection)
"""


def test_a_program_that_replaces_sqlite3(tmp_path: Path) -> None:
    """As programs do whose own SQLite is too old."""
    done = subprocess.run(
        [sys.executable, "-c", SWAPPED, tmp_path / "app.db"],
        check=False,
        timeout=30,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
