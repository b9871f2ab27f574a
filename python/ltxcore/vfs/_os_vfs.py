"""The VFS for local files, the SQLite libraries that it is for, and what can be asked of a directory."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args
from urllib.parse import quote

from ltxcore import _ltxcore
from ltxcore._process.arguments import meant
from ltxcore.errors import FileLocksUnsupportedError, VFSNameInUseError, VFSParameterError
from ltxcore.vfs._sqlite import Driver, known_bugs, locate, require_standard

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

LockMode = Literal["auto", "ofd", "posix", "flock", "dotfile", "excl", "none"]
URIValue = str | int | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class SQLiteLibrary:
    """A SQLite library of this process: the one that a Python module uses.

    ``path`` is the file it was loaded from: a shared library, or the module or program that has it inside. ``found_by`` says
    how: by the ``"symbols"`` of the module, or as an ``"extension"`` that the library loaded. ``known_bugs`` are keys of
    :data:`KNOWN_BUGS`.
    """

    module: str
    path: Path | None
    version: str
    source_id: str
    found_by: Literal["symbols", "extension"]
    known_bugs: tuple[str, ...]
    _handle: _ltxcore.SQLiteHandle = field(repr=False)


def sqlite_library(module: ModuleType | None = None) -> SQLiteLibrary:
    """Find the SQLite library that a module uses, and make sure that it is that one.

    Args:
        module: ``sqlite3`` if not given; ``pysqlite3``, ``apsw``, or another one with their interface.

    Raises:
        SQLiteNotFoundError: it cannot be reached: the module hides its symbols and loads no extensions.
    """
    driver = Driver.of(module or sqlite3)
    handle, found_by = locate(driver)
    return SQLiteLibrary(
        module=driver.name,
        path=None if handle.path is None else Path(handle.path),
        version=handle.version,
        source_id=handle.source_id,
        found_by=found_by,
        known_bugs=known_bugs(handle.version),
        _handle=handle,
    )


#: The URI parameters of this VFS, and those of SQLite itself. SQLite ignores any other.
_PARAMETERS = (
    *("lock", "shm", "sync", "cksm", "psow", "readonly_shm", "modeof"),
    *("mode", "cache", "nolock", "immutable"),
)


def _check_parameter(name: str) -> None:
    if name in _PARAMETERS:
        return
    raise VFSParameterError(
        f"unknown URI parameter: {name}",
        op="open",
        hint=meant(name, _PARAMETERS, "parameters"),
    )


class OSVFS:
    """A SQLite VFS for local files, with a choice of lock protocols.

    It uses the protocol of SQLite's ``unix`` VFS. With ``lock="auto"``, ``"ofd"`` or ``"posix"``, other processes may use
    ``unix`` on the same database. Within one process this is safe only with ``"ofd"``, or with ``"auto"`` where that is
    ``"ofd"``: ``PRAGMA ltx_lock`` answers the lock in use.

    Args:
        name: the name for connections, ``vfs=NAME`` in a URI; not empty. The default follows ``lock``: ``"ltx-os"`` for
            ``"auto"``, else ``"ltx-"`` and the lock, such as ``"ltx-flock"``. A name does not choose the lock.
        lock: how databases are locked. The URI parameter ``lock=`` overrides it for one database.

            * ``"auto"``: ``"ofd"`` where the kernel and the file system support it, else ``"posix"``.
            * ``"ofd"``: locks of the open file.
            * ``"posix"``: locks of the process, as SQLite's own.
            * ``"flock"``: a lock of the whole file. On Linux it excludes only other users of ``"flock"``.
            * ``"dotfile"``: a directory beside the database, one process at a time. The directory of the database must be
              writable, and every user who can write there can remove the lock.
            * ``"excl"``: one process at a time, with the WAL index in memory.
            * ``"none"``: no locks, for a database that no other program has open.

    Raises:
        ValueError: the lock mode is unknown, or the name is empty or contains a NUL.
    """

    def __init__(self, *, name: str | None = None, lock: LockMode = "auto") -> None:
        if lock not in get_args(LockMode):
            raise ValueError(f"lock must be one of {', '.join(get_args(LockMode))}: {lock!r}")
        if name is None:
            name = "ltx-os" if lock == "auto" else f"ltx-{lock}"
        if not name or "\0" in name:
            raise ValueError(f"a vfs needs a name without NUL: {name!r}")
        self.name = name
        self.lock = lock
        self._drivers: list[Driver] = []

    def __repr__(self) -> str:
        """How to make another one."""
        return f"OSVFS(name={self.name!r}, lock={self.lock!r})"

    def register(self, module: ModuleType | None = None, *, make_default: bool = False) -> Self:
        """Make the VFS available to connections of a module. A second call changes nothing.

        Args:
            module: ``sqlite3`` (the default), ``pysqlite3``, ``apsw``, or another module with their interface.
            make_default: use this VFS for all new connections of the process that name no VFS.

        Returns:
            The object itself.

        Raises:
            SQLiteNotFoundError: the SQLite library of the module could not be found.
            VFSNameInUseError: another VFS, or this one with another lock, has the name.
        """
        handle = sqlite_library(module)._handle
        try:
            handle.register_os_vfs(self.name, self.lock)
        except VFSNameInUseError as error:
            raise self._name_in_use(handle) from error
        # A VFS that went to another library than the module's would be found missing here.
        driver = Driver.of(module or sqlite3)
        driver.try_vfs(self.name)
        if make_default:
            handle.set_default_vfs(self.name)
        if driver not in self._drivers:
            self._drivers.append(driver)
        return self

    def _name_in_use(self, handle: _ltxcore.SQLiteHandle) -> VFSNameInUseError:
        owner = "belongs to another VFS"
        for lock in get_args(LockMode):
            # Registering a name again as it is changes nothing, and is refused if it is not so.
            with suppress(VFSNameInUseError):
                handle.register_os_vfs(self.name, lock)
                owner = f"is registered with lock={lock!r}, not {self.lock!r}"
                break
        return VFSNameInUseError(
            f"the name {self.name!r} {owner}", hint="give another name: OSVFS(name=..., lock=...)"
        )

    def uri(self, database: str | os.PathLike[str], **parameters: URIValue) -> str:
        """The URI of a database over this VFS, for ``sqlite3.connect(..., uri=True)``.

        Args:
            database: path of the database, not a URI.
            parameters: other URI parameters, such as ``mode="ro"``, ``lock="flock"``, ``psow=0`` or ``modeof=path``.

        Raises:
            ValueError: the path is a URI, the path or a parameter contains a NUL, or ``vfs`` is among the parameters.
            VFSParameterError: neither SQLite nor this VFS knows a parameter. It is a ``ValueError``, too.
        """
        if os.fsencode(database).startswith(b"file:"):
            raise ValueError(f"the path of a database is needed, not a URI: {database!r}")
        if "vfs" in parameters:
            raise ValueError(f"the vfs of the URI is always {self.name!r}, not {parameters['vfs']!r}")
        for parameter in parameters:
            _check_parameter(parameter)
        path = _quoted(database, safe="/")
        # After two slashes SQLite expects the name of a host.
        authority = "//" if path.startswith("//") else ""
        pairs = {"vfs": self.name, **parameters}.items()
        query = "&".join(f"{_quoted(key)}={_quoted(value)}" for key, value in pairs)
        return f"file:{authority}{path}?{query}"

    def connect(
        self,
        database: str | os.PathLike[str],
        *,
        checksums: bool = False,
        parameters: Mapping[str, URIValue] | None = None,
        **kwargs: Any,  # noqa: ANN401 - whatever sqlite3.connect takes, of whatever type
    ) -> sqlite3.Connection:
        """Open a database over this VFS with ``sqlite3``. Call :meth:`register` first.

        Args:
            database: path of the database, not a URI.
            checksums: give a new database page checksums, eight bytes per page in the format of SQLite's checksum VFS, and
                verify the checksum of every page that is read. A database without checksums stays without them, and nothing
                is verified: ``PRAGMA checksum_verification`` answers ``'0'``.
            parameters: other URI parameters, as for :meth:`uri`: ``{"mode": "ro", "lock": "flock"}``.
            kwargs: arguments of ``sqlite3.connect`` except ``uri``.

        Returns:
            An ordinary connection.

        A page with a wrong checksum raises :class:`sqlite3.OperationalError` with the ``sqlite_errorname``
        ``SQLITE_IOERR_DATA``, and ``PRAGMA ltx_unsound_page`` answers its number. Either the page is damaged, or a connection
        over another VFS wrote it and did not update the checksum. See :func:`write_checksums`.

        Raises:
            FileLocksUnsupportedError: the file system does not have the kind of locks of this VFS. It is a
                ``sqlite3.OperationalError``, like every error of SQLite when it cannot open a database.
            VFSParameterError: a parameter is unknown or has an invalid value. It is a ``sqlite3.OperationalError``, too.
            VFSError: this VFS is registered with other modules only: open :meth:`uri` with one of them.
            ValueError: as for :meth:`uri`.
        """
        if self._drivers:
            require_standard(f"the vfs {self.name!r}", self._drivers)
        wishes = dict(parameters or {})
        if checksums and str(wishes.setdefault("cksm", 1)) != "1":
            raise ValueError(f"checksums=True and cksm={wishes['cksm']!r} contradict each other")
        uri = self.uri(database, **wishes)
        _ltxcore.take_refusal()  # of an earlier attempt
        try:
            connection: sqlite3.Connection = sqlite3.connect(uri, uri=True, **kwargs)
        except sqlite3.OperationalError as error:
            refusal = _ltxcore.take_refusal()
            if refusal is None:
                raise
            raise _refused(*refusal, os.fsdecode(database), error) from error
        return connection


def _refused(
    kind: Literal["parameter", "locks"], reason: str, path: str, error: sqlite3.OperationalError
) -> sqlite3.OperationalError:
    """The error for a database that the VFS would not open, with what SQLite said about it."""
    refused: FileLocksUnsupportedError | VFSParameterError
    if kind == "locks":
        hint = "ltxcore.vfs.probe(directory) tries out which lock modes work there"
        refused = FileLocksUnsupportedError(reason, op="open", path=path, hint=hint)
    else:
        hint = (
            "lock: auto, ofd, posix, flock, dotfile, excl, none; shm: mmap, heap (excl, dotfile), none; "
            "sync: auto, full, barrier, off; psow, cksm, readonly_shm: 0, 1"
        )
        refused = VFSParameterError(reason, op="open", path=path, hint=hint)
    refused.sqlite_errorcode, refused.sqlite_errorname = error.sqlite_errorcode, error.sqlite_errorname
    return refused


def _quoted(value: str | int | os.PathLike[str], *, safe: str = "") -> str:
    """A part of a URI, as SQLite reads it: it knows ``%20``, but not ``+``."""
    text = str(value).encode() if isinstance(value, int) else os.fsencode(value)
    if b"\0" in text:
        raise ValueError(f"embedded null byte in {value!r}")
    return quote(text, safe=safe)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a directory supports, as a test of it has shown.

    * ``lock_modes``: the lock modes that work there, the best one first.
    * ``shared_memory``: whether WAL mode works between processes.
    * ``atomic_batches``: whether several writes can be done as one (F2FS).
    * ``file_system``: the kind of file system, if it is well known.
    * ``warning``: a known problem of this file system, or ``None``.
    """

    lock_modes: tuple[str, ...]
    shared_memory: bool
    atomic_batches: bool
    file_system: str | None
    warning: str | None


