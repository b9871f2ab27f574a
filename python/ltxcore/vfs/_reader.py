"""ReaderVFS: a database that is not a file, read with SQLite."""

from __future__ import annotations

import io
import os
import sqlite3
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from ltxcore import _ltxcore
from ltxcore._process import runtime
from ltxcore.errors import ForkedError, VFSError, about
from ltxcore.ltx import MAGIC
from ltxcore.vfs._shared_connection import SharedConnection
from ltxcore.vfs._sqlite import Driver, locate

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

#: What connections ask for.
NAME = "ltx-reader"


class ReaderVFS:
    """A read-only database in memory, in an archive, or in an LTX snapshot.

    Any number of connections, in any thread, may use it. No lock is needed, because no connection can write. Transactions that
    are only in the WAL of the database are not seen. The source is kept until this object and all connections to it are gone.

    A connection can attach ordinary databases, and ``VACUUM INTO`` writes one. It cannot commit to several databases at once if
    they have a rollback journal: attach the reader to one of them instead.

    In a forked child, an object made of bytes works; read ``uri`` again there. An object made of a path or of a file object
    cannot be read there, because parent and child share the open file.

    Args:
        source: the bytes of a database or of an LTX snapshot; a binary file object of either, which can seek; or the path of
            an LTX snapshot. A snapshot is verified completely before it is read. The path of an ordinary database is refused:
            open it with ``sqlite3``. The database has the size that the source has now. If the source becomes shorter,
            reads fail.
        module: the module whose connections read it: ``sqlite3`` (the default), ``pysqlite3`` or ``apsw``.

    Raises:
        SQLiteNotFoundError: the SQLite library of the module could not be found.
        FormatError: the snapshot is damaged, or has only some of the pages.
        OSError: the snapshot cannot be read.
        TypeError: the source has another type, or is a file object in text mode.
        ValueError: the path is not the path of an LTX file.
    """

    def __init__(
        self,
        source: bytes | bytearray | memoryview | BinaryIO | str | os.PathLike[str],
        *,
        module: ModuleType | None = None,
    ) -> None:
        self._driver = Driver.of(module or sqlite3)
        handle, _ = locate(self._driver)
        handle.register_reader_vfs(NAME)
        content, is_ltx = _content(source)
        with about(source):
            self._source = _ltxcore.ReaderSource(content, is_ltx)
        self._copy: _ltxcore.ReaderSource | None = None
        # Reentrant: the file object and signal handlers run while the copy is made, and may connect, too.
        self._copying = threading.RLock()
        self._is_closed = False
        self._made_in = runtime.generation()

    @property
    def uri(self) -> str:
        """The URI to open it with (``uri=True``), or to ``ATTACH`` it. Keep this object until then.

        If the source is a file object, threads must not share one connection that was opened so: they would deadlock.
        :meth:`connect` knows a way.
        """
        return _uri(self._source)

    def connect(self, **kwargs: Any) -> sqlite3.Connection:  # noqa: ANN401 - whatever sqlite3.connect takes
        """Open a connection with the module that was given, or with ``sqlite3``.

        With ``check_same_thread=False``, threads may share the connection: its calls and those of its cursors take turns.
        These do not take turns: objects that ``blobopen`` returns, connections and cursors of your own ``factory``, and a
        connection that is the target of another connection's ``backup``. If the source is a file object, such a connection
        reads a copy in a temporary file, which is made once.

        Args:
            kwargs: arguments of the module's ``connect`` except ``database`` and ``uri``, or of ``apsw.Connection``.

        Returns:
            A connection of ``sqlite3``. If the object was made for another module, it is one of that module's own class.

        Raises:
            sqlite3.OperationalError: the object is closed. Other modules raise their own error.
            VFSError: ``check_same_thread=False`` with another module than ``sqlite3``. Give each thread its own connection.
            OSError: the copy cannot be made. Exceptions of the source are raised unchanged.
            ForkedError: the source of the copy is a file object of the parent process.
        """
        if not self._driver.is_standard():
            return self._connect_elsewhere(kwargs)
        source = self._source
        if not kwargs.get("check_same_thread", True):
            source = self._shareable()
            kwargs.setdefault("factory", SharedConnection)
        connection: sqlite3.Connection = sqlite3.connect(_uri(source), uri=True, **kwargs)
        return connection

    def _connect_elsewhere(self, options: dict[str, Any]) -> sqlite3.Connection:
        """A connection of another module than ``sqlite3``, of that module's own class."""
        name = self._driver.name
        if not options.get("check_same_thread", True):
            raise VFSError(
                f"connect() makes no connections of {name} that threads share",
                op="open",
                hint="open one connection in each thread, or make the ReaderVFS for sqlite3",
            )
        connection: sqlite3.Connection = self._driver.connect_uri(self.uri, **options)
        return connection

    def _shareable(self) -> _ltxcore.ReaderSource:
        """What is read without the interpreter.

        CPython holds the interpreter while it asks a connection for its error, or binds a parameter, and waits for the mutex of
        the connection. Another thread has that mutex while it reads, so it must not need the interpreter.
        """
        if not self._source.needs_interpreter:
            return self._source
        if self._copy is None and not self._is_closed:
            self._make_copy()
        return self._copy or self._source

    def _make_copy(self) -> None:
        # Before the mutex, which a thread of the parent may have held.
        _check(self._made_in)
        with self._copying:
            if self._copy is None and not self._is_closed:
                self._keep(self._source.copy(tempfile.gettempdir()))

    def _keep(self, copy: _ltxcore.ReaderSource) -> None:
        # Making it ran Python code, which may have been here meanwhile. The first copy is kept.
        self._copy = self._copy or copy
        # close() sets this before it looks for a copy, so one of the two sees what the other has done.
        if self._is_closed:
            self._copy.close()

    def take_error(self) -> BaseException | None:
        """The last exception that reading the source raised, once; SQLite itself only says "disk I/O error"."""
        error = self._source.take_error()
        return error if error is not None or self._copy is None else self._copy.take_error()

    def close(self) -> None:
        """Refuse new connections. Open connections stay open."""
        # Without the mutex: a copy that another thread is making may take long.
        self._is_closed = True
        self._source.close()
        if self._copy is not None:
            self._copy.close()

    def __enter__(self) -> Self:
        """The object itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As :meth:`close`."""
        self.close()


