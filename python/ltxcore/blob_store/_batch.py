"""Several changes that happen together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, cast

from ltxcore.blob_store import _names
from ltxcore.blob_store._compose import compose
from ltxcore.blob_store._tags import TagValue, encode_tags
from ltxcore.blob_store._transaction import Put, Transaction

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Batch:
    """Changes that are made in their order, all of them or none."""

    def __init__(self) -> None:
        self.actions: list[Callable[[Transaction], object]] = []
        self.weight = 0
        self.puts = 0

    def put(self, name: str, data: ReadableBuffer, *, tags: Mapping[str, TagValue] | None = None) -> None:
        """See :meth:`BlobStore.put`. The bytes are copied."""
        _names.check(name)
        payload, encoded = bytes(memoryview(data)), encode_tags(tags)
        self.weight += len(payload)
        self.puts += 1
        self.actions.append(Put(name, payload, encoded))

    def delete(self, name: str, *, missing_ok: bool = False) -> None:
        """See :meth:`BlobStore.delete`."""
        _names.check(name)
        self.actions.append(lambda transaction: transaction.delete(name, missing_ok))

    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """See :meth:`BlobStore.rename`."""
        _names.check(source)
        _names.check(target)
        self.actions.append(lambda transaction: transaction.rename(source, target, overwrite))

    def set_tags(self, name: str, tags: Mapping[str, TagValue] | None) -> None:
        """See :meth:`BlobStore.set_tags`."""
        _names.check(name)
        encoded = encode_tags(tags)
        self.actions.append(lambda transaction: transaction.set_tags(name, encoded))

    def compose(self, target: str, prefix: str, *, size: int | None = None, delete: bool = True) -> None:
        """See :meth:`BlobStore.compose`."""
        _names.check(target)
        self.actions.append(lambda transaction: compose(transaction, target, prefix, size, remove=delete))

    def delete_prefix(self, prefix: str) -> None:
        """See :meth:`BlobStore.delete_prefix`."""
        _names.check(prefix)
        self.actions.append(lambda transaction: transaction.delete_prefix(prefix))

    def run(self, transaction: Transaction) -> None:
        """Make the changes."""
        for are_puts, group in groupby(self.actions, transaction.can_group):
            if are_puts:
                transaction.put_many([cast(Put, action) for action in group])
                continue
            for action in group:
                action(transaction)
