"""Making room: which blobs go, and that exactly those do."""

from __future__ import annotations

import contextlib
import heapq
import sqlite3
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import TypeAlias

from ltxcore.blob_store._schema import ORDER
from ltxcore.blob_store._transaction import Transaction


@dataclass(frozen=True, slots=True)
class Evicted:
    """A blob that had to go: its name, and its size in bytes."""

    name: str
    size: int


#: The same as it comes from the database. There may be many, and few are asked for.
Gone: TypeAlias = tuple[str, int]
Key: TypeAlias = tuple[float, ...]
SIZE = itemgetter(1)
#: Blobs that one statement removes at most.
STEP = 1024
#: A key behind all others.
LAST: Key = (float("inf"),)


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
