"""Room for what is written: which blobs are evicted for it, and what is refused before the disk is full."""

from __future__ import annotations

import contextlib
import heapq
import logging
import os
import queue
import sqlite3
import sys
import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import TypeAlias

from ltxcore.blob_store._process.identity import FileIdentity
from ltxcore.blob_store._sql.schema import ORDER
from ltxcore.blob_store._sql.transaction import Transaction
from ltxcore.blob_store._values import Evicted
from ltxcore.errors import StoreFullError

log = logging.getLogger("ltxcore.blob_store")

#: The same as it comes from the database. There may be many, and few are asked for.
Gone: TypeAlias = tuple[str, int]
Key: TypeAlias = tuple[float, ...]
SIZE = itemgetter(1)
#: Blobs that one statement removes at most.
STEP = 1024
#: A key behind all others.
LAST: Key = (float("inf"),)
#: Payload bytes between two looks at the file system, as long as there is much more room than is needed.
CHECK_EVERY = 1 << 20
#: What is kept for deleting, in bytes: at least, and of each byte of the file.
RESERVE, RESERVE_SHARE = 1 << 20, 1 / 64
#: How much more than its payload a transaction appends to the WAL, at a guess.
OVERHEAD = 1.25


# --- eviction ----------------------------------------------------------------------------------------------------


def evict(transaction: Transaction) -> list[Gone]:
    """Remove the first blobs in the order of the policy, as few as bring the payload down to the capacity.

    The index on that order has the sizes, so nothing that stays is looked at but what was used since its row was written:
    that row is brought up to date instead.
    """
    capacity, execute = transaction.capacity, transaction.execute
    if capacity is None or transaction.policy == "none":
        return []
    excess = execute("SELECT bytes FROM meta").fetchone()[0] - capacity
    if excess <= 0:
        return []
    in_order = transaction.policy == "fifo" or (transaction.policy == "lru" and not transaction.uses.placed)
    # A cursor of its own, which is closed: one that stands on a row keeps the file locked after the commit.
    with contextlib.closing(transaction.connection.cursor()) as rows:
        gone, last, later = (choose_in_order if in_order else choose)(transaction, rows, excess)
    if not gone:
        return []  # somebody else made the totals wrong
    transaction.write_uses([name for _, name, _, _ in later])
    keys = ORDER[transaction.policy]
    if transaction.policy == "lfu":
        # What was written just now may lie between them.
        transaction.connection.executemany("DELETE FROM item WHERE name = ?", [(name,) for name, _ in gone])
    else:
        remove_up_to(transaction, keys[0], last[0], len(gone))
    if transaction.uses.placed:
        for name, _ in gone:
            transaction.uses.settle(name)
    return gone


