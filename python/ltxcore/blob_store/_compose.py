"""One blob, made of several that are named by their offsets."""

from __future__ import annotations

from typing import cast

from ltxcore.blob_store._chunks import Chunk, consecutive, parts_of
from ltxcore.blob_store._transaction import Transaction
from ltxcore.errors import BlobExistsError

#: Chunks that are shorter on average are written anew.
SHORT_PART = 4096


def compose(transaction: Transaction, target: str, prefix: str, size: int | None, remove: bool) -> int:
    """Make one blob of chunks that are named by their offsets; its size in bytes.

    Chunks that are not kept are taken over as they are: not a byte of them is copied.
    """
    chunks = consecutive(transaction.connection, prefix, size)
    total = sum(chunk.size for chunk in chunks)
    transaction.check_size(target, total)
    if any(chunk.name == target for chunk in chunks):
        raise BlobExistsError(f"{target!r} is one of the chunks that it would be made of")
    item = transaction.tick()
    short = not total or total < SHORT_PART * len(chunks)
    take = _copy if short or not remove else _take_over
    count = take(transaction, item, chunks)
    if remove:
        for chunk in chunks:
            transaction.uses.forget(chunk.name)
        transaction.connection.executemany(
            "DELETE FROM item WHERE name = ?", [(chunk.name,) for chunk in chunks]
        )
    transaction.store(target, item, total, count)
    return total


def _take_over(transaction: Transaction, item: int, chunks: list[Chunk]) -> int:
    count = 0
    for chunk in chunks:
        if not chunk.size:
            continue  # two parts of one blob cannot have the same offset
        if chunk.parts:
            transaction.execute(
                "UPDATE part SET item = ?, offset = offset + ? WHERE item = ?",
                (item, chunk.offset, chunk.id),
            )
        else:
            transaction.execute(
                "INSERT INTO part VALUES (?, ?, ?, ?)", (item, chunk.offset, chunk.size, chunk.id)
            )
        # Nothing is left to be deleted with it.
        transaction.execute("UPDATE item SET parts = -1 WHERE name = ?", (chunk.name,))
        count += max(chunk.parts, 1)
    return count


def _copy(transaction: Transaction, item: int, chunks: list[Chunk]) -> int:
    pending, start, count = bytearray(), 0, 0
    for chunk in chunks:
        for _, _, part in parts_of(transaction.connection, chunk.id, chunk.size, chunk.parts):
            row = transaction.execute("SELECT data FROM chunk WHERE id = ?", (part,)).fetchone()
            pending += cast(bytes, row[0])
            while len(pending) >= transaction.chunk_size:
                transaction.add_part(item, start, bytes(pending[: transaction.chunk_size]))
                start, count = start + transaction.chunk_size, count + 1
                del pending[: transaction.chunk_size]
    if pending or not count:
        transaction.add_part(item, start, bytes(pending))
        count += 1
    return count
