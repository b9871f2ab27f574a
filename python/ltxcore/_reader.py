"""ReaderVFS: a database that is not a file, read with SQLite."""

from __future__ import annotations

import io
import itertools
import os
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from ltxcore import _ltxcore
from ltxcore._sqlite import Driver, locate
from ltxcore.ltx import MAGIC

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

#: What connections ask for.
NAME = "ltx-reader"

_numbers = itertools.count(1)


class ReaderVFS:
    """A database in memory, in an archive, or in an LTX snapshot, for reading.

    It may be used by any number of connections in any thread. Nobody can write, so nothing is locked. If the database was
    in WAL mode, what was in its WAL is not seen.

    Args:
        source: the bytes of a database or of an LTX snapshot; a binary file object that can seek, of either; or the path
            of an LTX snapshot. A snapshot is verified as a whole before anything of it is read. The path of an ordinary
            database is refused: open that with ``sqlite3``.
        module: the module whose connections will read it: ``sqlite3`` if not given, ``pysqlite3``, ``apsw``.

    Raises:
        SQLiteNotFoundError: the SQLite library of the module cannot be reached.
        FormatError: the snapshot is damaged, or holds only some of the pages.
        ValueError: the path is not that of an LTX file.
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
        self._path = f"/{next(_numbers)}"
        self._source = _ltxcore.ReaderSource(self._path, content, is_ltx)

    @property
    def uri(self) -> str:
        """What to open it by, with ``uri=True``; also in ``ATTACH``."""
        return f"file:{self._path}?vfs={NAME}&mode=ro&immutable=1"

    def connect(self, **kwargs: Any) -> sqlite3.Connection:  # noqa: ANN401 - whatever sqlite3.connect takes
        """Open it with the standard library's ``sqlite3``.

        Args:
            kwargs: what ``sqlite3.connect`` takes.
        """
        connection: sqlite3.Connection = sqlite3.connect(self.uri, uri=True, **kwargs)
        return connection

    def take_error(self) -> BaseException | None:
        """The last exception that reading the source raised, once; SQLite itself only says "disk I/O error"."""
        return self._source.take_error()

    def close(self) -> None:
        """Let no new connection find it. Those that have it open keep it."""
        self._source.close()

    def __enter__(self) -> Self:
        """The object itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As :meth:`close`."""
        self.close()


class _Positional:
    """A file object, read at an offset by one thread at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.size = file.seek(0, io.SEEK_END)

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on."""
        with self._lock:
            self._file.seek(offset)
            return self._file.read(size)


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
