"""The store: everything that its users see. What it does is done by the parts in the rooms beside it."""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
import weakref
from collections.abc import Callable, ItemsView, Iterator, MutableMapping, ValuesView
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeVar, cast, overload

from ltxcore import _ltxcore
from ltxcore.blob_store import _importer
from ltxcore.blob_store._engine import SHARED_MEMORY, Engine, check_capacity
from ltxcore.blob_store._files.paths import BlobPath
from ltxcore.blob_store._files.reading import BlobReads
from ltxcore.blob_store._files.writing import BlobWriter, StagedBlob, copy_source
from ltxcore.blob_store._process.connections import reading, snapshot
from ltxcore.blob_store._sql import check, queries
from ltxcore.blob_store._sql.transaction import Put, compose, get_or_put, pop, pop_first
from ltxcore.blob_store._values import (
    BlobStat,
    EffectiveOptions,
    Evicted,
    Imported,
    Options,
    Report,
    Stats,
    Tags,
    TagValue,
    Usage,
    as_bytes,
    check_name,
    encode_tags,
)
from ltxcore.blob_store._writer.requests import Batch
from ltxcore.errors import BlobTooLargeError, ConfigError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from _typeshed import ReadableBuffer, StrPath, SupportsRead, WriteableBuffer

D = TypeVar("D")
_MISSING = object()


