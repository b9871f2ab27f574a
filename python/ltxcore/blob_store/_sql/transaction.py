"""What can be done to a store inside one transaction. All changes to the tables are here and in `_writer.space`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import cast

from ltxcore.blob_store._sql.queries import (
    Chunk,
    consecutive,
    not_found,
    open_chunk,
    parts_of,
    where,
    whole_blob,
)
from ltxcore.blob_store._sql.sqlite import pragma
from ltxcore.blob_store._values import Options, Policy, check_name
from ltxcore.errors import (
    BlobChangedError,
    BlobExistsError,
    BlobTooLargeError,
    StoreFullError,
)

#: How many puts one statement stores at most. Every call into SQLite lets other threads have the interpreter, which has
#: then to be won back; so few statements with many rows are much cheaper than many statements.
MAX_RUN = 64
#: Seconds for which SQLite waits for another process at once.
SLICE = 0.2
#: Values of the clock that a transaction takes at once. It may take more, and nothing is lost if it takes fewer.
CLOCK_STEP = 4096
#: Chunks that are shorter on average are written anew.
SHORT_PART = 4096
_ROW = "(?, ?, ?, ?, ?, ?, 0, ?, ?, ?)"
_STORE = """
INSERT INTO item (name, id, tick, version, size, parts, hits, created_ms, used_ms, tags)
VALUES {rows}
ON CONFLICT (name) DO UPDATE SET id = excluded.id, tick = excluded.tick, version = excluded.version, size = excluded.size,
    parts = excluded.parts, hits = 0, created_ms = excluded.created_ms, used_ms = excluded.used_ms,
    tags = excluded.tags
