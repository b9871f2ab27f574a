"""Which LTX files a replica holds, and how far a restore from them would come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from ltxcore import _ltxcore
from ltxcore.clients.file import native
from ltxcore.errors import FormatError
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
    from collections.abc import Iterable

    from ltxcore.clients import ReplicaClient
    from ltxcore.errors import Error

#: A level, a first and a last TXID: what names a file in a replica.
Key: TypeAlias = tuple[int, int, int]

#: Header, end of the pages, an index of none with its length, trailer: no LTX file is shorter, in bytes.
MIN_FILE_SIZE = HEADER_SIZE + PAGE_HEADER_SIZE + 1 + 8 + TRAILER_SIZE

#: Of files that are only named nothing is known of their time, which is what a client has to give.
_NO_TIME = datetime.fromtimestamp(0, UTC)


class Inventory:
    """The files of a replica with their sizes in bytes."""

    def __init__(self, sizes: dict[Key, int]) -> None:
        self.sizes = sizes
        #: Files that no restore can use, whatever their names say.
        self.damaged = {key for key, size in sizes.items() if size < MIN_FILE_SIZE}

    @classmethod
    def of(cls, client: ReplicaClient) -> Inventory:
        """What the replica holds now, by one listing of all levels where the client has that, or else one of each.

        Raises:
            ReplicaError: the storage cannot be listed.
        """
        sizes: dict[Key, int] = {}
        directory = native(client)
        if not isinstance(directory, _ltxcore.FileClient):
            return cls({key_of(file): file.size for file in directory.all_ltx_files()})
        for level in range(SNAPSHOT_LEVEL + 1):
            # Without a value for each file: a directory of many files is listed often.
            rows = directory.ltx_files(level, 0, False)
            sizes.update(((row[0], row[1], row[2]), row[3]) for row in rows)
        return cls(sizes)

    def chain(self) -> list[Key]:
        """The files that a restore of the newest state reads, in order."""
        return _reach(self.sizes, self.damaged).chain

    def reach(self) -> tuple[TXID, Error | None]:
        """The TXID that a restore of the newest state comes to, and what keeps it from coming further, if anything does.

        Files beyond a hole are such an obstacle, and so is a damaged file that the restore would need.
        """
        found = _reach(self.sizes, self.damaged)
        return TXID(found.txid), self._damage(found.damaged) if found.damaged else found.missing

    def would_reach(self, txid: TXID) -> bool:
        """Whether a snapshot up to ``txid`` would let a restore come there."""
        snapshot = (SNAPSHOT_LEVEL, 1, txid)
        return _reach(self.sizes | {snapshot: MIN_FILE_SIZE}, self.damaged - {snapshot}).txid >= txid

    def sound_reach(self) -> TXID:
        """The TXID that a restore would come to if the damaged files, and all beyond a hole, were not there."""
        sound = {key: size for key, size in self.sizes.items() if key not in self.damaged}
        return TXID(_reach(sound, set()).txid)

    def missing(self, txids: Iterable[int]) -> list[TXID]:
        """Which TXIDs are in no sound file, but for snapshots, which lack the states before their last; ascending."""
        sound = {key: size for key, size in self.sizes.items() if key not in self.damaged}
        return [TXID(txid) for txid in _ltxcore.missing_txids(_rows(sound), sorted(txids))]

    def _damage(self, key: Key) -> FormatError:
        """The error about a file that no restore can use."""
        level, min_txid, max_txid = key
        name = format_filename(min_txid, max_txid)
        return FormatError(
            f"the replica holds a damaged file: level {level}, {name}, {self.sizes[key]} bytes",
            op="list",
            level=level,
            min_txid=TXID(min_txid),
            max_txid=TXID(max_txid),
            hint=f"delete ltx/{level}/{name} from the replica",
        )


def _reach(sizes: dict[Key, int], damaged: set[Key]) -> _ltxcore.Reach:
    return _ltxcore.reach(_rows(sizes), list(damaged))


def _rows(sizes: dict[Key, int]) -> list[tuple[int, int, int, int, int]]:
    # Of times nothing is asked.
    return [(*key, size, 0) for key, size in sizes.items()]


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