class BlobStore(MutableMapping[str, bytes]):
    """Named byte strings in one SQLite file, bounded in size: a cache, or a store of chunks.

    A mapping of names to bytes, for any number of threads, and for several processes. What :meth:`put` has returned from is
    committed. Whatever is written at the same time shares a transaction. When the payload exceeds the capacity, the
    blobs that were not used for the longest time go, in the same transaction, so that no commit ever exceeds it.

    Args:
        path: the file. It is made if it is not there, unless ``create`` is false.
        capacity: payload bytes to hold at most; None for no bound; ``"keep"`` for what the file says, which for a
            new one is no bound. A lower one than before takes effect at once.
        options: how the file is set up and used.
        create: whether a file that is not there is made, and one that is empty becomes a store.
        readonly: whether nothing is to be written, not even that blobs were read.
        on_evict: called with every blob that had to go, after the commit, in a thread of its own.

    Raises:
        NotABlobStoreError: the file is something else.
        OptionMismatchError: the file, or SQLite, is not as ``options`` ask for.
        ConfigError: an option, the path or the capacity cannot work.
        FileNotFoundError: the file or its directory is not there.
    """

    def __init__(
        self,
        path: StrPath,
        *,
        capacity: int | Literal["keep"] | None = "keep",
        options: Options | None = None,
        create: bool = True,
        readonly: bool = False,
        on_evict: Callable[[Evicted], None] | None = None,
    ) -> None:
        text = os.fspath(path)
        if not text or text == ":memory:":
            raise ConfigError("a blob store needs a path", hint="BlobStore.memory() makes one in memory")
        if "\0" in text:
            raise ConfigError(f"{text!r}: a path cannot hold a NUL character")
        self._start(
            Engine(
                Path(text).absolute(),
                None,
                options or Options(),
                create=create,
                readonly=readonly,
                on_evict=on_evict,
            ),
            capacity,
        )

    @classmethod
    def memory(
        cls,
        *,
        capacity: int | Literal["keep"] | None = "keep",
        shared_name: str | None = None,
        options: Options | None = None,
        on_evict: Callable[[Evicted], None] | None = None,
    ) -> Self:
        """A store in memory, gone when it is closed.

        Args:
            capacity: as for a file.
            shared_name: stores of this process with the same name are the same store, until all are closed. Without,
                each has its own.
            options: as for a file.
            on_evict: as for a file.
        """
        if options is not None and options.vfs is not None:
            raise ConfigError("vfs: a store in memory has no files")
        if shared_name is not None and capacity != "keep":
            check_capacity(capacity, SHARED_MEMORY)
        uri = (
            None
            if shared_name is None
            else f"file:/ltxcore-blob-{check_name(shared_name).encode().hex()}?vfs=memdb"
        )
        self = cls.__new__(cls)
        engine = Engine(None, uri, options or Options(), create=True, readonly=False, on_evict=on_evict)
        self._start(engine, capacity)
        return self

    def _start(self, engine: Engine, capacity: int | Literal["keep"] | None) -> None:
        try:
            sets = capacity != "keep"
            bound = check_capacity(cast("int | None", capacity)) if sets else None
            if engine.can_write or sets:
                engine.start(bound, set_capacity=sets)
        except BaseException:
            engine.close()
            raise
        self._engine = engine
        self._pool = engine.pool
        self._stats = engine.stats
        notes_use = engine.can_write and engine.options.touch != "off"
        self._reads = BlobReads(
            engine.pool, engine.stats, engine.open_files, engine.writer if notes_use else None
        )
        # At interpreter exit the runtime closes it, in its turn.
        weakref.finalize(self, engine.close).atexit = False

    # --- one blob, read ---------------------------------------------------------------------------------------------------

    @overload
    def get(self, name: str) -> bytes | None: ...
    @overload
    def get(self, name: str, default: D) -> bytes | D: ...
    def get(self, name: str, default: object = None) -> object:
        """The bytes of a blob, or ``default``.

        Args:
            name: which blob.
            default: what to return if there is none.

        Raises:
            StoreBusyError: no reader was free in time.
            StoreClosedError: the store is closed.
        """
        return self._reads.get(name, default)

    def __getitem__(self, name: str) -> bytes:
        found = self._reads.get(name)
        if found is None:
            raise queries.not_found(name)
        return cast(bytes, found)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of a blob; fewer if it ends before.

        Args:
            name: which blob.
            offset: of the first byte.
            length: bytes at most.

        Raises:
            BlobNotFoundError: there is no such blob.
            ValueError: ``offset`` or ``length`` is negative.
        """
        whole = io.BytesIO()
        self._reads.read_range(name, offset, length, whole.write)
        return whole.getvalue()

    def readinto(self, name: str, buffer: WriteableBuffer, offset: int = 0) -> int:
        """Fill a buffer with bytes of a blob from ``offset`` on; how many there were. Errors as of :meth:`read_range`."""
        view, done = memoryview(buffer).cast("B"), 0

        def fill(piece: bytes) -> None:
            nonlocal done
            view[done : done + len(piece)] = piece
            done += len(piece)

        return self._reads.read_range(name, offset, len(view), fill)

    def open_chunks(self, prefix: str, *, size: int | None = None) -> io.BufferedReader:
        """Read blobs that are named ``prefix`` and a decimal offset as one file.

        That they follow one another without a gap is proved before the first byte is read, and nothing that is written
        meanwhile changes what is read.

        Args:
            prefix: what their names start with.
            size: bytes that there have to be. Without, a missing tail cannot be noticed.

        Raises:
            ChunkGapError: one is missing, or there is none at all.
            SizeMismatchError: there is more than ``size``.
            BlobNameError: a name does not end with an offset.
        """
        return self._reads.open_chunks(prefix, size, self)

    def read_consecutive_chunks(self, prefix: str, *, size: int | None = None) -> bytes:
        """As :meth:`open_chunks`, all of it at once."""
        with self.open_chunks(prefix, size=size) as file:
            return file.read()

    def stat(self, name: str) -> BlobStat:
        """What is known of a blob. To ask does not count as use.

        Raises:
            BlobNotFoundError: there is no such blob.
        """
        with reading(self._pool) as cursor:
            return queries.stat(cursor, name)

    def tags(self, name: str) -> dict[str, TagValue]:
        """A blob's tags."""
        return self.stat(name).tags

    # --- one blob, written ------------------------------------------------------------------------------------------------

    def put(self, name: str, data: ReadableBuffer, *, tags: Tags | None = None) -> None:
        """Store a blob, in place of the one that has the name. Returns when it is committed.

        Args:
            name: 1 to 32,768 bytes of UTF-8, without NUL.
            data: its bytes.
            tags: what else to keep with it; replaces the tags that were there.

        Raises:
            BlobTooLargeError: it has more bytes than the capacity. Nothing was evicted for it.
            BlobNameError: no blob can have this name.
            StoreFullError: there is no space left.
        """
        payload = as_bytes(data)
        if len(payload) > self._engine.options.batch_max_bytes:
            self._put_long(name, payload, tags)
        else:
            action = Put(check_name(name), payload, encode_tags(tags))
            self._engine.writer.call(action, len(payload))
        self._count_put(len(payload))

    def put_nowait(self, name: str, data: ReadableBuffer, *, tags: Tags | None = None) -> Future[None]:
        """As :meth:`put`, without waiting for the commit: the future does.

        It waits only if 64 MiB (8 times ``batch_max_bytes``) are under way already. What is called when the future is
        done may use the store, but is called by the thread that tells all futures: it must not wait for another one.
        """
        payload = as_bytes(data)
        payload = payload if isinstance(payload, bytes) else bytes(payload)
        action = Put(check_name(name), payload, encode_tags(tags))
        self._count_put(len(payload))
        return self._engine.writer.submit(action, len(payload)).future

    def _put_long(self, name: str, data: bytes | memoryview, tags: Tags | None) -> None:
        """In several transactions, so that others need not wait for all of it."""
        with self._writer_of(name, len(data), tags) as file:
            file.write(data)

    def _count_put(self, size: int) -> None:
        self._stats.puts += 1
        self._stats.bytes_in += size

    def put_sized(
        self, name: str, source: SupportsRead[bytes], size: int, *, tags: Tags | None = None
    ) -> None:
        """Store what a source yields, which has to be exactly ``size`` bytes.

        The source is read outside of any transaction: however slow it is, and whatever it does with the store itself,
        nobody waits for it. Memory is two chunks.

        Raises:
            SizeMismatchError: it yields more or less. Nothing is stored.
            BlobTooLargeError: ``size`` exceeds the capacity; the source is not read.
        """
        if size < 0:
            raise ValueError(f"there is no size {size}")
        with self._writer_of(name, size, tags) as file:
            copy_source(source, file, name, size, self._engine.options.chunk_size)
        self._count_put(size)

    def put_file(self, name: str, path: StrPath, *, tags: Tags | None = None) -> None:
        """Store the content of a file.

        Raises:
            OSError: the file cannot be read.
            SizeMismatchError: it grows or shrinks meanwhile. Nothing is stored.
        """
        # Not by open(): the file may be a database that a connection of this process has open.
        with contextlib.closing(_ltxcore.FileReader(path)) as file:
            self.put_sized(name, file, file.size, tags=tags)

    def _writer_of(
        self, name: str, size: int | None, tags: Tags | None = None, *, exclusive: bool = False
    ) -> BlobWriter:
        check_name(name)
        writer = self._engine.writer
        if size is not None:
            bound = self.capacity
            if bound is not None and size > bound:
                raise BlobTooLargeError(f"{name!r} has {size} bytes, and the store a capacity of {bound}")
        target = StagedBlob(writer, name, encode_tags(tags), str(self._engine.owner), exclusive=exclusive)
        return BlobWriter(name, target, self._engine.options.chunk_size, size)

    @overload
    def open(self, name: str, mode: Literal["rb"] = "rb") -> io.BufferedReader: ...
    @overload
    def open(self, name: str, mode: Literal["r+b"]) -> io.BufferedRandom: ...
    @overload
    def open(
        self, name: str, mode: Literal["wb", "xb"], *, size: int | None = None, tags: Tags | None = None
    ) -> BlobWriter: ...
    def open(
        self,
        name: str,
        mode: Literal["rb", "r+b", "wb", "xb"] = "rb",
        *,
        size: int | None = None,
        tags: Tags | None = None,
    ) -> io.BufferedReader | io.BufferedRandom | BlobWriter:
        """Open a blob as a file.

        Args:
            name: which blob.
            mode: ``"rb"`` reads what the blob is now, whatever happens to it later (over WAL); ``"wb"`` and ``"xb"``
                write one that appears, whole, when it is closed, and never after an error in the ``with`` block;
                ``"xb"`` refuses to replace one; ``"r+b"`` changes bytes in place, each write for itself, and keeps the
                size.
            size: bytes that will be written.
            tags: what to keep with the blob that is written.

        Raises:
            BlobNotFoundError: there is none to be read.
            BlobExistsError: there is one, and the mode is ``"xb"``.
        """
        match mode:
            case "rb":
                return self._reads.open(name, self)
            case "wb" | "xb":
                if mode == "xb" and name in self:
                    self._engine.writer.call(lambda transaction: transaction.refuse_existing(name))
                self._count_put(0)
                return self._writer_of(name, size, tags, exclusive=mode == "xb")
            case "r+b":
                return self._reads.open_updater(name, self._engine.writer, self)
        raise ValueError(f"mode must be one of rb, r+b, wb, xb: {mode!r}")

    def write_at(self, name: str, offset: int, data: ReadableBuffer) -> None:
        """Change bytes of a blob in place; its size stays.

        Raises:
            BlobNotFoundError: there is no such blob.
            ValueError: the range reaches beyond its end, or ``offset`` is negative.
        """
        if offset < 0:
            raise ValueError(f"there is no offset {offset}")
        payload = memoryview(as_bytes(data))
        self._engine.writer.call(
            lambda transaction: transaction.write_at(check_name(name), offset, payload), len(payload)
        )

    def delete(self, name: str, *, missing_ok: bool = False) -> None:
        """Remove a blob.

        Raises:
            BlobNotFoundError: there is none, and ``missing_ok`` is false.
        """
        check_name(name)
        self._engine.writer.call(lambda transaction: transaction.delete(name, missing_ok))
        self._stats.deletes += 1

    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Give a blob another name.

        Raises:
            BlobNotFoundError: there is no blob ``source``.
            BlobExistsError: there is a blob ``target``, and ``overwrite`` is false.
        """
        check_name(source)
        check_name(target)
        self._engine.writer.call(lambda transaction: transaction.rename(source, target, overwrite))

    def set_tags(self, name: str, tags: Tags | None) -> None:
        """Replace a blob's tags, without changing it.

        Raises:
            BlobNotFoundError: there is no such blob.
        """
        check_name(name)
        encoded = encode_tags(tags)
        self._engine.writer.call(lambda transaction: transaction.set_tags(name, encoded))

    def blob(self, name: str) -> BlobPath:
        """A blob, or a directory of them, as an object with the methods of a path."""
        return BlobPath(self, name)

    # --- many blobs -------------------------------------------------------------------------------------------------------

    def list(self, prefix: str = "", *, after: str | None = None, limit: int | None = None) -> Iterator[str]:
        """Names that start with ``prefix``, in the order of their UTF-8 bytes.

        Args:
            prefix: what they start with.
            after: only those behind this one, which need not exist: where an earlier listing stopped.
            limit: how many at most.

        What is written while the listing goes on may be in it or not; every other name is, once.

        Raises:
            BlobNameError: no name can start with this, or be this.
        """
        yield from queries.list_names(self._reading, prefix, after, limit)

    def iterdir(self, directory: str = "") -> Iterator[str]:
        """Names directly in a directory, if names are taken for paths with ``/``.

        Names of blobs come as they are. A directory, which exists as long as something is in it, comes once, with a
        ``/`` at its end; what is in it is not looked at.
        """
        yield from queries.list_directory(self._reading, directory)

    def delete_prefix(self, prefix: str) -> int:
        """Remove all blobs whose names start with ``prefix``; how many there were."""
        check_name(prefix)
        return self._engine.writer.call(lambda transaction: transaction.delete_prefix(prefix))

    def rename_prefix(self, old: str, new: str) -> int:
        """Replace the start of names, of all or of none; how many there were.

        Raises:
            BlobExistsError: one of the new names is taken.
        """
        check_name(old)
        return self._engine.writer.call(lambda transaction: transaction.rename_prefix(old, new))

    def compose(self, target: str, prefix: str, *, size: int | None = None, delete: bool = True) -> int:
        """Make one blob of those that are named ``prefix`` and a decimal offset; its size in bytes.

        Unless they are kept, the chunks are taken over where they are, and their bytes not even read.

        Args:
            target: the name of the whole.
            prefix: what the names of the chunks start with.
            size: bytes that the whole has to have. Without, a missing tail cannot be noticed.
            delete: whether the chunks go.

        Raises:
            ChunkGapError: one is missing, or there is none at all.
            SizeMismatchError: there is more than ``size``.
            BlobNameError: a name does not end with an offset.
        """
        check_name(target)
        return self._engine.writer.call(
            lambda transaction: compose(transaction, target, prefix, size, remove=delete)
        )

    @contextlib.contextmanager
    def batch(self) -> Iterator[Batch]:
        """Collect changes, and make all of them or none when the block ends; none after an error in it."""
        collected = Batch()
        yield collected
        if collected.actions:
            self._engine.writer.call(collected.run, collected.weight)
            self._stats.puts += collected.puts
            self._stats.bytes_in += collected.weight

    def import_original(self, path: StrPath) -> Imported:
        """Copy all blobs of a database with the original tables (``blob``, ``blob_meta``, ``setting``).

        They keep their order of use. What such a database can hold and a store cannot, is skipped and counted.
        """
        return _importer.copy(
            Path(path), lambda name, data, tags: self.put_nowait(name, data, tags=tags), self.capacity
        )

    # --- as a mapping -----------------------------------------------------------------------------------------------------

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        try:
            with reading(self._pool) as cursor:
                return queries.exists(cursor, name)
        except UnicodeEncodeError:
            return False

    def __len__(self) -> int:
        with reading(self._pool) as cursor:
            return queries.count(cursor)

    def __bool__(self) -> bool:
        # A store without blobs is a store.
        return True

    def __iter__(self) -> Iterator[str]:
        return self.list()

    def __setitem__(self, name: str, data: ReadableBuffer) -> None:
        self.put(name, data)

    def __delitem__(self, name: str) -> None:
        self.delete(name)

    def clear(self) -> None:
        """Remove all blobs."""
        self._engine.writer.call(lambda transaction: transaction.delete_prefix(""))

    @overload
    def pop(self, name: str) -> bytes: ...
    @overload
    def pop(self, name: str, default: D) -> bytes | D: ...
    def pop(self, name: str, default: object = _MISSING) -> object:
        """Remove a blob; its bytes, or ``default``. Of several that do this at once, one gets them.

        Raises:
            BlobNotFoundError: there is none, and no ``default``.
        """
        check_name(name)
        found = self._engine.writer.call(lambda transaction: pop(transaction, name))
        if found is not None:
            self._count_popped(found)
            return found
        self._stats.misses += 1
        if default is _MISSING:
            raise queries.not_found(name)
        return default

    def popitem(self) -> tuple[str, bytes]:
        """Remove the blob with the lowest name; name and bytes.

        Raises:
            KeyError: there is none.
        """
        found = self._engine.writer.call(pop_first)
        if found is None:
            raise KeyError("the store is empty")
        self._count_popped(found[1])
        return found

    def _count_popped(self, data: bytes) -> None:
        self._stats.deletes += 1
        self._stats.hits += 1
        self._stats.bytes_out += len(data)

    def setdefault(self, name: str, default: ReadableBuffer) -> bytes:
        """The bytes of a blob; if there is none, ``default``, which is stored then."""
        found = self.get(name)
        if found is not None:
            return found
        data = bytes(as_bytes(default))
        kept, is_new = self._engine.writer.call(
            lambda transaction: get_or_put(transaction, name, data), len(data)
        )
        if is_new:
            self._count_put(len(data))
        return kept

    def items(self) -> ItemsView[str, bytes]:
        """Names and bytes. What goes while this is looked through is left out."""
        return _Items(self)

    def values(self) -> ValuesView[bytes]:
        """Bytes, likewise."""
        return _Values(self)

    # --- the store --------------------------------------------------------------------------------------------------------

    @property
    def capacity(self) -> int | None:
        """Payload bytes that the store may hold; None without a bound. A lower one takes effect at once."""
        with reading(self._pool) as cursor:
            return queries.capacity(cursor)

    @capacity.setter
    def capacity(self, value: int | None) -> None:
        bound = check_capacity(value, SHARED_MEMORY if self._engine.is_shared_memory else None)
        self._engine.writer.call(lambda transaction: transaction.set_capacity(bound))

    @property
    def options(self) -> Options:
        """What was asked for."""
        return self._engine.options

    @property
    def effective_options(self) -> EffectiveOptions:
        """What is in force, as SQLite says."""
        return self._engine.effective

    def usage(self) -> Usage:
        """How large the store is."""
        with reading(self._pool) as cursor:
            return queries.usage(cursor.connection, self._engine.path)

    def stats(self) -> Stats:
        """What was done since the store was opened, by this process."""
        counts = self._stats.copy()
        counts.open_readers = len(self._engine.open_files)
        counts.queue_depth = self._engine.writer.depth() if self._engine.can_write else 0
        return counts

    def check(self, *, repair: bool = False) -> Report:
        """Compare the tables with one another and with SQLite's own check, and mend what can be mended.

        With ``repair``, totals are counted anew, blobs without all their bytes are removed, and bytes that belong to
        nothing too.
        """
        if repair:
            with self._engine.writer.connection() as connection:
                return check.repair(connection)
        with self._snapshot() as connection:
            return check.check(connection)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        with snapshot(self._pool) as cursor:
            yield cursor.connection

    def _reading(self) -> contextlib.AbstractContextManager[sqlite3.Cursor]:
        return reading(self._pool)

    def vacuum(self, pages: int | None = None) -> int:
        """Give free pages back to the file system; how many.

        Args:
            pages: how many at most. A file without incremental vacuum gives back all or none, and is written anew.

        Raises:
            ValueError: ``pages`` is negative.
        """
        with self._engine.writer.connection() as connection:
            return check.vacuum(connection, pages)

    def flush(self) -> None:
        """Wait until all that was put is committed, and the uses of blobs are noted."""
        self._engine.writer.flush()

    def close(self, timeout: float | None = None) -> None:
        """Write what waits, invalidate blobs that are open for reading, let go of the file. Closing twice is nothing.

        Args:
            timeout: seconds to wait at most.

        Raises:
            StoreBusyError: it takes longer.
        """
        self._engine.close(timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self._engine.path or "in memory"
        return f"<{type(self).__name__} {where}>"


class _Items(ItemsView[str, bytes]):
    _mapping: BlobStore

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for name in self._mapping:
            data = self._mapping.get(name)
            if data is not None:
                yield name, data


class _Values(ValuesView[bytes]):
    _mapping: BlobStore

    def __iter__(self) -> Iterator[bytes]:
        for _, data in self._mapping.items():
            yield data

    def __contains__(self, data: object) -> bool:
        return any(found == data for found in self)
