"""How a store is set up: what may be asked for, and that it was really done."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Literal, get_args

from ltxcore.blob_store._failures import option_mismatch
from ltxcore.errors import ConfigError

Durability = Literal["cache", "normal", "durable"]
Synchronous = Literal["off", "normal", "full", "extra"]
JournalMode = Literal["wal", "delete", "truncate", "persist", "memory"]
AutoVacuum = Literal["none", "full", "incremental"]
Touch = Literal["lazy", "exact", "off"]
Policy = Literal["lru", "fifo", "lfu", "none"]

#: What each durability means to SQLite.
SYNCHRONOUS: dict[Durability, Synchronous] = {"cache": "off", "normal": "normal", "durable": "full"}
#: What a new file gets where nothing is asked for.
NEW_PAGE_SIZE = 4096
#: Seconds; SQLite counts milliseconds in 32 bits.
LONGEST = 2_000_000
_SYNCHRONOUS_NUMBERS: tuple[Synchronous, ...] = get_args(Synchronous)
_AUTO_VACUUM_NUMBERS: tuple[AutoVacuum, ...] = get_args(AutoVacuum)


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
        raise _wrong(name, f"{value!r} is none of {', '.join(map(repr, get_args(kind)))}")


def _at_least(name: str, value: float | None, least: int) -> None:
    if value is not None and value < least:
        raise _wrong(name, f"{value} is less than {least}")


def pragma(connection: sqlite3.Connection, name: str, value: object = None) -> int | str | None:
    """Ask for a setting, or make it and return what SQLite says it is now."""
    statement = f"PRAGMA {name}" if value is None else f"PRAGMA {name}={value}"
    row = connection.execute(statement).fetchone()
    return None if row is None else row[0]


def prepare_file(connection: sqlite3.Connection, options: Options) -> None:
    """What must be said before the first table is made, and before WAL; without effect on a file that has one."""
    pragma(connection, "page_size", options.page_size or NEW_PAGE_SIZE)
    pragma(connection, "auto_vacuum", options.auto_vacuum or "incremental")


def verify_file(connection: sqlite3.Connection, options: Options) -> None:
    """Compare what the file is with what was asked for.

    Raises:
        OptionMismatchError: the file was made otherwise, and only VACUUM could change it.
    """
    if options.page_size is not None:
        _same("page_size", options.page_size, pragma(connection, "page_size"))
    if options.auto_vacuum is not None:
        _same("auto_vacuum", options.auto_vacuum, auto_vacuum(connection))


def verify_journal_mode(connection: sqlite3.Connection, options: Options) -> None:
    """Compare how transactions are made safe with what was asked for, where that cannot be changed.

    Raises:
        OptionMismatchError: it is another.
    """
    if options.journal_mode is not None:
        _same("journal_mode", options.journal_mode, pragma(connection, "journal_mode"))


def auto_vacuum(connection: sqlite3.Connection) -> AutoVacuum:
    """How the file gives space back."""
    return _AUTO_VACUUM_NUMBERS[int(pragma(connection, "auto_vacuum") or 0)]


def set_journal_mode(connection: sqlite3.Connection, mode: str) -> None:
    """Change how transactions are made safe.

    Raises:
        OptionMismatchError: SQLite keeps another one, as it does for a database in memory.
    """
    _same("journal_mode", mode, pragma(connection, "journal_mode", mode))


def set_connection(connection: sqlite3.Connection, options: Options) -> None:
    """Settings that every connection needs for itself, each read back.

    Raises:
        OptionMismatchError: SQLite did otherwise.
    """
    pragma(connection, "synchronous", options.synchronous_level)
    number = int(pragma(connection, "synchronous") or 0)
    _same("synchronous", options.synchronous_level, _SYNCHRONOUS_NUMBERS[number])
    pragma(connection, "recursive_triggers", 1)
    _same(
        "secure_delete",
        options.secure_delete,
        bool(pragma(connection, "secure_delete", int(options.secure_delete))),
    )
    if options.mmap_size is not None:
        # The build's limit is no failure; the effective options tell.
        pragma(connection, "mmap_size", options.mmap_size)
    if options.cache_size is not None:
        pragma(connection, "cache_size", options.cache_size)
        _same("cache_size", options.cache_size, pragma(connection, "cache_size"))
    for name in ("journal_size_limit", "wal_autocheckpoint", "max_page_count"):
        value = getattr(options, name)
        if value is not None:
            _same(name, value, pragma(connection, name, value))


def _same(name: str, requested: object, actual: object) -> None:
    if isinstance(requested, str) and isinstance(actual, str):
        requested, actual = requested.lower(), actual.lower()
    if requested != actual:
        raise option_mismatch(name, requested, actual)


def effective(connection: sqlite3.Connection, policy: Policy) -> EffectiveOptions:
    """Everything as it is now."""

    def number(name: str) -> int:
        return int(pragma(connection, name) or 0)

    return EffectiveOptions(
        synchronous=_SYNCHRONOUS_NUMBERS[number("synchronous")],
        page_size=number("page_size"),
        auto_vacuum=auto_vacuum(connection),
        journal_mode=str(pragma(connection, "journal_mode")),
        mmap_size=number("mmap_size"),
        cache_size=number("cache_size"),
        journal_size_limit=number("journal_size_limit"),
        wal_autocheckpoint=number("wal_autocheckpoint"),
        secure_delete=bool(number("secure_delete")),
        max_page_count=number("max_page_count"),
        policy=policy,
    )