def remove_up_to(transaction: Transaction, key: str, last: float, count: int) -> None:
    """Remove the first ``count`` blobs, up to the key of the last, in steps.

    What a statement has to undo if it fails is kept until it ends, perhaps in memory, and there may be any number of blobs.
    """
    execute = transaction.execute
    for _ in range(count // STEP):
        execute(
            f"DELETE FROM item WHERE {key} <= (SELECT {key} FROM item ORDER BY {key} LIMIT 1 OFFSET {STEP - 1})"  # noqa: S608
        )
    execute(f"DELETE FROM item WHERE {key} <= ?", (last,))  # noqa: S608


Choice: TypeAlias = tuple[list[Gone], Key, list[tuple[Key, str, int, Key]]]


def choose_in_order(transaction: Transaction, rows: sqlite3.Cursor, excess: int) -> Choice:
    """As :func:`choose`, where the rows know everything."""
    key = ORDER[transaction.policy][0]
    found: list[tuple[str, int, int]] = []
    rows.execute(f"SELECT name, size, {key} FROM item ORDER BY {key}")  # noqa: S608
    # One as a rule, but it may be all of them.
    count = 4
    while excess > 0 and (page := rows.fetchmany(count)):
        sums = list(accumulate(map(SIZE, page)))
        page = page[: bisect_left(sums, excess) + 1]
        excess -= sums[len(page) - 1]
        found += page
        count = min(count * 4, 1024)
    return [row[:2] for row in found], found[-1][2:] if found else (), []


def choose(transaction: Transaction, rows: sqlite3.Cursor, excess: int) -> Choice:
    """What has to go, the last key among their rows, and what would have gone but for uses that no row knows of."""
    keys = ", ".join(ORDER[transaction.policy])
    rows.execute(f"SELECT name, size, id, {keys} FROM item ORDER BY {keys}")  # noqa: S608
    gone: list[Gone] = []
    last: Key = ()
    #: Where they are now in the order, name, size, and where their rows are.
    later: list[tuple[Key, str, int, Key]] = []
    row = rows.fetchone()
    while excess > 0 and (row is not None or later):
        if row is not None and (not later or tuple(row[3:]) < later[0][0]):
            name, size, item, *found = row
            key = place = tuple(found)
            row = rows.fetchone()
            place = current(transaction, name, item, key)
            if place > key:
                heapq.heappush(later, (place, name, size, key))
                continue
        else:
            _, name, size, key = heapq.heappop(later)
        gone.append((name, size))
        last = max(last, key)
        excess -= size
    return gone, last, later


def current(transaction: Transaction, name: str, item: int, key: Key) -> Key:
    """Where a blob is in the order, with the uses that its row does not know of."""
    policy, use = transaction.policy, transaction.uses.placed.get(name)
    if policy == "lfu":
        if item > transaction.begun_at:
            # The least often used blob is the one just written. It goes only if all the others do not make room.
            return LAST
        return key if use is None else (key[0] + use[1], max(key[1], use[0]))
    if policy == "lru" and use is not None and use[0] > key[0]:
        return (use[0],)
    return key


class EvictionCallbacks:
    """Tells the user which blobs were evicted, after the commit, in a thread where the store can be used.

    What the callback raises is logged.
    """

    def __init__(self, on_evict: Callable[[Evicted], None]) -> None:
        self._on_evict = on_evict
        self._queue: queue.SimpleQueue[Sequence[Gone] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="ltxcore-blob-evictions", daemon=True)
        self.thread.start()

    def call(self, gone: Sequence[Gone]) -> None:
        """Have the callback called for each of these blobs."""
        self._queue.put(gone)

    def end(self) -> None:
        """End the thread when it has called everything."""
        self._queue.put(None)

    def _run(self) -> None:
        while (gone := self._queue.get()) is not None:
            for name, size in gone:
                try:
                    self._on_evict(Evicted(name, size))
                except BaseException:  # SystemExit, say: there are others to be told
                    log.exception("the on_evict callback failed for %r", name)


# --- the file system ---------------------------------------------------------------------------------------------


class DiskSpace:
    """Room on the file system: that a store which has filled it can still be emptied.

    Over WAL a commit only appends to the WAL; that the file cannot grow is noticed when a checkpoint copies the pages there. By
    then the WAL can neither be emptied nor grow, and to delete a blob takes a few pages of it. So a write that makes the store
    larger is refused while there still is room for all pages of the WAL in the file, and a reserve for what makes room.
    """

    def __init__(self, file: FileIdentity, connection: sqlite3.Connection) -> None:
        self._file = file
        self._page_size: int = connection.execute("PRAGMA page_size").fetchone()[0]
        self._unseen = 0
        self._is_tight = False

    def check(self, transaction: Transaction, weight: int, file_bytes: int) -> None:
        """Before a transaction with ``weight`` bytes of payload is committed.

        Raises:
            StoreFullError: it would take what is needed to remove blobs again.
        """
        self._unseen += weight
        if weight and (self._is_tight or self._unseen >= CHECK_EVERY):
            self._check(transaction, weight, file_bytes)
            self._unseen = 0

    def check_now(self, transaction: Transaction, weight: int) -> None:
        """As :meth:`check` within a transaction, without regard to how long ago that was."""
        self._check(transaction, weight, self._file.check())

    def _check(self, transaction: Transaction, weight: int, file_bytes: int) -> None:
        wanted = transaction.execute("PRAGMA page_count").fetchone()[0] * self._page_size
        growth = max(wanted - file_bytes, 0)
        needed = growth + int(weight * OVERHEAD)
        if growth:
            # Without growth, what the WAL takes is given back by a checkpoint.
            needed += max(RESERVE, int(wanted * RESERVE_SHARE))
        free = free_bytes(self._file.directory)
        self._is_tight = free < needed + 8 * CHECK_EVERY
        if free < needed:
            raise StoreFullError(
                f"{self._file.path}: {free} bytes are free on the file system, and {needed} are needed for this write "
                "and for removing blobs later",
                path=str(self._file.path),
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
