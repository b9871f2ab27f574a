"""Blobs as files that are written."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Protocol

from ltxcore.blob_store._failures import size_mismatch
from ltxcore.errors import StoreClosedError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Sink(Protocol):
    """Where a writer's bytes go; see ``_store``."""

    def begin(self) -> int:
        """Start a long blob."""

    def append(self, item: int, data: bytes) -> None:
        """Add a chunk to it."""

    def publish(self, item: int) -> None:
        """Let it appear."""

    def drop(self, item: int) -> None:
        """Give it up."""

    def drop_later(self, item: int) -> None:
        """Give it up, without waiting."""

    def put(self, data: bytes) -> None:
        """Store a blob of one chunk."""


class BlobWriter(io.BufferedIOBase):
    """A blob to be written.

    It appears, whole, when this is closed; after :meth:`abort` or an error in the ``with`` block, or if nobody closes it, it
    never does.
    """

    #: What is stored of it already.
    _item: int | None = None

    def __init__(self, name: str, sink: Sink, chunk_size: int, size: int | None) -> None:
        super().__init__()
        self.name = name
        self._sink = sink
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
            self._item = self._sink.begin()
        self._sink.append(self._item, bytes(self._pending[: self._chunk_size]))
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
            self._sink.put(bytes(self._pending))
        else:
            while self._pending:
                self._stage()
            self._sink.publish(self._item)
        self._is_settled = True

    def abort(self) -> None:
        """Store nothing."""
        item, self._item = self._item, None
        is_settled, self._is_settled = self._is_settled, True
        self._pending.clear()
        super().close()
        if item is not None and not is_settled:
            with contextlib.suppress(StoreClosedError):
                self._sink.drop(item)

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
                    self._sink.drop_later(item)
