"""The store: everything its users see, on top of what reads and what writes."""

from __future__ import annotations

import contextlib
import operator
import os
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, SupportsIndex, cast

from ltxcore.blob_store import _check, _importer, _names
from ltxcore.blob_store._batch import Batch
from ltxcore.blob_store._check import Report
from ltxcore.blob_store._engine import Engine
from ltxcore.blob_store._eviction import Evicted
from ltxcore.blob_store._importer import Imported
from ltxcore.blob_store._mapping import MappingFace
from ltxcore.blob_store._options import Options
from ltxcore.blob_store._paths import BlobPath
from ltxcore.blob_store._readers import snapshot
from ltxcore.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import StrPath


#: What SQLite can count to.
MAX_CAPACITY = (1 << 63) - 1
#: Payload that a shared store in memory can hold, in bytes: SQLite ends its "memdb" files at 1 GiB, pages without payload
#: included, and only a program that configures SQLite before its first use could change that.
SHARED_MEMORY = 1000 << 20


class BlobStore(MappingFace):
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
            else f"file:/ltxcore-blob-{_names.check(shared_name).encode().hex()}?vfs=memdb"
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
        self._bind(engine)
        # At interpreter exit the runtime closes it, in its turn.
        weakref.finalize(self, engine.close).atexit = False

    # --- changes that belong together ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def batch(self) -> Iterator[Batch]:
        """Collect changes, and make all of them or none when the block ends; none after an error in it."""
        collected = Batch()
        yield collected
        if collected.actions:
            self._engine.writer.call(collected.run, collected.weight)
            self._stats.puts += collected.puts
            self._stats.bytes_in += collected.weight

    # --- the store -------------------------------------------------------------------------------------------------

    @property
    def capacity(self) -> int | None:
        """Payload bytes that the store may hold; None without a bound. A lower one takes effect at once."""
        return super().capacity

    @capacity.setter
    def capacity(self, value: int | None) -> None:
        bound = check_capacity(value, SHARED_MEMORY if self._engine.is_shared_memory else None)
        self._engine.writer.call(lambda transaction: transaction.set_capacity(bound))

    def check(self, *, repair: bool = False) -> Report:
        """Compare the tables with one another and with SQLite's own check, and mend what can be mended.

        With ``repair``, totals are counted anew, blobs without all their bytes are removed, and bytes that belong to
        nothing too.
        """
        if repair:
            with self._engine.writer.connection() as connection:
                return _check.repair(connection)
        with self._snapshot() as connection:
            return _check.check(connection)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        with snapshot(self._pool) as cursor:
            yield cursor.connection

    def vacuum(self, pages: int | None = None) -> int:
        """Give free pages back to the file system; how many.

        Args:
            pages: how many at most. A file without incremental vacuum gives back all or none, and is written anew.

        Raises:
            ValueError: ``pages`` is negative.
        """
        with self._engine.writer.connection() as connection:
            return _check.vacuum(connection, pages)

    def flush(self) -> None:
        """Wait until all that was put is committed, and the uses of blobs are noted."""
        self._engine.writer.flush()

    def import_original(self, path: StrPath) -> Imported:
        """Copy all blobs of a database with the original tables (``blob``, ``blob_meta``, ``setting``).

        They keep their order of use. What such a database can hold and a store cannot, is skipped and counted.
        """
        return _importer.copy(Path(path), self)

    def blob(self, name: str) -> BlobPath:
        """A blob, or a directory of them, as an object with the methods of a path."""
        return BlobPath(self, name)

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


def check_capacity(capacity: SupportsIndex | None, largest: int | None = None) -> int | None:
    """A capacity that can work; ``largest`` is how much such a store can hold.

    Raises:
        ConfigError: it is no whole number, not positive, or too large.
    """
    if capacity is None:
        return None
    # True would be one byte, and 1.5 too: too little to be what was meant, and all would be evicted for it.
    if not isinstance(capacity, bool):
        with contextlib.suppress(TypeError):
            if 0 < (value := operator.index(capacity)) <= (largest or MAX_CAPACITY):
                return value
            if largest is not None and value > largest:
                raise ConfigError(
                    f"capacity: {value} bytes, but a shared store in memory holds at most {largest}",
                    hint="use a file, or BlobStore.memory() without shared_name",
                )
    raise ConfigError(f"capacity: {capacity!r} is not a positive number of bytes", hint="None is no bound")
