"""The store as a mapping. What changes it is one transaction each, whatever others do meanwhile."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, MutableMapping, ValuesView
from typing import TYPE_CHECKING, TypeVar, overload

from ltxcore.blob_store import _names
from ltxcore.blob_store._chunks import whole_blob
from ltxcore.blob_store._failures import not_found
from ltxcore.blob_store._transaction import Transaction
from ltxcore.blob_store._writes import Writes, as_bytes

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

D = TypeVar("D")
_MISSING = object()


class MappingFace(Writes, MutableMapping[str, bytes]):
    """The methods of a ``MutableMapping``."""

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
        _names.check(name)
        found = self._engine.writer.call(lambda transaction: take(transaction, name))
        if found is not None:
            self._count_taken(found)
            return found
        self._stats.misses += 1
        if default is _MISSING:
            raise not_found(name)
        return default

    def popitem(self) -> tuple[str, bytes]:
        """Remove the blob with the lowest name; name and bytes.

        Raises:
            KeyError: there is none.
        """
        found = self._engine.writer.call(take_first)
        if found is None:
            raise KeyError("the store is empty")
        self._count_taken(found[1])
        return found

    def _count_taken(self, data: bytes) -> None:
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
            lambda transaction: keep_or_put(transaction, name, data), len(data)
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


class _Items(ItemsView[str, bytes]):
    _mapping: MappingFace

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for name in self._mapping:
            data = self._mapping.get(name)
            if data is not None:
                yield name, data


class _Values(ValuesView[bytes]):
    _mapping: MappingFace

    def __iter__(self) -> Iterator[bytes]:
        for _, data in self._mapping.items():
            yield data

    def __contains__(self, data: object) -> bool:
        return any(found == data for found in self)


def take(transaction: Transaction, name: str) -> bytes | None:
    """The bytes of a blob, if there is one, which is gone then."""
    found = whole_blob(transaction.connection, name)
    transaction.delete(name, missing_ok=True)
    return found


def take_first(transaction: Transaction) -> tuple[str, bytes] | None:
    """The same of the lowest name."""
    row = transaction.execute("SELECT name FROM item ORDER BY name LIMIT 1").fetchone()
    if row is None:
        return None
    found = take(transaction, row[0])
    return None if found is None else (row[0], found)


def keep_or_put(transaction: Transaction, name: str, data: bytes) -> tuple[bytes, bool]:
    """The bytes of a blob, which is stored if there is none; and whether it was."""
    found = whole_blob(transaction.connection, name)
    if found is not None:
        return found, False
    transaction.put(name, data)
    return data, True
