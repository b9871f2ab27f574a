"""Making room: which blobs go, and that exactly those do."""

from __future__ import annotations

from dataclasses import dataclass

from ltxcore.blob_store._schema import ORDER
from ltxcore.blob_store._transaction import Transaction


@dataclass(frozen=True, slots=True)
class Evicted:
    """A blob that had to go: its name, and its size in bytes."""

    name: str
    size: int


def evict(transaction: Transaction) -> list[Evicted]:
    """Remove the first blobs in the order of the policy, as few as bring the payload down to the capacity.

    The index on that order has the sizes, so what is kept is not looked at, and what goes is deleted as one range.
    """
    capacity, execute = transaction.capacity, transaction.execute
    if capacity is None or transaction.policy == "none":
        return []
    excess = execute("SELECT bytes FROM meta").fetchone()[0] - capacity
    if excess <= 0:
        return []
    # The least often used blob is the one that has just been written: it goes only if all the others do not make room.
    older = " WHERE id <= :begun" if transaction.policy == "lfu" else ""
    gone, excess = _evict(transaction, excess, older)
    if excess > 0 and older:
        gone += _evict(transaction, excess, "")[0]
    return gone


def _evict(transaction: Transaction, excess: int, condition: str) -> tuple[list[Evicted], int]:
    """One pass over blobs that meet a condition; what went, and what it did not make room for."""
    execute, columns = transaction.execute, ORDER[transaction.policy]
    keys, begun = ", ".join(columns), {"begun": transaction.begun_at}
    gone: list[Evicted] = []
    last: tuple[int, ...] = ()
    rows = execute(f"SELECT name, size, {keys} FROM item{condition} ORDER BY {keys}", begun)  # noqa: S608
    for name, size, *key in rows:
        gone.append(Evicted(name, size))
        last = tuple(key)
        excess -= size
        if excess <= 0:
            break
    if gone:
        marks = ", ".join(f":{column}" for column in columns)
        upto = f" AND ({keys}) <= ({marks})" if condition else f" WHERE ({keys}) <= ({marks})"
        execute(f"DELETE FROM item{condition}{upto}", begun | dict(zip(columns, last, strict=True)))  # noqa: S608
    return gone, excess
