"""LTX files: their values, and reading and writing single files.

An LTX file is a header, pages of one or more transactions in ascending order, an index of these pages and a
trailer with checksums. What is defined here in Python is what users print, compare and catch; the codec itself is native.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, Self

from ltxcore import _ltxcore
from ltxcore._ltxcore import (
    HEADER_SIZE,
    MAGIC,
    PAGE_HEADER_SIZE,
    PENDING_BYTE,
    SNAPSHOT_LEVEL,
    TRAILER_SIZE,
    VERSION,
    Decoder,
    Encoder,
    Header,
    PageIndex,
    PageIndexElem,
    Trailer,
)
from ltxcore.errors import FormatError, about

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "HEADER_SIZE",
    "MAGIC",
    "PAGE_HEADER_SIZE",
    "PENDING_BYTE",
    "SNAPSHOT_LEVEL",
    "TRAILER_SIZE",
    "TXID",
    "VERSION",
    "Checksum",
    "Decoder",
    "Encoder",
    "FileInfo",
    "Header",
    "PageIndex",
    "PageIndexElem",
    "Pos",
    "Trailer",
    "apply",
    "checksum_database",
    "compact",
    "encode_database",
    "format_filename",
    "open",
    "parse_filename",
    "read_page_index",
]

_HEX16 = re.compile(r"[0-9a-fA-F]{16}")


class _Hex64(int):
    """A 64-bit number whose text is 16 hexadecimal digits."""

    __slots__ = ()

    def __new__(cls, value: int = 0) -> Self:
        number = super().__new__(cls, value)
        if not 0 <= number < 1 << 64:
            raise FormatError(f"{cls.__name__} is not a 64-bit number: {int(number)}")
        return number

    @classmethod
    def parse(cls, text: str) -> Self:
        """The number that exactly 16 hexadecimal digits of either case stand for.

        Raises:
            FormatError: ``text`` is anything else.
        """
        if _HEX16.fullmatch(text) is None:
            raise FormatError(f"{cls.__name__} must be 16 hexadecimal digits: {text}", hint=_readings(text))
        return cls(int(text, 16))

    def __str__(self) -> str:
        return f"{int(self):016x}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self):#x})"


def _readings(text: str) -> str | None:
    """What fewer digits may have been meant to be: they are never guessed at."""
    if re.fullmatch(r"[0-9a-fA-F]{1,15}", text) is None:
        return None
    hexadecimal = f"write {int(text, 16):016x}"
    if not text.isdecimal():
        return hexadecimal
    return f"{hexadecimal} for hexadecimal {text}, or {int(text):016x} for decimal {text}"


class TXID(_Hex64):
    """The number of a transaction in a replication chain, 1 and up; 0 means none.

    One TXID may hold many SQLite transactions. ``str()`` gives 16 lower-case hexadecimal digits. As text, a TXID always has 16
    of them, so that ``99`` is never taken for one of its two meanings; as an ``int`` it is a number like any other.
    """

    __slots__ = ()


class Checksum(_Hex64):
    """A CRC-64 with its top bit set; 0 means unknown. ``str()`` gives 16 lower-case hexadecimal digits."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Pos:
    """A position in the history of a database: a TXID and the checksum of the whole database after it.

    The checksum is 0 where it is not known, as in chains written without checksums.
    """

    txid: TXID = TXID(0)
    post_apply_checksum: Checksum = Checksum(0)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The position written as 33 characters, ``<txid>/<checksum>``.

        Raises:
            FormatError: ``text`` is anything else.
        """
        if len(text) != 33 or text[16] != "/":
            raise FormatError(f"a position must be 33 characters, txid/checksum: {text!r}")
        return cls(TXID.parse(text[:16]), Checksum.parse(text[17:]))

    def __str__(self) -> str:
        return f"{self.txid}/{self.post_apply_checksum}"


@dataclass(frozen=True, slots=True, order=True)
class FileInfo:
    """One LTX file in a replica. Ordered by level, then first, then last TXID.

    ``size`` is in bytes. ``created_at`` is when the newest transaction in it was committed, as far as the storage
    remembers it.
    """

    level: int
    min_txid: TXID
    max_txid: TXID
    size: int
    created_at: datetime

    @property
    def name(self) -> str:
        """The file's name, without directories."""
        return format_filename(self.min_txid, self.max_txid)


