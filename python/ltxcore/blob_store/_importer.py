"""Taking over a database with the original tables of this design: ``blob``, ``blob_meta``, ``setting``."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

from ltxcore.blob_store._sql.sqlite import translated
from ltxcore.blob_store._values import Imported, Tags, check_name
from ltxcore.errors import BlobNameError, NotABlobStoreError

if TYPE_CHECKING:
    from concurrent.futures import Future

#: Text was stored by a driver that did not know better; its bytes are what was meant.
#: A name that is no text stays as it is; one that is comes as its bytes, which may not be UTF-8.
_ROWS = (
    "SELECT CASE typeof(name) WHEN 'text' THEN CAST(name AS BLOB) ELSE name END, typeof(name), CAST(data AS BLOB),"
    " verified FROM blob ORDER BY last_used, rowid"
)
#: Copies that are on their way at most.
UNDER_WAY = 1000

PutBlob: TypeAlias = "Callable[[str, bytes, Tags | None], Future[None]]"
"""Stores one blob, without waiting for it."""


def copy(path: Path, put: PutBlob, capacity: int | None) -> Imported:
    """Have everything stored that a store of this capacity can hold, the least recently used first.

    Raises:
        NotABlobStoreError: the file has no such table.
        FileNotFoundError: there is no file.
    """
    count, size, skipped = 0, 0, []
    #: A copy that fails has to be noticed.
    under_way: deque[Future[None]] = deque()
    with rows_of(path) as rows:
        for raw, kind, data, verified in rows:
            name = raw.decode(errors="surrogateescape") if kind == "text" else raw
            problem = obstacle(name, data, capacity)
            if problem is not None:
                skipped.append(problem)
                continue
            tags: Tags | None = {"verified": True} if verified else None
            under_way.append(put(name, data, tags))
            if len(under_way) > UNDER_WAY:
                under_way.popleft().result()
            count, size = count + 1, size + len(data)
    while under_way:
        under_way.popleft().result()
    return Imported(blobs=count, bytes=size, skipped=tuple(skipped))


@contextlib.contextmanager
def rows_of(path: Path) -> Iterator[sqlite3.Cursor]:
    """Name, kind of name, bytes and mark of each blob in a database with the original tables.

    Raises:
        NotABlobStoreError: the file has no such table.
        FileNotFoundError: there is no file.
    """
    if not path.exists():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    uri = f"file://{quote(os.fsencode(path.absolute()))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            columns = {row[1] for row in connection.execute("PRAGMA table_info(blob)")}
            if not {"name", "last_used", "data"} <= columns:
                raise NotABlobStoreError(f"{path} has no table of blobs", path=str(path))
            yield connection.execute(_ROWS if "verified" in columns else _ROWS.replace("verified", "NULL"))
    except sqlite3.Error as error:
        raise translated(error, path) from error


def obstacle(name: object, data: bytes | None, capacity: int | None) -> str | None:
    """Why a row cannot be copied; None if it can."""
    if not isinstance(name, str):
        return f"a blob is named {name!r}, which is no name"
    if data is None:
        return f"{name!r} has no data"
    try:
        check_name(name)
    except BlobNameError as error:
        return str(error)
    if capacity is not None and len(data) > capacity:
        return f"{name!r} has {len(data)} bytes, and the store a capacity of {capacity}"
    return None
