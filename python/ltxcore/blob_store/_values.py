"""What callers hand in and what they get back: names, tags, options, results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Literal, get_args

from ltxcore.errors import BlobNameError, ConfigError, StoreCorruptError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Durability = Literal["cache", "normal", "durable"]
Synchronous = Literal["off", "normal", "full", "extra"]
JournalMode = Literal["wal", "delete", "truncate", "persist", "memory"]
AutoVacuum = Literal["none", "full", "incremental"]
Touch = Literal["lazy", "exact", "off"]
Policy = Literal["lru", "fifo", "lfu", "none"]
TagValue = str | int | float | bool | None
Tags = Mapping[str, TagValue]

#: The longest name in bytes of UTF-8.
MAX_BYTES = 32_768
#: What each durability means to SQLite.
SYNCHRONOUS: dict[Durability, Synchronous] = {"cache": "off", "normal": "normal", "durable": "full"}
#: Seconds; SQLite counts milliseconds in 32 bits.
LONGEST = 2_000_000


def check_name(name: str) -> str:
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
    size = len(name) if name.isascii() else len(encode_name(name))
    if size > MAX_BYTES:
        raise BlobNameError(f"{name[:40]!r}...: {size} bytes of UTF-8, where {MAX_BYTES} are allowed")
    return name


def encode_name(text: str) -> bytes:
    """A name, or a part of one, as SQLite has it.

    Raises:
        BlobNameError: it cannot be written in UTF-8.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BlobNameError(f"{text!r}: a blob's name must be possible in UTF-8") from error


