"""Names of blobs: which are allowed, and ranges of them.

SQLite compares names as UTF-8 bytes, which is the order of code points; so what starts with a prefix is one range of
the primary key, and no wildcard has to be escaped.
"""

from __future__ import annotations

import re

from ltxcore.errors import BlobNameError

#: The longest name in bytes of UTF-8.
MAX_BYTES = 32_768
_OFFSET = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_SURROGATES = (0xD800, 0xDFFF)


def check(name: str) -> str:
    """Return ``name`` if a blob may have it.

    Raises:
        BlobNameError: it is empty, too long, holds a NUL, or cannot be written in UTF-8.
        TypeError: it is not a string.
    """
    if not isinstance(name, str):
        raise TypeError(f"a blob's name is a str, not {type(name).__name__}")
    if not name:
        raise BlobNameError("a blob's name cannot be empty")
    if "\0" in name:
        raise BlobNameError(f"{name!r}: a blob's name cannot hold a NUL character")
    size = len(name) if name.isascii() else len(encoded(name))
    if size > MAX_BYTES:
        raise BlobNameError(f"{name[:40]!r}...: {size} bytes of UTF-8, where {MAX_BYTES} are allowed")
    return name


def encoded(text: str) -> bytes:
    """A name, or a part of one, as SQLite has it.

    Raises:
        BlobNameError: it cannot be written in UTF-8.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BlobNameError(f"{text!r}: a blob's name must be possible in UTF-8") from error


def after(prefix: str) -> str | None:
    """The lowest string above everything that starts with ``prefix``; None if nothing is."""
    while prefix:
        last = ord(prefix[-1]) + 1
        if _SURROGATES[0] <= last <= _SURROGATES[1]:
            last = _SURROGATES[1] + 1
        if last <= 0x10FFFF:
            return prefix[:-1] + chr(last)
        prefix = prefix[:-1]
    return None


def where(prefix: str, column: str = "name") -> tuple[str, list[str]]:
    """An SQL condition for names that start with ``prefix``, which the primary key serves, and its parameters.

    Raises:
        BlobNameError: no name starts so, since it cannot be written in UTF-8.
    """
    encoded(prefix)
    end = after(prefix)
    if end is None:
        return f"{column} >= ?", [prefix]
    return f"{column} >= ? AND {column} < ?", [prefix, end]


def offset(name: str, prefix: str) -> int:
    """The offset that a chunk's name says after its prefix: decimal, without sign or leading zeros.

    Raises:
        BlobNameError: it says something else.
    """
    text = name[len(prefix) :]
    if not _OFFSET.fullmatch(text):
        raise BlobNameError(f"{name!r}: {text!r} after {prefix!r} is not an offset in bytes")
    return int(text)
