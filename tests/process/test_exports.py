"""The shared object as a guest in somebody's process: its symbols, the end of the interpreter, and fork."""

import ctypes.util
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import exits
from tests.helpers.process import Child, ended
from tests.helpers.site import Site

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]

ENTRY_POINT = "sqlite3_ltxcore_init"  # what SQLite calls when the file is loaded as an extension


def shared_object() -> Path:
    for name in ("ltxcore._ltxcore", "_ltxcore"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            return Path(spec.origin)
    raise AssertionError("no native module")


def sqlite_symbols(path: Path, *, defined: bool) -> set[str]:
    which = "--defined-only" if defined else "--undefined-only"
    done = subprocess.run(["nm", "-D", which, path], capture_output=True, text=True, check=True)
    names = {line.split()[-1].split("@")[0] for line in done.stdout.splitlines() if line.strip()}
    return {name for name in names if name.startswith("sqlite3")} - {ENTRY_POINT}


def test_no_sqlite_symbol_is_exported() -> None:
    """Our SQLite is ours: the process's own must never be linked against it by accident."""
    assert sqlite_symbols(shared_object(), defined=True) == set()


def test_no_sqlite_symbol_is_wanted() -> None:
    """Nor do we take one from the process."""
    assert sqlite_symbols(shared_object(), defined=False) == set()


def test_no_sqlite_library_is_linked() -> None:
    """`libsqlite3` is not among the libraries that the loader has to find."""
    done = subprocess.run(
        ["readelf", "--dynamic", shared_object()], capture_output=True, text=True, check=True
    )
    needed = [line for line in done.stdout.splitlines() if "(NEEDED)" in line]
    assert needed and not any("sqlite" in line for line in needed)


def test_the_symbol_check_can_fail() -> None:
    """A library that does export SQLite is found out."""
    found = ctypes.util.find_library("sqlite3")
    if found is None:
        pytest.skip("this machine has no libsqlite3 to look at")
    folders = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")
    path = next((Path(folder, found) for folder in folders if Path(folder, found).exists()), None)
    if path is None:
        pytest.skip(f"{found} is in none of the usual folders")
    assert "sqlite3_open_v2" in sqlite_symbols(path, defined=True)


@pytest.mark.parametrize("how", sorted(exits.WAYS))
def test_interpreter_ends_with_a_database_open(site: Site, how: str) -> None:
    """It ends soon, with its own status, and what was committed before is in the replica."""
    argv = [sys.executable, "-m", "tests.helpers.exits", how, str(site.db), f"file://{site.replica}"]
    with site.app() as app:
        app.insert(100)
        child = Child(argv, site.root / "child.log", talk=True)
        with ended(child):
            assert child.read_line(30) == "ready"
            app.insert(50)
            child.write_line("go")
            assert child.wait(20) == exits.STATUS.get(how, 0), child.tail()
            child.close_pipes()
        assert "Fatal" not in child.tail() and "panicked" not in child.tail()
        site.assert_restores(kind="ltxcore")


def test_fork_is_noticed_and_harmless(site: Site) -> None:
    """A forked child gets an error instead of a broken database; the parent replicates on and keeps its locks."""
    replicator = site.running(kind="ltxcore")
    with site.app() as app:
        app.insert(100)
        replicator.barrier()
        assert "ForkedError" in replicator.ask("fork").split()
        for _ in range(5):
            app.insert(300)
            app.checkpoint("PASSIVE")
        replicator.barrier()
        site.assert_restores(kind="ltxcore")
