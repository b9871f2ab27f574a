"""Room on the file system: that a store which has filled it can still be emptied.

Over WAL a commit only appends to the WAL; that the file cannot grow is noticed when a checkpoint copies the pages there. By
then the WAL can neither be emptied nor grow, and to delete a blob takes a few pages of it. So a write that makes the store
larger is refused while there still is room for all pages of the WAL in the file, and a reserve for what makes room.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from typing import TYPE_CHECKING

from ltxcore.errors import StoreFullError

if TYPE_CHECKING:
    from ltxcore.blob_store._place import Place
    from ltxcore.blob_store._transaction import Transaction

#: Payload bytes between two looks at the file system, as long as there is much more room than is needed.
STEP = 1 << 20
#: What is kept for deleting, in bytes: at least, and of each byte of the file.
RESERVE, RESERVE_SHARE = 1 << 20, 1 / 64
#: How much more than its payload a transaction appends to the WAL, at a guess.
OVERHEAD = 1.25


class Space:
    """The file system of one store."""

    def __init__(self, place: Place, connection: sqlite3.Connection) -> None:
        self._place = place
        self._page_size: int = connection.execute("PRAGMA page_size").fetchone()[0]
        self._unseen = 0
        self._is_tight = False

    def check(self, transaction: Transaction, weight: int, file_bytes: int) -> None:
        """Before a transaction with ``weight`` bytes of payload is committed.

        Raises:
            StoreFullError: it would take what is needed to remove blobs again.
        """
        self._unseen += weight
        if weight and (self._is_tight or self._unseen >= STEP):
            self._check(transaction, weight, file_bytes)
            self._unseen = 0

    def check_now(self, transaction: Transaction, weight: int) -> None:
        """As :meth:`check` within a transaction, without regard to how long ago that was."""
        self._check(transaction, weight, self._place.check())

    def _check(self, transaction: Transaction, weight: int, file_bytes: int) -> None:
        wanted = transaction.execute("PRAGMA page_count").fetchone()[0] * self._page_size
        growth = max(wanted - file_bytes, 0)
        needed = growth + int(weight * OVERHEAD)
        if growth:
            # Without growth, what the WAL takes is given back by a checkpoint.
            needed += max(RESERVE, int(wanted * RESERVE_SHARE))
        free = free_bytes(self._place.directory)
        self._is_tight = free < needed + 8 * STEP
        if free < needed:
            raise StoreFullError(
                f"{self._place.path}: {free} bytes are free on the file system, and {needed} are needed for this write "
                "and for removing blobs later",
                path=str(self._place.path),
                hint="delete blobs, lower the capacity, or free space on the file system",
            )


def free_bytes(directory: str) -> int:
    """What this process may still use of a file system; without end if the file system does not say."""
    found = os.statvfs(directory)
    if not found.f_blocks:
        return sys.maxsize
    return found.f_frsize * (found.f_bavail if os.geteuid() else found.f_bfree)


def checkpoint(connection: sqlite3.Connection) -> bool:
    """Copy the WAL into the file, and give its space back; whether that was done to the end."""
    try:
        row = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return False
    return row is not None and row[0] == 0 and row[1] >= 0