def as_bytes(data: ReadableBuffer) -> bytes | memoryview:
    """Any buffer as bytes; nothing is copied."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        raise TypeError("a blob is bytes, not str")
    view = memoryview(data)
    return view.cast("B") if view.contiguous else bytes(view)


def encode_tags(tags: Mapping[str, TagValue] | None) -> str | None:
    """Tags as they are stored.

    Raises:
        TypeError: a value is not one that JSON has.
        ValueError: a number is not finite, or a text cannot be written in UTF-8.
    """
    if not tags:
        return None
    for name, value in tags.items():
        if not isinstance(value, str | int | float | bool | None):
            raise TypeError(f"a tag is a str with a str, a number, a bool or None: {name!r}: {value!r}")
    text = json.dumps(dict(tags), ensure_ascii=False, sort_keys=True, allow_nan=False)
    text.encode()
    return text


def decode_tags(name: str, text: object) -> dict[str, TagValue]:
    """The reverse.

    Raises:
        StoreCorruptError: they were not stored by :func:`encode_tags`.
    """
    if text is None:
        return {}
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise StoreCorruptError(f"the tags of {name!r} are not tags", hint="check(repair=True) removes them")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings of a :class:`BlobStore`. ``None`` leaves a setting of the file or of SQLite as it is.

    Attributes:
        durability: ``"cache"`` survives the death of the process, ``"normal"`` also keeps the file whole over a loss
            of power, ``"durable"`` loses no acknowledged write even then.
        synchronous: SQLite's setting itself, instead of the one that ``durability`` stands for.
        page_size: in bytes; a power of two from 512 to 65536. A new file gets 4096.
        auto_vacuum: a new file gets ``"incremental"``.
        journal_mode: a new file gets ``"wal"``, without which readers and the writer hinder each other. Without any
            journal nothing could be undone, so that is not offered.
        mmap_size: bytes of the file that are mapped; SQLite's build may allow fewer.
        cache_size: as in SQLite: pages, or KiB if negative.
        journal_size_limit: bytes that WAL or journal keep when they are not in use.
        wal_autocheckpoint: pages in the WAL from which on a commit copies them into the file; 0 is never, for who has
            another process do it. SQLite's own setting is 1000, with which small writes take a tenth longer.
        secure_delete: whether bytes that are removed are overwritten in the file. Some builds of SQLite do it unless told
            otherwise, and then everything that is evicted is written once more.
        max_page_count: pages that the file may have. A write beyond raises :class:`StoreFullError`.
        busy_timeout: seconds to wait for another process, and for a free reader, before :class:`StoreBusyError`.
        readers: connections that may read at once. They are opened when they are needed.
        hold_reads: seconds for which a read lock of the WAL is kept at most while many reads follow one another, none
            of which has to take it then. It is let go before every write of this process, and now and then for those
            of others. 0 is never.
        chunk_size: bytes; a longer blob is stored in chunks of this size.
        batch_max_items: writes that share a transaction at most. 1 switches batching off.
        batch_max_bytes: payload bytes that share a transaction at most; a longer blob is written in several, and
            appears with the last.
        linger: seconds for which a batch waits for company. Without, it takes what is there.
        touch: whether reading counts as use: ``"lazy"`` notes it in memory and writes it with the next batch, after
            ``touch_interval`` or before anything is evicted; ``"exact"`` writes it at once in the background, for
            several processes that share one order; ``"off"`` never.
        touch_interval: seconds after which reads that were noted are written.
        touch_max: blobs whose reads are noted at most before they are written.
        policy: what goes first when the store is full: least recently used, first written, or least often used;
            with ``"none"`` nothing does, and the write raises :class:`StoreFullError`. ``None`` keeps what the file
            says; a new one says ``"lru"``.
        vfs: name of a registered SQLite VFS, such as ``"ltx-os"``.
    """

    durability: Durability = "normal"
    synchronous: Synchronous | None = None
    page_size: int | None = None
    auto_vacuum: AutoVacuum | None = None
    journal_mode: JournalMode | None = None
    mmap_size: int | None = None
    cache_size: int | None = None
    journal_size_limit: int | None = 64 << 20
    wal_autocheckpoint: int | None = 4000
    secure_delete: bool = False
    max_page_count: int | None = None
    busy_timeout: float = 10.0
    readers: int = 32
    hold_reads: float = 0.02
    chunk_size: int = 1 << 20
    batch_max_items: int = 1024
    batch_max_bytes: int = 8 << 20
    linger: float = 0.0
    touch: Touch = "lazy"
    touch_interval: float = 5.0
    touch_max: int = 10_000
    policy: Policy | None = None
    vfs: str | None = None

    def __post_init__(self) -> None:
        _one_of("durability", self.durability, Durability)
        _one_of("synchronous", self.synchronous, Synchronous)
        _one_of("auto_vacuum", self.auto_vacuum, AutoVacuum)
        _one_of("touch", self.touch, Touch)
        _one_of("policy", self.policy, Policy)
        if self.journal_mode is not None:
            _one_of("journal_mode", self.journal_mode.lower(), JournalMode)
        size = self.page_size
        if size is not None and (not 512 <= size <= 65536 or size & (size - 1)):
            raise _wrong("page_size", f"{size} is not a power of two from 512 to 65536")
        for name in ("readers", "chunk_size", "batch_max_items", "batch_max_bytes", "touch_max"):
            _at_least(name, getattr(self, name), 1)
        for name in ("busy_timeout", "linger", "hold_reads", "touch_interval"):
            value = getattr(self, name)
            if not 0 <= value <= LONGEST:
                raise _wrong(name, f"{value} is not from 0 to {LONGEST} seconds")
        for name in ("mmap_size", "wal_autocheckpoint", "max_page_count"):
            _at_least(name, getattr(self, name), 0)
        if not isinstance(self.secure_delete, bool):
            raise _wrong("secure_delete", f"{self.secure_delete!r} is neither True nor False")
        if self.chunk_size > 1 << 29:
            raise _wrong("chunk_size", "SQLite cannot be relied upon for values above 512 MiB")

    @property
    def synchronous_level(self) -> Synchronous:
        """SQLite's setting."""
        return self.synchronous or SYNCHRONOUS[self.durability]


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveOptions:
    """What is in force, read back from SQLite; sizes in bytes."""

    synchronous: Synchronous
    page_size: int
    auto_vacuum: AutoVacuum
    journal_mode: str
    mmap_size: int
    cache_size: int
    journal_size_limit: int
    wal_autocheckpoint: int
    secure_delete: bool
    max_page_count: int
    policy: Policy


def _wrong(name: str, why: str) -> ConfigError:
    error = ConfigError(f"{name}: {why}")
    error.key = name
    return error


def _one_of(name: str, value: object, kind: object) -> None:
    if value is not None and value not in get_args(kind):
        raise _wrong(name, f"{value!r} is not one of {', '.join(map(repr, get_args(kind)))}")


def _at_least(name: str, value: float | None, least: int) -> None:
    if value is not None and value < least:
        raise _wrong(name, f"{value} is less than {least}")


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


@dataclass(frozen=True, slots=True)
class Evicted:
    """A blob that had to go: its name, and its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a check found. All counts are 0 in a store that is whole.

    Attributes:
        problems: one sentence for each thing that is wrong, those of SQLite's own check included.
        bytes_off: how far the payload total is from the sum of the blobs, in bytes.
        items_off: how far the count of blobs is from their number.
        broken: blobs without all their bytes.
        stray_chunks: chunks that belong to no blob.
        stray_parts: parts that belong to no blob.
        repaired: whether all of this was mended. What SQLite's own check finds cannot be.
    """

    problems: tuple[str, ...] = ()
    bytes_off: int = 0
    items_off: int = 0
    broken: tuple[str, ...] = ()
    stray_chunks: int = 0
    stray_parts: int = 0
    repaired: bool = False

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What came of an import.

    Attributes:
        blobs: how many were copied.
        bytes: their payload.
        skipped: why the others were not, one sentence each.
    """

    blobs: int
    bytes: int
    skipped: tuple[str, ...]
