"""What is known of a blob, what a store has done, and how large it is."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path

from ltxcore.blob_store import _options
from ltxcore.blob_store._tags import TagValue


@dataclass(frozen=True, slots=True)
class BlobStat:
    """What is known of a blob without its bytes.

    Attributes:
        name: its name.
        size: bytes.
        created_at: when it was stored, by the wall clock.
        used_at: when it was last stored or read, as far as that was noted.
        hits: how often it was read, as far as that was noted.
        etag: another one whenever the blob is stored anew, or changed in place.
        tags: what :meth:`BlobStore.set_tags` gave it.
    """

    name: str
    size: int
    created_at: datetime
    used_at: datetime
    hits: int
    etag: str
    tags: dict[str, TagValue] = field(default_factory=dict)


@dataclass(slots=True)
class Stats:
    """Counts since the store was opened, of this process. Those of reads may miss a few under many threads.

    Attributes:
        puts: blobs written.
        hits: reads of a whole blob that found it.
        misses: reads of a whole blob that did not.
        range_reads: reads of a part.
        opens: blobs opened to be read.
        deletes: blobs deleted by name.
        bytes_in: payload bytes written.
        bytes_out: payload bytes read whole or by range.
        evictions: blobs that had to go.
        evicted_bytes: their payload.
        rejected: writes that failed on their own account.
        batches: transactions.
        batched_ops: writes in them.
        batch_errors: transactions that failed, with all their writes.
        max_batch: the most writes in one transaction.
        busy_retries: transactions that were begun again because another process was in the way.
        touches_flushed: blobs whose use was noted.
        open_readers: blobs that are open for reading.
        queue_depth: writes that wait.
    """

    puts: int = 0
    hits: int = 0
    misses: int = 0
    range_reads: int = 0
    opens: int = 0
    deletes: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    evictions: int = 0
    evicted_bytes: int = 0
    rejected: int = 0
    batches: int = 0
    batched_ops: int = 0
    batch_errors: int = 0
    max_batch: int = 0
    busy_retries: int = 0
    touches_flushed: int = 0
    open_readers: int = 0
    queue_depth: int = 0

    def copy(self) -> Stats:
        """The counts as they are now."""
        return Stats(**{field.name: getattr(self, field.name) for field in fields(self)})

    def as_expvar(self) -> dict[str, int]:
        """The three counters that the original store published, by their names there."""
        return {
            "batchTransactions": self.batches,
            "batchedQueries": self.batched_ops,
            "batchTransactionErrors": self.batch_errors,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Sizes in bytes unless they are counts.

    Attributes:
        payload_bytes: of all blobs together; the capacity bounds it.
        items: how many blobs there are.
        capacity: None without a bound.
        staged_bytes: of blobs that are being written, and of those whose writer died.
        page_size: of the file.
        page_count: pages of the file.
        freelist: pages of it that are not used.
        file_bytes: on disk; 0 in memory.
        wal_bytes: of the WAL beside it.
    """

    payload_bytes: int
    items: int
    capacity: int | None
    staged_bytes: int
    page_size: int
    page_count: int
    freelist: int
    file_bytes: int
    wal_bytes: int


def usage(connection: sqlite3.Connection, path: Path | None) -> Usage:
    """Ask for all sizes."""
    row = connection.execute(
        "SELECT bytes, items, capacity, (SELECT coalesce(sum(size), 0) FROM stage) FROM meta"
    ).fetchone()

    def number(name: str) -> int:
        return int(_options.pragma(connection, name) or 0)

    return Usage(
        payload_bytes=row[0],
        items=row[1],
        capacity=row[2],
        staged_bytes=row[3],
        page_size=number("page_size"),
        page_count=number("page_count"),
        freelist=number("freelist_count"),
        file_bytes=size_of(path),
        wal_bytes=size_of(path and Path(f"{path}-wal")),
    )


def size_of(path: Path | None) -> int:
    """Length of a file; 0 if there is none."""
    try:
        return 0 if path is None else path.stat().st_size
    except FileNotFoundError:
        return 0


def moment(milliseconds: int) -> datetime:
    """A time of the wall clock."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