def open(file: str | os.PathLike[str] | BinaryIO) -> Decoder:
    """Begin to read an LTX file.

    Args:
        file: a path, or a binary file object positioned at the header. A file object stays the caller's to close.

    Raises:
        FormatError: the header is not that of an LTX file, see its subclasses.
        OSError: the file cannot be read.
    """
    with about(file):
        return Decoder(_source(file))


def read_page_index(file: str | os.PathLike[str] | BinaryIO) -> PageIndex:
    """Read only the index of an LTX file's pages. A file object must be seekable.

    Raises:
        FormatError: the end of the file is not a page index and trailer.
    """
    with about(file):
        return _ltxcore.read_page_index(_source(file))


def compact(
    inputs: Sequence[str | os.PathLike[str] | BinaryIO], output: BinaryIO, *, allow_gaps: bool = False
) -> tuple[Header, Trailer]:
    """Merge LTX files of neighbouring TXID ranges into one; of every page the newest version stays.

    Args:
        inputs: the files, oldest first.
        output: a binary file object that takes the merged file.
        allow_gaps: take inputs whose TXID ranges do not adjoin.

    Raises:
        FormatError: an input is damaged, or the ranges or page sizes do not go together.
    """
    return _ltxcore.compact([_source(file) for file in inputs], output, allow_gaps=allow_gaps)


def apply(file: str | os.PathLike[str] | BinaryIO, database: str | os.PathLike[str]) -> Pos:
    """Write the pages of one LTX file into a database file and cut it to its new size; sync it to disk.

    The pages are written before the file's last checksum is known to be right: work on a copy where that matters.
    No connection, of any process, may have the database open. Its locks are held meanwhile.

    Returns:
        The position of the database afterwards.

    Raises:
        DatabaseBusyError: a connection uses the database. Nothing was changed.
        FormatError: the file is damaged.
        OSError: reading or writing failed.
    """
    with about(file):
        txid, checksum = _ltxcore.apply(_source(file), os.fspath(database))
    return Pos(TXID(txid), Checksum(checksum))


def encode_database(
    database: str | os.PathLike[str],
    file: BinaryIO,
    *,
    txid: int = 1,
    timestamp: datetime | None = None,
    checksums: bool = False,
) -> Trailer:
    """Write a whole database file as one LTX snapshot.

    The database must not be in use; its WAL, if it has one, is not read.

    Args:
        database: the SQLite database file.
        file: a binary file object that takes the LTX file.
        txid: the last TXID of the snapshot.
        timestamp: the time to record; now, if left out.
        checksums: record the checksum of the database. Litestream up to 0.5.17 does not restore from such files.

    Raises:
        FormatError: the file is not a SQLite database.
        NotReadyError: the file is empty.
    """
    when = datetime.now(UTC) if timestamp is None else timestamp
    with about(database):
        return _ltxcore.encode_database(
            os.fspath(database), file, txid=txid, timestamp=when, checksums=checksums
        )


def checksum_database(database: str | os.PathLike[str]) -> Checksum:
    """The checksum of a whole database file, as recorded by LTX files. The database must not be in use.

    Raises:
        FormatError: the file is not a SQLite database.
    """
    with about(database):
        return Checksum(_ltxcore.checksum_database(os.fspath(database)))


def format_filename(min_txid: int, max_txid: int) -> str:
    """The name of the LTX file that holds ``min_txid`` to ``max_txid``."""
    return _ltxcore.format_filename(min_txid, max_txid)


def parse_filename(name: str) -> tuple[TXID, TXID]:
    """The first and last TXID that a file name (without directories) stands for.

    Raises:
        FormatError: it is not the name of an LTX file.
    """
    min_txid, max_txid = _ltxcore.parse_filename(name)
    return TXID(min_txid), TXID(max_txid)


def _source(file: str | os.PathLike[str] | BinaryIO) -> str | BinaryIO:
    return os.fspath(file) if isinstance(file, str | os.PathLike) else file
