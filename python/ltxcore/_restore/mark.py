"""Whether a replica still is the history that a database stands on: the mark of the file that ends there."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from ltxcore._restore.position import Mark
from ltxcore.errors import LTXFileNotFoundError
from ltxcore.ltx import SNAPSHOT_LEVEL, FileInfo
from ltxcore.replica._inventory import end_checksum

if TYPE_CHECKING:
    from ltxcore.clients import ReplicaClient


class Seen(Enum):
    """What is under the name of a file that is known."""

    SAME = "same"
    OTHER = "other"
    GONE = "gone"


def mark(client: ReplicaClient, file: FileInfo) -> Mark:
    """What tells a file from every other one of its name.

    Raises:
        LTXFileNotFoundError: it is not there any more as it was listed.
    """
    checksum = _checksum(client, file)
    if checksum is None:
        raise LTXFileNotFoundError(
            f"replaced since it was listed: {file.name} of level {file.level}",
            op="follow",
            level=file.level,
            min_txid=file.min_txid,
            max_txid=file.max_txid,
        )
    return Mark(file.level, file.min_txid, file.max_txid, file.size, checksum)


def mark_at_end(client: ReplicaClient, file: FileInfo) -> Mark:
    """The mark of where a file ends: of the file of level 0, which stays while it is the newest, or else of the file itself.

    Raises:
        LTXFileNotFoundError: as for :func:`mark`.
    """
    listed = client.ltx_files(0, seek=file.max_txid)
    return mark(client, next((each for each in listed if each.max_txid == file.max_txid), file))


def look_for(client: ReplicaClient, known: Mark) -> Seen:
    """Whether a file is still there.

    A snapshot may be written once more for the same transaction, so another one of its name proves nothing.
    """
    try:
        if _checksum(client, known) == known.checksum:
            return Seen.SAME
    except LTXFileNotFoundError:
        return Seen.GONE
    return Seen.GONE if known.level == SNAPSHOT_LEVEL else Seen.OTHER


def _checksum(client: ReplicaClient, file: FileInfo | Mark) -> int | None:
    return end_checksum(client, (file.level, file.min_txid, file.max_txid), file.size)
