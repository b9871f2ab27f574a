"""What a v0.3 replica holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ltxcore import _ltxcore
from ltxcore._process.times import from_millis, millis_bound
from ltxcore.clients import as_client
from ltxcore.legacy._place import GENERATIONS, find_place, place_of, segment_path, snapshot_path
from ltxcore.legacy._pos import Pos, check_generation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ltxcore.clients import ReplicaClient, Source


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A copy of the database.

    * ``generation``: the history that it is of.
    * ``index``: the WAL file that was in use when it was made.
    * ``size``: its size as it is stored, in bytes.
    * ``created_at``: when it was stored.
    """

    generation: str
    index: int
    size: int
    created_at: datetime

    @property
    def pos(self) -> Pos:
        """From where on WAL segments continue it."""
        return Pos(self.generation, self.index)

    @property
    def path(self) -> str:
        """The name of its file, below the place of the replica."""
        return snapshot_path(self.generation, self.index)


@dataclass(frozen=True, slots=True)
class WALSegmentInfo:
    """A part of a WAL file, which ends with a transaction.

    * ``generation``, ``index``: the history and the WAL file that it is of.
    * ``offset``: where it begins in the WAL file, in bytes.
    * ``size``: its size as it is stored, compressed, in bytes.
    * ``created_at``: when it was stored.
    """

    generation: str
    index: int
    offset: int
    size: int
    created_at: datetime

    @property
    def pos(self) -> Pos:
        """Where it begins."""
        return Pos(self.generation, self.index, self.offset)

    @property
    def path(self) -> str:
        """The name of its file, below the place of the replica."""
        return segment_path(self.generation, self.index, self.offset)


@dataclass(frozen=True, slots=True)
class GenerationInfo:
    """An unbroken history of the database.

    * ``generation``: 16 hexadecimal digits, drawn at random.
    * ``snapshots``, ``segments``: its files, by their positions.
    """

    generation: str
    snapshots: tuple[SnapshotInfo, ...]
    segments: tuple[WALSegmentInfo, ...]

    @property
    def created_at(self) -> datetime:
        """When its first file was stored."""
        return min(self._times())

    @property
    def updated_at(self) -> datetime:
        """When its last file was stored."""
        return max(self._times())

    @property
    def size(self) -> int:
        """Size of all files together, in bytes."""
        return sum(file.size for file in self._files())

    def _times(self) -> Iterator[datetime]:
        return (file.created_at for file in self._files())

    def _files(self) -> Iterator[SnapshotInfo | WALSegmentInfo]:
        yield from self.snapshots
        yield from self.segments


def generations(source: Source) -> list[GenerationInfo]:
    """The generations of a replica in the layout of Litestream 0.3, in the order of their last files. It may have none.

    Args:
        source: the replica: a client, an object store, a URL, or the path of a directory.

    Raises:
        ConfigError: the client of the replica is not one of a directory or an object store.
        ReplicaError: the storage cannot be listed.
    """
    found = generations_of(history(as_client(source)))
    return sorted(found, key=lambda each: (each.updated_at, each.generation))


def snapshots(source: Source, generation: str | None = None) -> list[SnapshotInfo]:
    """The snapshots of a replica in the layout of Litestream 0.3, in the order of their times.

    Args:
        source: the replica: a client, an object store, a URL, or the path of a directory.
        generation: of this generation alone.

    Raises:
        FormatError: ``generation`` is not 16 hexadecimal digits.
        ConfigError: the client of the replica is not one of a directory or an object store.
        ReplicaError: the storage cannot be listed.
    """
    found = [file for each in _wanted(source, generation) for file in each.snapshots]
    return sorted(found, key=lambda file: (file.created_at, file.pos))


def wal_segments(source: Source, generation: str | None = None) -> list[WALSegmentInfo]:
    """The WAL segments of a replica in the layout of Litestream 0.3, by generation and position.

    Args:
        source: the replica: a client, an object store, a URL, or the path of a directory.
        generation: of this generation alone.

    Raises:
        FormatError: ``generation`` is not 16 hexadecimal digits.
        ConfigError: the client of the replica is not one of a directory or an object store.
        ReplicaError: the storage cannot be listed.
    """
    return [file for each in _wanted(source, generation) for file in each.segments]


def _wanted(source: Source, generation: str | None) -> list[GenerationInfo]:
    if generation is not None:
        check_generation(generation)
    found = generations(source)
    return [each for each in found if generation in (None, each.generation)]


def history(client: ReplicaClient) -> _ltxcore.LegacyHistory:
    """Everything that a replica holds, in the form of the native side.

    Raises:
        ConfigError: the client is not made of objects.
        ReplicaError: the storage cannot be listed.
    """
    place_of(client)
    found = find_history(client)
    return _ltxcore.LegacyHistory([]) if found is None else found


def find_history(client: ReplicaClient) -> _ltxcore.LegacyHistory | None:
    """The same; ``None`` if there is nothing. One listing, if the client is made of objects."""
    place = find_place(client)
    if place is None:
        return None
    from ltxcore.clients._transfer import listed  # slow to import

    store, prefix = place
    # Rounded up, so that what was stored after a millisecond is not what was stored at it.
    objects = [
        (info.key.removeprefix(prefix), info.size, millis_bound(info.modified))
        for info in listed(store, f"{prefix}{GENERATIONS}")
        # Other names are none of ours, and may be no text at all.
        if info.key.removeprefix(prefix).isascii()
    ]
    found = _ltxcore.LegacyHistory(objects)
    # Objects with other names are no history.
    return found if found.generations() else None


def generations_of(found: _ltxcore.LegacyHistory) -> list[GenerationInfo]:
    """The generations of a history, by their names."""
    return [
        GenerationInfo(
            generation,
            tuple(snapshot_info(generation, row) for row in snapshots),
            tuple(segment_info(generation, row) for row in segments),
        )
        for generation, snapshots, segments in found.generations()
    ]


def snapshot_info(generation: str, row: tuple[int, int, int]) -> SnapshotInfo:
    """A snapshot as the native side reports it: index, size in bytes, milliseconds."""
    index, size, created_ms = row
    return SnapshotInfo(generation, index, size, from_millis(created_ms))


def segment_info(generation: str, row: tuple[int, int, int, int]) -> WALSegmentInfo:
    """A segment as the native side reports it: index, offset and size in bytes, milliseconds."""
    index, offset, size, created_ms = row
    return WALSegmentInfo(generation, index, offset, size, from_millis(created_ms))
