"""Python modules that have a SQLite: how to reach it, and what is known against its version."""

from __future__ import annotations

import importlib
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from ltxcore import _ltxcore
from ltxcore.errors import SQLiteNotFoundError, VFSError

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import ModuleType

#: What is known against versions of SQLite, by a short name.
KNOWN_BUGS = {
    "wal-reset": "two connections that checkpoint at nearly the same time can lose committed pages; "
    "SQLite 3.7.0 to 3.51.2, fixed in 3.44.6, 3.50.7 and 3.51.3",
}


def known_bugs(version: str) -> tuple[str, ...]:
    """The keys of :data:`KNOWN_BUGS` that a version has."""
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    number = (major, minor, patch)
    mended = {(3, 44): (3, 44, 6), (3, 50): (3, 50, 7)}.get((major, minor), (3, 51, 3))
    return ("wal-reset",) if (3, 7, 0) <= number < mended else ()


@cache
def locate(driver: Driver) -> tuple[_ltxcore.SQLiteHandle, Literal["symbols", "extension"]]:
    """The SQLite library of a driver, and how it was found. Looked for once: it takes a connection.

    Raises:
        SQLiteNotFoundError: it cannot be reached.
    """
    tried: list[str] = []
    handle = driver.by_symbols(tried)
    if handle is not None:
        return handle, "symbols"
    handle = driver.by_extension(tried)
    if handle is not None:
        return handle, "extension"
    error = SQLiteNotFoundError(
        f"the SQLite library of {driver.name} cannot be reached: {'; '.join(tried)}",
        hint="install apsw or pysqlite3-binary and pass that module, or use a Python whose sqlite3 module is not built in",
    )
    error.tried = tuple(tried)
    raise error


def require_standard(vfs: str, drivers: Collection[Driver]) -> None:
    """Refuse to use ``sqlite3`` for a VFS that was registered with other modules only, whose SQLite is another library.

    Raises:
        VFSError: none of the modules has the library of ``sqlite3``.
    """
    if any(driver.is_standard() for driver in drivers):
        return
    standard = Driver.of(sqlite3)
    names = " and ".join(dict.fromkeys(driver.name for driver in drivers))
    raise VFSError(
        f"{vfs} is registered with {names}, but its connect() opens databases with {standard.name}",
        op="open",
        hint=f"open its uri with {names}, or register it with {standard.name}",
    )


@cache
def _inner_modules(package: str) -> list[ModuleType]:
    """The modules in C of a driver, looked for once: a fork during an import leaves that module locked in the child."""
    # PyPy's sqlite3 is Python over a module of C functions.
    names = ["_sqlite3_cffi", "_sqlite3"] if package == "sqlite3" else [f"{package}._sqlite3"]
    found = []
    for name in names:
        with suppress(ImportError):
            found.append(importlib.import_module(name))
    return found


_inner_modules("sqlite3")


@dataclass(frozen=True, slots=True)
class Driver:
    """A module with the interface of ``sqlite3`` or of ``apsw``."""

    module: ModuleType
    is_apsw: bool

    @classmethod
    def of(cls, module: ModuleType) -> Driver:
        """The driver of a module.

        Raises:
            TypeError: it is no such module.
        """
        is_apsw = hasattr(module, "apswversion")
        if not is_apsw and not hasattr(module, "connect"):
            raise TypeError(f"{module!r} is no SQLite module: it has no connect()")
        return cls(module, is_apsw)

    @property
    def name(self) -> str:
        """The name of the module."""
        return self.module.__name__

    @property
    def package(self) -> str:
        """The name of the package that the module is in."""
        return self.name.partition(".")[0]

    def is_standard(self) -> bool:
        """Whether it is certain that the module uses the SQLite of ``sqlite3``."""
        # A program may have put another module in the place of sqlite3.
        standard = Driver.of(sqlite3)
        return self.package == standard.package or self.shares_library(standard)

    def shares_library(self, other: Driver) -> bool:
        """Whether it is certain that both modules use one SQLite."""
        with suppress(SQLiteNotFoundError):
            path = locate(self)[0].path
            return path is not None and path == locate(other)[0].path
        return False

    def connect(self, database: str = ":memory:", vfs: str | None = None) -> Any:  # noqa: ANN401 - either interface
        """A connection; what is done with it here, both kinds can do."""
        if self.is_apsw:
            return self.module.Connection(database, vfs=vfs)
        uri = database if vfs is None else f"file:{database}?vfs={quote(vfs, safe='')}"
        return self.module.connect(uri, uri=vfs is not None)

    def connect_uri(self, uri: str, **options: Any) -> Any:  # noqa: ANN401 - either interface
        """A connection of the module to a URI, with further arguments of its own."""
        if not self.is_apsw:
            return self.module.connect(uri, uri=True, **options)
        flags = options.pop("flags", self.module.SQLITE_OPEN_READWRITE | self.module.SQLITE_OPEN_CREATE)
        return self.module.Connection(uri, flags=flags | self.module.SQLITE_OPEN_URI, **options)

    def source_id(self) -> str:
        """What SQLite itself says it was built from."""
        with closing(self.connect()) as connection:
            return str(next(iter(connection.execute("SELECT sqlite_source_id()")))[0])

    def files(self) -> list[str]:
        """Shared objects that have the SQLite of the module inside, or are linked with it; the likeliest first."""
        modules = [self.module, *_inner_modules(self.package)]
        files = [getattr(module, "__file__", None) or "" for module in modules]
        return [file for file in files if file.endswith((".so", ".dylib"))]

    def by_symbols(self, tried: list[str]) -> _ltxcore.SQLiteHandle | None:
        """The library, by the handle of the module's own shared object."""
        files = self.files()
        if not files:
            tried.append(f"{self.name} is built into the program and has no file of its own")
        for file in files:
            try:
                handle = _ltxcore.SQLiteHandle.of_module(file)
            except SQLiteNotFoundError as error:
                tried.append(str(error))
                continue
            if handle.source_id == self.source_id():
                return handle
            tried.append(
                f"{file} leads to SQLite {handle.version}, which is not the one that {self.name} uses"
            )
        return None

    def by_extension(self, tried: list[str]) -> _ltxcore.SQLiteHandle | None:
        """The library, by having it load the native module as an extension."""
        with closing(self.connect()) as connection:
            try:
                connection.enable_load_extension(True)
                # Not the entry point for users, which registers names.
                load = "SELECT load_extension(?, 'ltxcore_locate')"
                connection.execute(load, (_ltxcore.__file__,)).fetchall()
            except AttributeError:
                tried.append(f"{self.name} was built without extension loading")
                return None
            except Exception as error:
                tried.append(f"{self.name} does not load extensions: {error}")
                return None
        handle = _ltxcore.SQLiteHandle.take_loaded()
        if handle is None:
            tried.append(f"{self.name} loaded the extension without handing over its functions")
        return handle

    def try_vfs(self, name: str) -> None:
        """Open a database in memory over a VFS: no file is touched, but the name must be known.

        Raises:
            VFSError: it is not.
        """
        try:
            self.connect(":memory:", vfs=name).close()
        except Exception as error:
            raise VFSError(f"{self.name} does not find the vfs {name!r}: {error}") from error
