"""Whether a store agrees with itself, and what to do if not."""

from __future__ import annotations

import operator
import sqlite3
from dataclasses import replace

from ltxcore.blob_store._sql.sqlite import auto_vacuum, code, pragma
from ltxcore.blob_store._values import Report, decode_tags
from ltxcore.errors import StoreCorruptError

_BROKEN = """
SELECT name FROM item i WHERE parts = 0 AND size IS NOT (SELECT length(data) FROM chunk WHERE id = i.id)
UNION ALL
SELECT name FROM item i WHERE parts <> 0 AND (
    size IS NOT (SELECT sum(length(c.data)) FROM part p JOIN chunk c ON c.id = p.chunk WHERE p.item = i.id)
    OR parts <> (SELECT count(*) FROM part p JOIN chunk c ON c.id = p.chunk
                 WHERE p.item = i.id AND p.size = length(c.data))
    OR EXISTS (SELECT 1 FROM (SELECT offset, sum(size) OVER (ORDER BY offset) - size AS due
                              FROM part WHERE item = i.id) WHERE offset <> due))
"""
_STRAY_PARTS = "item NOT IN (SELECT id FROM item WHERE parts > 0) AND item NOT IN (SELECT id FROM stage)"
_STRAY_CHUNKS = "id NOT IN (SELECT id FROM item WHERE parts = 0) AND id NOT IN (SELECT chunk FROM part)"
OFF = """
SELECT bytes - (SELECT coalesce(sum(size), 0) FROM item), items - (SELECT count(*) FROM item) FROM meta
"""
#: The totals, counted anew. The index that eviction follows is all that is read.
RECONCILE = """
UPDATE meta SET bytes = (SELECT coalesce(sum(size), 0) FROM item), items = (SELECT count(*) FROM item)
"""


def check(connection: sqlite3.Connection) -> Report:
    """Look at everything, within the transaction that the connection is in."""
    problems: list[str] = []
    try:
        problems += [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        return compared(connection, problems)
    except sqlite3.DatabaseError as error:
        if code(error) != sqlite3.SQLITE_CORRUPT:
            raise
        # What lies behind it cannot be looked at.
        return Report(problems=(*problems, str(error)))


def compared(connection: sqlite3.Connection, problems: list[str]) -> Report:
    """The tables, compared with one another."""
    bytes_off, items_off = connection.execute(OFF).fetchone()
    broken = tuple(row[0] for row in connection.execute(_BROKEN))
    parts = connection.execute(f"SELECT count(*) FROM part WHERE {_STRAY_PARTS}").fetchone()[0]  # noqa: S608
    chunks = connection.execute(f"SELECT count(*) FROM chunk WHERE {_STRAY_CHUNKS}").fetchone()[0]  # noqa: S608
    if bytes_off or items_off:
        problems.append(f"the totals are off by {bytes_off} bytes and {items_off} blobs")
    problems += [f"{name!r} does not have all its bytes" for name in broken]
    problems += [f"the tags of {name!r} are not tags" for name in bad_tags(connection)]
    if parts:
        problems.append(f"{parts} parts belong to no blob")
    if chunks:
        problems.append(f"{chunks} chunks belong to no blob")
    return Report(
        problems=tuple(problems),
        bytes_off=bytes_off,
        items_off=items_off,
        broken=broken,
        stray_chunks=chunks,
        stray_parts=parts,
    )


def bad_tags(connection: sqlite3.Connection) -> list[str]:
    """Blobs with tags that cannot be read."""
    found = []
    for name, text in connection.execute("SELECT name, tags FROM item WHERE tags IS NOT NULL"):
        try:
            decode_tags(name, text)
        except StoreCorruptError:
            found.append(name)
    return found


def repair(connection: sqlite3.Connection) -> Report:
    """Mend what can be mended, in one transaction; what was wrong."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = check(connection)
        try:
            left = mend(connection, found)
        except sqlite3.DatabaseError as error:
            if code(error) != sqlite3.SQLITE_CORRUPT:
                raise
            return found  # the file itself is damaged, and nothing of it is changed
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return replace(found, repaired=left.is_clean)


def mend(connection: sqlite3.Connection, found: Report) -> Report:
    """Change what is wrong, within a transaction; what is wrong then."""
    connection.executemany("DELETE FROM item WHERE name = ?", [(name,) for name in found.broken])
    connection.execute(f"DELETE FROM part WHERE {_STRAY_PARTS}")  # noqa: S608
    connection.execute(f"DELETE FROM chunk WHERE {_STRAY_CHUNKS}")  # noqa: S608
    names = [(name,) for name in bad_tags(connection)]
    connection.executemany("UPDATE item SET tags = NULL WHERE name = ?", names)
    connection.execute(RECONCILE)
    connection.execute(
        "UPDATE meta SET clock = max(clock, (SELECT coalesce(max(id), 0) FROM chunk),"
        " (SELECT coalesce(max(tick), 0) FROM item))"
    )
    return check(connection)


def vacuum(connection: sqlite3.Connection, pages: int | None) -> int:
    """Give free pages back to the file system; how many."""
    if pages is not None and (pages := operator.index(pages)) < 0:
        raise ValueError(f"there are no {pages} pages")
    if pages == 0:
        return 0
    before = _count(connection)
    if auto_vacuum(connection) == "incremental":
        give_back(connection, pages)
    else:
        connection.execute("VACUUM")
    return max(before - _count(connection), 0)


def give_back(connection: sqlite3.Connection, pages: int | None) -> None:
    """Shorten a file with incremental vacuum by its free pages, or by some.

    As a script, since that alone steps through a statement that has a step for each page and no columns.
    """
    limit = "" if pages is None else f"({pages})"
    connection.executescript(f"PRAGMA incremental_vacuum{limit}")


def _count(connection: sqlite3.Connection) -> int:
    return int(pragma(connection, "page_count") or 0)
