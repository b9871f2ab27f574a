"""The half of a store that writes blobs."""

from __future__ import annotations

import contextlib
import io
import sqlite3
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, overload

from ltxcore import _ltxcore
from ltxcore.blob_store import _names
from ltxcore.blob_store._blob_writer import BlobWriter
from ltxcore.blob_store._chunks import parts_of
from ltxcore.blob_store._compose import compose
from ltxcore.blob_store._reads import Reads
from ltxcore.blob_store._sinks import StoreSink, copy_source
from ltxcore.blob_store._streams import Updater
from ltxcore.blob_store._tags import TagValue, encode_tags
from ltxcore.blob_store._transaction import Put, Transaction
from ltxcore.errors import BlobTooLargeError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from _typeshed import ReadableBuffer, StrPath, SupportsRead

Tags = Mapping[str, TagValue]
Action = Callable[[Transaction], None]


class Writes(Reads):
    """Everything about a store that changes its blobs."""

    # --- one blob ------------------------------------------------------------------------------------------------

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
            action: Action = Put(_names.check(name), payload, encode_tags(tags))
            self._engine.writer.call(action, len(payload))
        self._count_put(len(payload))

    def put_nowait(self, name: str, data: ReadableBuffer, *, tags: Tags | None = None) -> Future[None]:
        """As :meth:`put`, without waiting for the commit: the future does.

        It waits only if 64 MiB (8 times ``batch_max_bytes``) are under way already. What is called when the future is
        done may use the store, but is called by the thread that tells all futures: it must not wait for another one.
        """
        payload = as_bytes(data)
        payload = payload if isinstance(payload, bytes) else bytes(payload)
        action: Action = Put(_names.check(name), payload, encode_tags(tags))
        self._count_put(len(payload))
        return self._engine.writer.start(action, len(payload)).future

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
        _names.check(name)
        writer = self._engine.writer
        if size is not None:
            bound = self.capacity
            if bound is not None and size > bound:
                raise BlobTooLargeError(f"{name!r} has {size} bytes, and the store a capacity of {bound}")
        sink = StoreSink(writer, name, encode_tags(tags), str(self._engine.owner), exclusive=exclusive)
        return BlobWriter(name, sink, self._engine.options.chunk_size, size)

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
                return self._open_reader(name)
            case "wb" | "xb":
                if mode == "xb" and name in self:
                    self._engine.writer.call(lambda transaction: transaction.refuse_existing(name))
                self._count_put(0)
                return self._writer_of(name, size, tags, exclusive=mode == "xb")
            case "r+b":
                return self._open_updater(name)
        raise ValueError(f"{mode!r} is none of the modes rb, r+b, wb, xb")

    def _open_updater(self, name: str) -> io.BufferedRandom:
        writer, found = self._engine.writer, 0

        def locate(cursor: sqlite3.Cursor) -> list[tuple[int, int, int]]:
            nonlocal found
            found, size, parts = self._locate(cursor, name)
            return parts_of(cursor.connection, found, size, parts)

        def write_at(offset: int, data: memoryview) -> None:
            payload = bytes(data)
            writer.call(lambda transaction: transaction.write_at(name, offset, memoryview(payload), found))

        updater = Updater(name, self._pool, locate, self._engine.opened, self._engine.forget)
        updater.write_at = write_at
        updater.store = self
        return io.BufferedRandom(updater)

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
            lambda transaction: transaction.write_at(_names.check(name), offset, payload), len(payload)
        )

    def delete(self, name: str, *, missing_ok: bool = False) -> None:
        """Remove a blob.

        Raises:
            BlobNotFoundError: there is none, and ``missing_ok`` is false.
        """
        _names.check(name)
        self._engine.writer.call(lambda transaction: transaction.delete(name, missing_ok))
        self._stats.deletes += 1

    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Give a blob another name.

        Raises:
            BlobNotFoundError: there is no blob ``source``.
            BlobExistsError: there is a blob ``target``, and ``overwrite`` is false.
        """
        _names.check(source)
        _names.check(target)
        self._engine.writer.call(lambda transaction: transaction.rename(source, target, overwrite))

    def set_tags(self, name: str, tags: Tags | None) -> None:
        """Replace a blob's tags, without changing it.

        Raises:
            BlobNotFoundError: there is no such blob.
        """
        _names.check(name)
        encoded = encode_tags(tags)
        self._engine.writer.call(lambda transaction: transaction.set_tags(name, encoded))

    # --- many blobs ----------------------------------------------------------------------------------------------

    def delete_prefix(self, prefix: str) -> int:
        """Remove all blobs whose names start with ``prefix``; how many there were."""
        _names.check(prefix)
        return self._engine.writer.call(lambda transaction: transaction.delete_prefix(prefix))

    def rename_prefix(self, old: str, new: str) -> int:
        """Replace the start of names, of all or of none; how many there were.

        Raises:
            BlobExistsError: one of the new names is taken.
        """
        _names.check(old)
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
        _names.check(target)
        return self._engine.writer.call(
            lambda transaction: compose(transaction, target, prefix, size, remove=delete)
        )


def as_bytes(data: ReadableBuffer) -> bytes | memoryview:
    """Any buffer as bytes; nothing is copied."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        raise TypeError("a blob is bytes, not str")
    view = memoryview(data)
    return view.cast("B") if view.contiguous else bytes(view)
