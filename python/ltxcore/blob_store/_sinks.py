"""From a stream into the store, outside of any transaction but the short ones that take a chunk each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltxcore.blob_store._blob_writer import BlobWriter
from ltxcore.blob_store._failures import size_mismatch
from ltxcore.blob_store._transaction import Transaction
from ltxcore.blob_store._writer import Writer

if TYPE_CHECKING:
    from _typeshed import SupportsRead


class StoreSink:
    """One blob on its way."""

    def __init__(self, writer: Writer, name: str, tags: str | None, owner: str, *, exclusive: bool) -> None:
        self._writer = writer
        self._name = name
        self._tags = tags
        self._owner = owner
        self._exclusive = exclusive

    def begin(self) -> int:
        """See :class:`_blob_writer.Sink`."""
        return self._writer.call(lambda transaction: transaction.begin_stage(self._owner))

    def append(self, item: int, data: bytes) -> None:
        """See :class:`_blob_writer.Sink`."""
        self._writer.call(lambda transaction: transaction.append_stage(item, data), len(data))

    def publish(self, item: int) -> None:
        """See :class:`_blob_writer.Sink`."""
        self._writer.call(
            lambda transaction: transaction.publish_stage(item, self._name, self._tags, self._exclusive)
        )

    def drop(self, item: int) -> None:
        """See :class:`_blob_writer.Sink`."""
        self._writer.call(lambda transaction: transaction.drop_stage(item))

    def drop_later(self, item: int) -> None:
        """See :class:`_blob_writer.Sink`."""
        self._writer.start_at_once(lambda transaction: transaction.drop_stage(item))

    def put(self, data: bytes) -> None:
        """See :class:`_blob_writer.Sink`."""

        def action(transaction: Transaction) -> None:
            if self._exclusive:
                transaction.refuse_existing(self._name)
            transaction.put(self._name, data, self._tags)

        self._writer.call(action, len(data))


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