def _check(made_in: int) -> None:
    if runtime.is_inherited(made_in):
        raise ForkedError(
            "a file object of the parent process cannot be read after a fork: its position is shared",
            hint="make a ReaderVFS in the child, or make it of bytes",
        )


def _uri(source: _ltxcore.ReaderSource) -> str:
    # Not mode=ro, which would hold for what is attached as well.
    return f"file:{source.name}?vfs={NAME}&immutable=1"


class _Positional:
    """A file object, read at an offset by one thread at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.RLock()
        self._turns = 0
        self._made_in = runtime.generation()
        try:
            self.size = file.seek(0, io.SEEK_END)
        except AttributeError as error:
            raise TypeError(
                f"a binary file object, bytes, or a path is needed, not {type(file).__name__}"
            ) from error
        if isinstance(self.read_at(0, 0), str):
            raise TypeError("the file object gives text: open it in binary mode")

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on."""
        _check(self._made_in)
        with self._lock:
            while True:
                self._turns += 1
                turn = self._turns
                self._file.seek(offset)
                content = self._file.read(size)
                # A signal handler of this thread may have read meanwhile, and left the file elsewhere.
                if turn == self._turns:
                    return content


def _content(
    source: bytes | bytearray | memoryview | BinaryIO | str | os.PathLike[str],
) -> tuple[bytes | Path | _Positional, bool]:
    """What the native module takes, and whether it is an LTX file."""
    if isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)
        return content, content.startswith(MAGIC)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        # By its name, without a look inside: to open and close a database that is in use would drop its locks.
        if path.suffix != ".ltx":
            raise ValueError(
                f"{path} is not the path of an LTX file; open a database with sqlite3, or pass its bytes"
            )
        return path, True
    positional = _Positional(source)
    return positional, positional.read_at(0, len(MAGIC)) == MAGIC