def probe(directory: str | os.PathLike[str]) -> Capabilities:
    """Test what a directory supports, with temporary files in it.

    Args:
        directory: the directory of a database.

    Raises:
        OSError: no file can be created there.
    """
    found = _ltxcore.probe_directory(os.fspath(directory))
    return Capabilities(
        lock_modes=tuple(found.lock_modes),
        shared_memory=found.shared_memory,
        atomic_batches=found.atomic_batches,
        file_system=found.file_system,
        warning=found.warning,
    )


def supports_file_locking(directory: str | os.PathLike[str]) -> tuple[str, ...]:
    """Lock modes that work in a directory, the best one first. As :func:`probe`."""
    return probe(directory).lock_modes


def supports_shared_memory(directory: str | os.PathLike[str]) -> bool:
    """Whether WAL works between processes in a directory. As :func:`probe`."""
    return probe(directory).shared_memory


def break_lock(database: str | os.PathLike[str]) -> None:
    """Remove the lock directory of ``lock="dotfile"``.

    The lock of a process of this host and container that has ended is taken over without this. ``break_lock`` is for locks of
    other hosts and containers whose owner you know to have ended. A process that is still using the database may damage
    it: with this VFS it notices before it writes for the next time, over ``unix-dotfile`` it does not.

    Args:
        database: path of the database.

    Raises:
        FileNotFoundError: there is no such lock.
        NotADirectoryError: the lock is a file, which this VFS did not make.
    """
    _ltxcore.break_lock(os.fspath(database))


def write_checksums(database: str | os.PathLike[str]) -> int:
    """Recompute missing and wrong page checksums of a database.

    Connections over other VFSes write pages without checksums. Afterwards the database can be read with ``checksums=True``
    again. The content of the pages is trusted, so damage is no longer found: run ``PRAGMA integrity_check``, and compare with a
    restored copy if you are in doubt. All locks of the database are held meanwhile.

    Args:
        database: path of the database. Pages that are only in its WAL get their checksums at the next checkpoint.

    Returns:
        The number of pages that were changed; 0 if the database does not reserve eight bytes a page for checksums.

    Raises:
        DatabaseBusyError: a connection, in this process or in another one, is in a transaction, or has the database open in WAL
            mode. Nothing was changed.
        DatabaseError: a transaction was cut short, or one in the WAL gives the database checksums or takes them away. The hint
            says what to do first. Nothing was changed.
        OSError: it cannot be read or written.
    """
    return _ltxcore.write_checksums(os.fspath(database))
