"""Blobs with the methods of a path."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, overload

from ltxcore.blob_store._values import TagValue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import ReadableBuffer

    from ltxcore.blob_store._files.writing import BlobWriter
    from ltxcore.blob_store._store import BlobStore
    from ltxcore.blob_store._values import BlobStat


class BlobPath:
    """A name in a store, whether there is a blob of that name or not. ``/`` goes down, as in :class:`pathlib.Path`."""

    __slots__ = ("full_name", "store")

    def __init__(self, store: BlobStore, full_name: str) -> None:
        self.store = store
        self.full_name = full_name

    def __truediv__(self, part: str) -> BlobPath:
        base = self.full_name.rstrip("/")
        return BlobPath(self.store, f"{base}/{part}" if base else part)

    @property
    def name(self) -> str:
        """The part behind the last ``/``."""
        return self.full_name.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> BlobPath:
        """The part before the last ``/``."""
        return BlobPath(self.store, self.full_name.rstrip("/").rpartition("/")[0])

    def read_bytes(self) -> bytes:
        """The bytes of the blob."""
        return self.store[self.full_name]

    def write_bytes(self, data: ReadableBuffer) -> int:
        """Store the blob; how many bytes."""
        view = memoryview(data)
        self.store.put(self.full_name, view)
        return view.nbytes

    @overload
    def open(self, mode: Literal["rb"] = "rb") -> io.BufferedReader: ...
    @overload
    def open(self, mode: Literal["r+b"]) -> io.BufferedRandom: ...
    @overload
    def open(self, mode: Literal["wb", "xb"]) -> BlobWriter: ...
    def open(
        self, mode: Literal["rb", "r+b", "wb", "xb"] = "rb"
    ) -> io.BufferedReader | io.BufferedRandom | BlobWriter:
        """See :meth:`BlobStore.open`."""
        return self.store.open(self.full_name, mode)

    def exists(self) -> bool:
        """Whether there is such a blob."""
        return self.full_name in self.store

    def is_dir(self) -> bool:
        """Whether there are blobs below."""
        return next(self.store.list(self.full_name.rstrip("/") + "/", limit=1), None) is not None

    def stat(self) -> BlobStat:
        """What is known of it."""
        return self.store.stat(self.full_name)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove it."""
        self.store.delete(self.full_name, missing_ok=missing_ok)

    def rename(self, target: BlobPath | str, *, overwrite: bool = False) -> BlobPath:
        """Give it another name, which is returned."""
        name = target if isinstance(target, str) else target.full_name
        self.store.rename(self.full_name, name, overwrite=overwrite)
        return BlobPath(self.store, name)

    def iterdir(self) -> Iterator[BlobPath]:
        """What is directly below."""
        return (BlobPath(self.store, name) for name in self.store.iterdir(self.full_name))

    @property
    def tags(self) -> dict[str, TagValue]:
        """Its tags."""
        return self.store.tags(self.full_name)

    @tags.setter
    def tags(self, tags: Mapping[str, TagValue] | None) -> None:
        self.store.set_tags(self.full_name, tags)

    def __str__(self) -> str:
        return self.full_name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.full_name!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BlobPath):
            return NotImplemented
        return self.store is other.store and self.full_name == other.full_name

    def __hash__(self) -> int:
        return hash((id(self.store), self.full_name))
