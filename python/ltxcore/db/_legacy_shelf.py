"""Objects of a replica in the v0.3 layout: written once, compared, listed and deleted."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO

from ltxcore._process.times import from_millis, to_millis
from ltxcore.clients._directory import DirectoryStore
from ltxcore.clients._transfer import again, listed, read_full
from ltxcore.errors import ObjectExistsError, ObjectNotFoundError, ReplicaError
from ltxcore.legacy._history import generations_of, history
from ltxcore.legacy._place import place_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ltxcore.clients import ReplicaClient
    from ltxcore.legacy import GenerationInfo
    from ltxcore.stores import ObjectInfo

#: How much of two objects is compared at once, in bytes.
_COMPARED = 1 << 16


class Shelf:
    """The object store of a replica, below its prefix. A request whose error says that it is transient is made again.

    Args:
        client: the replica.
    """

    def __init__(self, client: ReplicaClient) -> None:
        self._client = client
        self.store, self._prefix = place_of(client)
        #: Whether an object has the time that is given to :meth:`write`. Copies of a directory may lose it.
        self.keeps_time = self.store.capabilities.keeps_time or isinstance(self.store, DirectoryStore)

    def init(self) -> None:
        """Connect, and create the directory if it is one."""
        self._client.init()
        self.store.init()

    def check(self) -> None:
        """Raise if the place is not reachable any more, where that can be told for nothing."""
        self._client.change_token()

    def objects(self, prefix: str, *, start: str = "") -> list[ObjectInfo]:
        """What a listing shows, with names below the prefix of the replica."""
        first = self._prefix + start if start else ""
        found = listed(self.store, self._prefix + prefix, first)
        return [dataclasses.replace(each, key=each.key.removeprefix(self._prefix)) for each in found]

    def generations(self) -> list[GenerationInfo]:
        """Everything in the replica."""
        return generations_of(history(self._client))

    def has(self, key: str, size: int) -> bool:
        """Whether there is an object of this name with so many bytes."""
        info = self._info(key)
        return info is not None and info.size == size

    def _info(self, key: str) -> ObjectInfo | None:
        return next((each for each in self.objects(key) if each.key == key), None)

    def write(self, key: str, path: Path, time: int) -> ObjectInfo:
        """Store a file, in place of an older object. ``time`` is in milliseconds since 1970."""
        return self._write(key, path, time, if_absent=False)

    def write_new(self, key: str, path: Path, time: int, *, looks_first: bool) -> ObjectInfo | None:
        """Store a file, unless there is another object of this name already: ``None`` then.

        The same bytes are no other object: an answer may have been lost, or the process killed.

        Args:
            key: the name.
            path: the file.
            time: in milliseconds since 1970.
            looks_first: look for one where the store itself cannot refuse to replace it.
        """
        if self.store.capabilities.creates_if_absent:
            try:
                return self._write(key, path, time, if_absent=True)
            except ObjectExistsError:
                return self._replaced_or_same(key, path, time)
        if looks_first and self._info(key) is not None:
            return self._replaced_or_same(key, path, time)
        return self._write(key, path, time, if_absent=False)

    def _write(self, key: str, path: Path, time: int, *, if_absent: bool) -> ObjectInfo:
        with path.open("rb") as file:

            def request() -> ObjectInfo:
                file.seek(0)
                return self.store.write(self._prefix + key, file, if_absent=if_absent, time=from_millis(time))

            stored = again(request)
            size = file.seek(0, 2)
        if stored.size != size:
            raise ReplicaError(f"the replica stored {stored.size} of {size} bytes of {key}", op="write")
        return stored

    def _replaced_or_same(self, key: str, path: Path, time: int) -> ObjectInfo | None:
        """The object, if it has the bytes of the file. An empty one is left of an upload that was cut, and is replaced."""
        info = self._info(key)
        if info is not None and info.size == 0:
            return self._write(key, path, time, if_absent=False)
        if info is None or info.size != path.stat().st_size:
            return None
        try:
            with path.open("rb") as mine, self.store.open(self._prefix + key) as other:
                return info if _are_same(mine, other) else None
        except ObjectNotFoundError:
            return None

    def delete(self, keys: Iterable[str]) -> dict[str, Exception]:
        """Delete objects; what went wrong, by name."""
        return self.store.delete([self._prefix + key for key in keys])


def _are_same(one: BinaryIO, other: BinaryIO) -> bool:
    while True:
        block = read_full(one, _COMPARED)
        if block != read_full(other, _COMPARED):
            return False
        if not block:
            return True


def now_ms() -> int:
    """The time, in milliseconds since 1970."""
    return to_millis(datetime.now(UTC))
