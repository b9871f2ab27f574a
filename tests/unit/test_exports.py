"""What the package exports, and in which order its modules build on each other."""

import ast
import importlib
import logging
import pkgutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest

import ltxcore
from ltxcore import _ltxcore

PACKAGE = Path(ltxcore.__file__).parent
# Each may import from those before it, and from the private ones.
ORDER = ["errors", "ltx", "stores", "clients", "replica", "_restore", "db"]


def exporting() -> list[ModuleType]:
    names = [info.name for info in pkgutil.iter_modules([str(PACKAGE)]) if not info.name.startswith("_")]
    modules = [importlib.import_module(f"ltxcore.{name}") for name in names if name != "cli"]
    return [ltxcore, importlib.import_module("ltxcore.clients.file"), *modules]


@pytest.mark.parametrize("module", exporting(), ids=lambda module: str(module.__name__))
def test_exports_exist_once_and_in_order(module: ModuleType) -> None:
    names = module.__all__
    assert len(set(names)) == len(names)
    assert [name for name in names if not hasattr(module, name)] == []

    def rank(name: str) -> tuple[int, str]:
        # Constants, then classes, then the rest: the order that the linter keeps.
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert names == sorted(names, key=rank)


def test_exported_objects_say_where_they_live() -> None:
    for name in ltxcore.__all__:
        thing = getattr(ltxcore, name)
        if isinstance(thing, type):
            assert thing.__module__.startswith("ltxcore.")
            assert thing.__doc__
    assert _ltxcore.Header.__module__ == "ltxcore.ltx"


def test_modules_build_on_those_below() -> None:
    for at, name in enumerate(ORDER):
        paths = [*PACKAGE.glob(f"{name}.py"), *PACKAGE.glob(f"{name}/**/*.py")]
        assert paths
        for path in paths:
            for wanted in imported(path) & set(ORDER):
                assert ORDER.index(wanted) <= at, f"{path} must not import {wanted}"


def test_restore_and_follow_are_functions_and_nothing_else() -> None:
    """A module of the name of an exported function hides it from whoever imports that module, or is hidden."""
    code = """
import importlib, pkgutil, ltxcore

shelf = {info.name for info in pkgutil.iter_modules(ltxcore.__path__)}
functions = {name for name in ltxcore.__all__ if type(getattr(ltxcore, name)) is type(ltxcore.restore)}
assert {"follow", "replicate", "restore"} <= functions
assert not shelf & functions, shelf & functions
for module in ("ltxcore._restore.restore", "ltxcore._restore.follow", "ltxcore.db._db"):
    importlib.import_module(module)
assert all(callable(getattr(ltxcore, name)) for name in functions)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=30)


def imported(path: Path) -> set[str]:
    """First names below ltxcore that the module level of a file imports."""
    found: set[str] = set()
    for node in ast.parse(path.read_text("ascii")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            base = node.module.split(".")
            if base[0] == "ltxcore":
                found |= {base[1]} if len(base) > 1 else {alias.name for alias in node.names}
    return found


def test_the_version_is_that_of_the_native_module() -> None:
    assert ltxcore.__version__ == _ltxcore.__version__
    assert _ltxcore.VERSION == 3
    assert (_ltxcore.HEADER_SIZE, _ltxcore.PAGE_HEADER_SIZE, _ltxcore.TRAILER_SIZE) == (100, 6, 16)
    assert tuple(map(int, _ltxcore.SQLITE_VERSION.split("."))) >= (3, 51, 3)


def test_native_classes_are_frozen() -> None:
    header = ltxcore.ltx.Header.parse(sample_header())
    with pytest.raises(AttributeError):
        header.commit = 3  # type: ignore[misc]  # the point of the test


def sample_header() -> bytes:
    return b"LTX1" + (2).to_bytes(4) + (512).to_bytes(4) + (1).to_bytes(4) + (1).to_bytes(8) * 2 + bytes(68)


def test_logging_is_quiet_by_default() -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("ltxcore").handlers)


def test_importing_starts_nothing_and_reads_no_argument() -> None:
    code = "import ltxcore, threading, sys; assert threading.active_count() == 1; assert 'click' not in sys.modules"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.parametrize("name", ["AsyncBlobStore", "BlobStore"])
def test_the_blob_store_is_imported_when_it_is_used(name: str) -> None:
    code = f"""
import sys
import ltxcore

assert {name!r} in ltxcore.__all__ and {name!r} in dir(ltxcore)
assert not {{"asyncio", "concurrent.futures", "ltxcore.blob_store"}} & set(sys.modules)
from ltxcore import {name}

assert ltxcore.{name} is {name} is ltxcore.blob_store.{name}
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=30)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'ltxcore' has no attribute 'BlobStor'$") as caught:
        ltxcore.BlobStor  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("BlobStor", ltxcore)
    with pytest.raises(ImportError):
        from ltxcore import BlobStor  # noqa: F401


def test_a_debug_build_says_so() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        importlib.reload(ltxcore)
    assert [str(each.message) for each in caught if "debug build" in str(each.message)] == (
        [str(caught[0].message)] if _ltxcore.DEBUG_BUILD else []
    )
