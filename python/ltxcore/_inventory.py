"""Which LTX files a replica holds, and how far a restore from them would come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from ltxcore import _ltxcore
from ltxcore.clients.file import native
from ltxcore.errors import Error, FormatError, NoSnapshotError, RestoreError
from ltxcore.ltx import (
    HEADER_SIZE,
    PAGE_HEADER_SIZE,
    SNAPSHOT_LEVEL,
    TRAILER_SIZE,
    TXID,
    FileInfo,
    format_filename,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ltxcore.clients import ReplicaClient

#: A level, a first and a last TXID: what names a file in a replica.
Key: TypeAlias = tuple[int, int, int]

#: Header, end of the pages, an index of none with its length, trailer: no LTX file is shorter, in bytes.
MIN_FILE_SIZE = HEADER_SIZE + PAGE_HEADER_SIZE + 1 + 8 + TRAILER_SIZE

#: A restore of the newest state depends on names alone; the time is what a client has to give.
_NO_TIME = datetime.fromtimestamp(0, UTC)


class Inventory:
    """The files of a replica with their sizes in bytes."""

    def __init__(self, sizes: dict[Key, int]) -> None:
        self.sizes = sizes
        #: Files that no restore can use, whatever their names say.
        self.damaged = {key for key, size in sizes.items() if size < MIN_FILE_SIZE}

    @classmethod
    def of(cls, client: ReplicaClient) -> Inventory:
        """What the replica holds now; every level is listed once.

        Raises:
            ReplicaError: the storage cannot be listed.
        """
        sizes: dict[Key, int] = {}
        directory = native(client)
        for level in range(SNAPSHOT_LEVEL + 1):
            if isinstance(directory, _ltxcore.FileClient):
                # Without a value for each file: a directory of many files is listed often.
                rows = directory.ltx_files(level, 0, False)
                sizes.update(((row[0], row[1], row[2]), row[3]) for row in rows)
            else:
                sizes.update((key_of(file), file.size) for file in directory.ltx_files(level))
        return cls(sizes)

    def chain(self) -> tuple[list[Key], Error | None]:
        """The files that a restore of the newest state reads, in order, and what keeps it from coming further."""
        sizes = dict(self.sizes)
        try:
            return _plan(sizes), None
        except NoSnapshotError as error:
            return [], error if sizes else None
        except (RestoreError, FormatError) as error:
            obstacle: Error = error
        if isinstance(obstacle, FormatError) and obstacle.level is not None:
            key = (obstacle.level, obstacle.min_txid or 0, obstacle.max_txid or 0)
            obstacle = damage(key, sizes.get(key, 0))
        return _longest_plan({key: size for key, size in sizes.items() if size >= MIN_FILE_SIZE}), obstacle

    def reach(self) -> tuple[TXID, Error | None]:
        """The TXID that a restore of the newest state comes to, and what keeps it from coming further, if anything does.

        Files beyond a hole are such an obstacle, and so is a damaged file that the restore would need.
        """
        chain, obstacle = self.chain()
        for at, key in enumerate(chain):
            if key in self.damaged:
                return TXID(chain[at - 1][2] if at else 0), damage(key, self.sizes[key])
        return TXID(chain[-1][2] if chain else 0), obstacle

    def would_reach(self, txid: TXID) -> bool:
        """Whether a snapshot up to ``txid`` would let a restore come there."""
        added = Inventory(self.sizes | {(SNAPSHOT_LEVEL, 1, txid): MIN_FILE_SIZE})
        added.damaged |= self.damaged - {(SNAPSHOT_LEVEL, 1, txid)}
        return added.reach()[0] >= txid

    def sound_reach(self) -> TXID:
        """The TXID that a restore would come to if the damaged files, and all beyond a hole, were not there."""
        sound = Inventory({key: size for key, size in self.sizes.items() if key not in self.damaged})
        return sound.reach()[0]


def key_of(file: FileInfo) -> Key:
    """What names this file."""
    return (file.level, file.min_txid, file.max_txid)


def file_of(key: Key, size: int) -> FileInfo:
    """The file of this name, as a client takes it; nothing is known of its time."""
    level, min_txid, max_txid = key
    return FileInfo(level, TXID(min_txid), TXID(max_txid), size, _NO_TIME)


def end_checksum(client: ReplicaClient, key: Key, size: int) -> int | None:
    """The last 8 bytes of a file, the checksum over all before, which tells it from every other one of its name.

    Returns:
        ``None`` if it has another size.

    Raises:
        LTXFileNotFoundError: it is not there.
    """
    level, min_txid, max_txid = key
    # One byte more than there is, if that is its size.
    at = max(size - 8, 0)
    found = client.read_ltx_file(level, TXID(min_txid), TXID(max_txid), offset=at, size=9)
    return int.from_bytes(found, "big") if len(found) == 8 else None


def damage(key: Key, size: int) -> FormatError:
    """The error about a file that no restore can use."""
    level, min_txid, max_txid = key
    name = format_filename(min_txid, max_txid)
    return FormatError(
        f"the replica holds a damaged file: level {level}, {name}, {size} bytes",
        op="list",
        level=level,
        min_txid=TXID(min_txid),
        max_txid=TXID(max_txid),
        hint=f"delete ltx/{level}/{name} from the replica",
    )


class _File(NamedTuple):
    """What a restore plan asks of a file."""

    level: int
    min_txid: TXID
    max_txid: TXID
    size: int
    created_at: datetime


class _Listing:
    """The part of a replica client that a restore plan needs."""

    type = "listing"

    def __init__(self, sizes: dict[Key, int]) -> None:
        self._levels: list[list[_File]] = [[] for _ in range(SNAPSHOT_LEVEL + 1)]
        for (level, min_txid, max_txid), size in sizes.items():
            self._levels[level].append(_File(level, TXID(min_txid), TXID(max_txid), size, _NO_TIME))

    def ltx_files(self, level: int, **_options: object) -> Iterator[_File]:
        """The files of one level."""
        return iter(self._levels[level])


def _plan(sizes: dict[Key, int]) -> list[Key]:
    rows, _ = _ltxcore.restore_plan(cast("ReplicaClient", _Listing(sizes)))
    return [(level, min_txid, max_txid) for level, min_txid, max_txid, _, _ in rows]


def _longest_plan(sizes: dict[Key, int]) -> list[Key]:
    """As far as these files lead without a hole."""
    try:
        return _plan(sizes)
    except NoSnapshotError:
        return []
    except RestoreError as error:
        # It names the first file behind the hole.
        beyond = error.min_txid or 0
        return _longest_plan({key: size for key, size in sizes.items() if key[1] < beyond})