"""
_STORE_ONE = _STORE.format(rows=_ROW)
_BEGIN = f"UPDATE meta SET clock = clock + {CLOCK_STEP} WHERE id = 1 RETURNING capacity, clock, policy"  # noqa: S608


@cache
def _run_of(count: int) -> tuple[str, str]:
    """Two statements that store so many blobs of one chunk."""
    chunks = ", ".join(["(?, ?)"] * count)
    return f"INSERT INTO chunk VALUES {chunks}", _STORE.format(rows=", ".join([_ROW] * count))  # noqa: S608


def now_ms() -> int:
    """The wall clock. It is kept for people; nothing is ordered by it."""
    return time.time_ns() // 1_000_000


class Uses:
    """Which blobs were read, until that is written to their rows.

    Readers only note names. The writer gives every use its place on the clock with its next transaction, but writes it to
    the blob's row only if that matters: when the blob would be evicted otherwise, or from time to time. So a blob that is
    read all the time is written once a lap of the cache, and the order is exact all the same.
    """

    def __init__(self) -> None:
        #: Names and how often they were read since the last batch, the latest last. Readers write here, without a lock.
        self.noted: dict[str, int] = {}
        #: Names, the clock's value of their last use, and how often they were read. The writer's alone.
        self.placed: dict[str, tuple[int, int]] = {}
        #: What was `noted` before: a reader that had it in its hands may have come late.
        self._taken: dict[str, int] = {}
        self._settled: list[tuple[str, tuple[int, int]]] = []

    def __len__(self) -> int:
        return len(self.noted) + len(self._taken) + len(self.placed)

    def begin(self, tick: Callable[[], int]) -> None:
        """Give what was noted its place, before anything else of a transaction has one."""
        self.place(tick)

    def keep(self) -> None:
        """What was settled up to now is committed, whatever becomes of the next transaction."""
        self._settled.clear()

    def place(self, tick: Callable[[], int]) -> None:
        """Give what was noted its place, now."""
        taken, self.noted = self.noted, {}
        for source in (self._taken, taken):
            for name in list(source):
                hits = source.pop(name)
                _, earlier = self.placed.pop(name, (0, 0))
                self.placed[name] = (tick(), earlier + hits)
        self._taken = taken

    def settle(self, name: str) -> tuple[int, int] | None:
        """Take out a use that is being written to its row, or does not matter any more."""
        found = self.placed.pop(name, None)
        if found is not None:
            self._settled.append((name, found))
        return found

    def forget(self, name: str) -> None:
        """The blob is not the one that was read any more."""
        if self.placed:
            self.settle(name)

    def mark(self) -> int:
        """Where the transaction is, for :meth:`undo`."""
        return len(self._settled)

    def undo(self, mark: int = 0) -> None:
        """The transaction was rolled back, to its start or to a mark: what was settled since is not."""
        for name, use in self._settled[mark:]:
            self.placed.setdefault(name, use)
        del self._settled[mark:]


def drop_stage(connection: sqlite3.Connection, item: int) -> None:
    """Give up a blob that was never finished."""
    connection.execute("DELETE FROM part WHERE item = ?", (item,))
    connection.execute("DELETE FROM stage WHERE id = ?", (item,))


class Put:
    """A write of one blob, as data instead of as a function, so that many can be one statement."""

    __slots__ = ("data", "name", "tags")

    def __init__(self, name: str, data: bytes | memoryview, tags: str | None) -> None:
        self.name = name
        self.data = data
        self.tags = tags

    def __call__(self, transaction: Transaction) -> None:
        """Do it alone."""
        transaction.put(self.name, self.data, self.tags)


class Transaction:
    """A write transaction on the writer's connection, between :meth:`begin` and :meth:`commit`."""

    def __init__(self, connection: sqlite3.Connection, options: Options, uses: Uses) -> None:
        self.connection = connection
        self.uses = uses
        self.execute = connection.cursor().execute
        self.chunk_size = options.chunk_size
        self.capacity: int | None = None
        self.policy: Policy = "lru"
        self.clock = 0
        self.now = 0
        self.begun_at = 0
        self._limit = 0
        self._timeout = options.busy_timeout
        # Over WAL only the begin of a transaction waits for others, and it can be tried again: a signal is noticed in
        # between. Otherwise it is the commit, with a lock that should not be let go.
        is_wal = pragma(connection, "journal_mode") == "wal"
        self._slice = min(SLICE, self._timeout) if is_wal else self._timeout
        self._waits = self._timeout
        self._is_in_memory: bool | None = False
        #: Set once COMMIT was asked for: if the transaction is over then, it is committed.
        self.is_committing = False

    def begin(self, in_memory: bool) -> None:
        """Take the write lock, and read what other processes may have changed. See :meth:`set_temp_store`."""
        # In this order: what was settled for a commit must not be undone.
        self.uses.keep()
        self.is_committing = False
        self.set_temp_store(in_memory)
        self._wait_for(self._slice)
        self.execute("BEGIN IMMEDIATE")
        self.capacity, limit, self.policy = self.execute(_BEGIN).fetchone()
        self._limit = limit
        self.begun_at = self.clock = limit - CLOCK_STEP
        self.now = now_ms()
        self.uses.begin(self.tick)

    def set_temp_store(self, in_memory: bool) -> None:
        """Keep what a statement has to undo if it fails in memory, or where SQLite would: beyond 64 KiB in a file.

        To make that file costs as much as the puts of a small batch. It is decided when a transaction begins.
        """
        if self._is_in_memory is not in_memory:
            self._is_in_memory = None
            self.execute(f"PRAGMA temp_store={'memory' if in_memory else 'default'}")
            self._is_in_memory = in_memory

    def set_apart(self) -> None:
        """Make the connection ready for what is no transaction of this kind: it may be of any size, and waits as asked."""
        self.set_temp_store(in_memory=False)
        self._wait_for(self._timeout)

    def _wait_for(self, seconds: float) -> None:
        if self._waits != seconds:
            pragma(self.connection, "busy_timeout", round(seconds * 1000))
            self._waits = seconds

    def commit(self) -> None:
        """Make it all last."""
        if self.clock > self._limit:
            self.execute("UPDATE meta SET clock = ? WHERE id = 1", (self.clock,))
        self.is_committing = True
        try:
            self.execute("COMMIT")
        except sqlite3.Error:
            self.is_committing = False
            raise

    def tick(self) -> int:
        """The next value of the clock, which is later than everything and no row's id yet."""
        self.clock += 1
        return self.clock

    # --- one blob ------------------------------------------------------------------------------------------------

    def check_size(self, name: str, size: int) -> None:
        """Refuse what would not fit alone.

        Raises:
            BlobTooLargeError: the capacity is less than ``size``.
        """
        if self.capacity is not None and size > self.capacity:
            raise BlobTooLargeError(f"{name!r} has {size} bytes, and the store a capacity of {self.capacity}")

    def refuse_overflow(self) -> None:
        """For a store that evicts nothing.

        Raises:
            StoreFullError: it holds more than its capacity.
        """
        size = self.execute("SELECT bytes FROM meta").fetchone()[0]
        if self.capacity is not None and size > self.capacity:
            excess = size - self.capacity
            raise StoreFullError(
                f"{excess} bytes above the capacity of {self.capacity}, and nothing may be evicted"
            )

    def put(self, name: str, data: bytes | memoryview, tags: str | None = None) -> None:
        """Store a blob, in place of the one that has the name."""
        size = len(data)
        self.check_size(name, size)
        item, count = self.tick(), 0
        if size <= self.chunk_size:
            self.execute("INSERT INTO chunk VALUES (?, ?)", (item, data))
        else:
            view = memoryview(data)
            for offset in range(0, size, self.chunk_size):
                self.add_part(item, offset, view[offset : offset + self.chunk_size])
                count += 1
        self.store(name, item, size, count, tags)

    def can_group(self, action: object) -> bool:
        """Whether an action can be one of :meth:`put_many`."""
        if not isinstance(action, Put):
            return False
        size = len(action.data)
        return size <= self.chunk_size and (self.capacity is None or size <= self.capacity)

    def put_many(self, puts: Sequence[Put]) -> None:
        """Store blobs of one chunk each."""
        now = self.now
        for start in range(0, len(puts), MAX_RUN):
            run = puts[start : start + MAX_RUN]
            chunks: list[object] = []
            items: list[object] = []
            for put in run:
                item = self.tick()
                self.uses.forget(put.name)
                chunks += (item, put.data)
                tick = self.tick()
                items += (put.name, item, tick, tick, len(put.data), 0, now, now, put.tags)
            store_chunks, store_items = _run_of(len(run))
            self.execute(store_chunks, chunks)
            self.execute(store_items, items)

    def store(self, name: str, item: int, size: int, parts: int, tags: str | None = None) -> None:
        """Give the chunks of ``item`` a name."""
        now = self.now
        self.uses.forget(name)
        tick = self.tick()
        self.execute(_STORE_ONE, (name, item, tick, tick, size, parts, now, now, tags))

    def add_part(self, item: int, offset: int, data: bytes | memoryview) -> None:
        """Store one chunk of a long blob."""
        chunk = self.tick()
        self.execute("INSERT INTO chunk VALUES (?, ?)", (chunk, data))
        self.execute("INSERT INTO part VALUES (?, ?, ?, ?)", (item, offset, len(data), chunk))

    def exists(self, name: str) -> bool:
        """Whether there is a blob of this name."""
        return self.execute("SELECT 1 FROM item WHERE name = ?", (name,)).fetchone() is not None

    def refuse_existing(self, name: str) -> None:
        """For writes that must not replace.

        Raises:
            BlobExistsError: there is a blob of this name.
        """
        if self.exists(name):
            raise BlobExistsError(f"blob {name!r} already exists")

    def delete(self, name: str, missing_ok: bool) -> None:
        """Remove a blob; what it owned goes by trigger."""
        self.uses.forget(name)
        if self.execute("DELETE FROM item WHERE name = ?", (name,)).rowcount == 0 and not missing_ok:
            raise not_found(name)

    def rename(self, source: str, target: str, overwrite: bool) -> None:
        """Give a blob another name; its bytes stay where they are."""
        if not self.exists(source):
            raise not_found(source)
        if source == target:
            return
        if not overwrite:
            self.refuse_existing(target)
        self.uses.forget(target)
        self.execute("DELETE FROM item WHERE name = ?", (target,))
        self.write_uses([source])
        self.execute("UPDATE item SET name = ? WHERE name = ?", (target, source))

    def set_tags(self, name: str, tags: str | None) -> None:
        """Replace a blob's tags."""
        if self.execute("UPDATE item SET tags = ? WHERE name = ?", (tags, name)).rowcount == 0:
            raise not_found(name)

    def write_at(self, name: str, offset: int, data: memoryview, item: int | None = None) -> None:
        """Change bytes of a blob where they are. Its size stays.

        Raises:
            BlobChangedError: it is not the blob ``item`` any more.
            ValueError: the range reaches beyond its end.
        """
        row = self.execute("SELECT id, size, parts FROM item WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise not_found(name)
        if item not in {None, row[0]}:
            raise BlobChangedError(f"{name!r} was replaced")
        end = offset + len(data)
        if end > row[1]:
            raise ValueError(f"bytes {offset} to {end} reach beyond the {row[1]} bytes of {name!r}")
        for start, size, chunk in parts_of(self.connection, row[0], row[1], row[2]):
            first, last = max(offset, start), min(end, start + size)
            if first < last:
                with open_chunk(self.connection, chunk, size, readonly=False) as blob:
                    blob.seek(first - start)
                    blob.write(data[first - offset : last - offset])
        tick = self.tick()
        self.execute(
            "UPDATE item SET tick = ?, version = ?, used_ms = ? WHERE name = ?", (tick, tick, self.now, name)
        )

    def flush_uses(self) -> int:
        """Write down all uses that were noted up to now; of how many blobs."""
        self.uses.place(self.tick)
        return self.write_uses()

    def write_uses(self, names: Iterable[str] | None = None) -> int:
        """Write the uses of some blobs, or of all, to their rows; of how many."""
        rows = []
        for name in [*self.uses.placed] if names is None else names:
            use = self.uses.settle(name)
            if use is not None:
                rows.append((use[0], use[1], self.now, name))
        if rows:
            # A blob that was stored anew since has a later place already.
            self.connection.executemany(
                "UPDATE item SET tick = max(tick, ?), hits = hits + ?, used_ms = ? WHERE name = ?", rows
            )
        return len(rows)

    # --- many blobs ----------------------------------------------------------------------------------------------

    def delete_prefix(self, prefix: str) -> int:
        """Remove all blobs whose names start with ``prefix``; how many."""
        for name in [name for name in self.uses.placed if name.startswith(prefix)]:
            self.uses.forget(name)
        condition, values = where(prefix)
        return self.execute(f"DELETE FROM item WHERE {condition}", values).rowcount  # noqa: S608

    def rename_prefix(self, old: str, new: str) -> int:
        """Replace the start of names; how many."""
        condition, values = where(old)
        rows = self.execute(f"SELECT name FROM item WHERE {condition}", values)  # noqa: S608
        names = [row[0] for row in rows]
        moves = {name: check_name(new + name[len(old) :]) for name in names}
        if old == new:
            return len(names)
        for target in moves.values():
            if target not in moves:
                self.refuse_existing(target)
        self.write_uses(names)
        # By way of names that no blob can have, since a new name may be the old one of another.
        hidden = [("\0" + name, name) for name in names]
        self.connection.executemany("UPDATE item SET name = ? WHERE name = ?", hidden)
        revealed = [(moves[name], "\0" + name) for name in names]
        self.connection.executemany("UPDATE item SET name = ? WHERE name = ?", revealed)
        return len(names)

    # --- long blobs, written in several transactions ---------------------------------------------------------------

    def begin_stage(self, owner: str) -> int:
        """Start a blob that nobody sees yet; the id of its parts."""
        item = self.tick()
        self.execute("INSERT INTO stage VALUES (?, ?, 0, ?)", (item, owner, self.now))
        return item

    def append_stage(self, item: int, data: bytes | memoryview) -> None:
        """Add a chunk to it."""
        row = self.execute("SELECT size FROM stage WHERE id = ?", (item,)).fetchone()
        if row is None:
            raise BlobChangedError("a blob that was being written was swept away, as if its writer had died")
        self.check_size("the blob", row[0] + len(data))
        self.add_part(item, row[0], data)
        self.execute("UPDATE stage SET size = size + ? WHERE id = ?", (len(data), item))

    def publish_stage(self, item: int, name: str, tags: str | None, exclusive: bool) -> None:
        """Give it its name."""
        row = self.execute("DELETE FROM stage WHERE id = ? RETURNING size", (item,)).fetchone()
        if row is None:
            raise BlobChangedError(f"{name!r} was swept away while it was written, as if its writer had died")
        self.check_size(name, row[0])
        if exclusive:
            self.refuse_existing(name)
        # Ids follow the order in which blobs appear, not that in which they were begun.
        final = self.tick()
        count = self.execute("UPDATE part SET item = ? WHERE item = ?", (final, item)).rowcount
        self.store(name, final, row[0], count, tags)

    def drop_stage(self, item: int) -> None:
        """Give it up."""
        drop_stage(self.connection, item)

    # --- the store -------------------------------------------------------------------------------------------------

    def set_capacity(self, capacity: int | None) -> None:
        """Bound the payload bytes; eviction follows with the commit."""
        self.execute("UPDATE meta SET capacity = ?", (capacity,))
        self.capacity = capacity


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


def pop(transaction: Transaction, name: str) -> bytes | None:
    """Remove a blob; its bytes, or None if there is none."""
    found = whole_blob(transaction.connection, name)
    transaction.delete(name, missing_ok=True)
    return found


def pop_first(transaction: Transaction) -> tuple[str, bytes] | None:
    """Remove the blob with the lowest name; name and bytes, or None if the store is empty."""
    row = transaction.execute("SELECT name FROM item ORDER BY name LIMIT 1").fetchone()
    if row is None:
        return None
    found = pop(transaction, row[0])
    return None if found is None else (row[0], found)


def get_or_put(transaction: Transaction, name: str, data: bytes) -> tuple[bytes, bool]:
    """The bytes of a blob, which is stored if there is none; and whether it was."""
    found = whole_blob(transaction.connection, name)
    if found is not None:
        return found, False
    transaction.put(name, data)
    return data, True
