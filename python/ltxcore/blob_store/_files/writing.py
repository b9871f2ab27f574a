"""Blobs as files that are written, outside of any transaction but the short ones that take a chunk each."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

from ltxcore.blob_store._sql.queries import size_mismatch
from ltxcore.blob_store._sql.transaction import Transaction
from ltxcore.blob_store._writer.thread import Writer
from ltxcore.errors import StoreClosedError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, SupportsRead


class StagedBlob:
    """What a :class:`BlobWriter` has the writer do: a blob that is stored in several transactions, or in one."""

    def __init__(self, writer: Writer, name: str, tags: str | None, owner: str, *, exclusive: bool) -> None:
        self._writer = writer
        self._name = name
        self._tags = tags
        self._owner = owner
        self._exclusive = exclusive

    def begin(self) -> int:
        """Start a long blob; its id."""
        return self._writer.call(lambda transaction: transaction.begin_stage(self._owner))

    def append(self, item: int, data: bytes) -> None:
        """Add a chunk to it."""
        self._writer.call(lambda transaction: transaction.append_stage(item, data), len(data))

    def publish(self, item: int) -> None:
        """Let it appear."""
        self._writer.call(
            lambda transaction: transaction.publish_stage(item, self._name, self._tags, self._exclusive)
        )

    def drop(self, item: int) -> None:
        """Give it up."""
        self._writer.call(lambda transaction: transaction.drop_stage(item))

    def drop_later(self, item: int) -> None:
        """Give it up, without waiting."""
        self._writer.submit_at_once(lambda transaction: transaction.drop_stage(item))

    def put(self, data: bytes) -> None:
        """Store a blob of one chunk."""

        def action(transaction: Transaction) -> None:
            if self._exclusive:
                transaction.refuse_existing(self._name)
            transaction.put(self._name, data, self._tags)

        self._writer.call(action, len(data))


class BlobWriter(io.BufferedIOBase):
    """A blob to be written.

    It appears, whole, when this is closed; after :meth:`abort` or an error in the ``with`` block, or if nobody closes it, it
    never does.
    """

    #: What is stored of it already.
    _item: int | None = None

    def __init__(self, name: str, target: StagedBlob, chunk_size: int, size: int | None) -> None:
        super().__init__()
        self.name = name
        self._target = target
        self._chunk_size = chunk_size
        self._expected = size
        self._pending = bytearray()
        self._written = 0
        self._is_settled = False

    def writable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Bytes written so far."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return self._written

    def write(self, data: ReadableBuffer) -> int:
        """Add bytes at the end; how many.

        Raises:
            SizeMismatchError: there are more now than were promised.
            BlobTooLargeError: there are more than the capacity. Nothing will be stored.
        """
        if self.closed:
            raise ValueError("write to closed file")
        view = memoryview(data).cast("B")
        if self._expected is not None and self._written + len(view) > self._expected:
            raise size_mismatch(repr(self.name), self._expected, self._written + len(view))
        self._written += len(view)
        try:
            for start in range(0, len(view), self._chunk_size):
                self._pending += view[start : start + self._chunk_size]
                # The last chunk stays, for a blob of exactly one is stored at once.
                if len(self._pending) > self._chunk_size:
                    self._stage()
        except BaseException:
            # Some of it is in and some is not: this can become no blob any more.
            self.abort()
            raise
        return len(view)

    def _stage(self) -> None:
        if self._item is None:
            self._item = self._target.begin()
        self._target.append(self._item, bytes(self._pending[: self._chunk_size]))
        del self._pending[: self._chunk_size]

    def close(self) -> None:
        """Store the blob.

        Raises:
            SizeMismatchError: it has fewer bytes than were promised. Nothing is stored.
            BlobStoreError: it could not be stored.
        """
        if self.closed:
            return
        try:
            if not self._is_settled:
                self._settle()
        except BaseException:
            self.abort()
            raise
        super().close()

    def _settle(self) -> None:
        if self._expected is not None and self._written != self._expected:
            raise size_mismatch(repr(self.name), self._expected, self._written)
        if self._item is None:
            self._target.put(bytes(self._pending))
        else:
            while self._pending:
                self._stage()
            self._target.publish(self._item)
        self._is_settled = True

    def abort(self) -> None:
        """Store nothing."""
        item, self._item = self._item, None
        is_settled, self._is_settled = self._is_settled, True
        self._pending.clear()
        super().close()
        if item is not None and not is_settled:
            with contextlib.suppress(StoreClosedError):
                self._target.drop(item)

    def __exit__(self, *problem: object) -> None:
        if problem and problem[0] is not None:
            self.abort()
        else:
            self.close()

    def __del__(self) -> None:
        # Whoever forgot to close it may have been in the middle.
        if not self.closed:
            item, self._item = self._item, None
            self._is_settled = True
            with contextlib.suppress(Exception):
                super().close()
                if item is not None:
                    self._target.drop_later(item)


def copy_source(source: SupportsRead[bytes], file: BlobWriter, name: str, size: int, step: int) -> None:
    """Copy exactly ``size`` bytes.

    Raises:
        SizeMismatchError: the source has more or fewer.
    """
    left = size
    while left:
        piece = source.read(min(left, step))
        if not piece:
            raise size_mismatch(f"the source of {name!r}", size, size - left)
        if len(piece) > left:
            raise size_mismatch(f"the source of {name!r}", size, size + 1)
        file.write(piece)
        left -= len(piece)
    if source.read(1):
        raise size_mismatch(f"the source of {name!r}", size, size + 1)
