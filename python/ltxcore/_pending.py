"""Which files of a replica lead on from a transaction, and whether it still is the history that a database stands on."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

from ltxcore._inventory import end_checksum
from ltxcore._position import Mark
from ltxcore.errors import LTXFileNotFoundError, RestoreError
from ltxcore.ltx import SNAPSHOT_LEVEL, TXID, FileInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ltxcore.clients import ReplicaClient

#: What to do about a replica that does not lead on from where a database is.
RESTORE_AGAIN = (
    "restore again, to another path or over this one (overwrite=True, --force); "
    "on_divergence='restore' (--on-divergence restore) does it where the database is"
)


class DivergedError(RestoreError):
    """The replica does not lead on from where the database is: only another restore can help."""


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


def pending(client: ReplicaClient, txid: TXID, *, thorough: bool = True) -> list[FileInfo]:
    """The files that continue a database at ``txid``, each continuing the one before.

    Level 0 as far as it goes; over its holes, from other levels the file that reaches furthest, a snapshot only where no
    other does.

    Args:
        client: the replica.
        txid: where the database is.
        thorough: look into the other levels even if level 0 simply has nothing new.

    Raises:
        DivergedError: there are later transactions but none that continues, or the replica ends before ``txid``.
        ReplicaError: the storage cannot be listed.
    """
    # From `txid` itself on: the newest L0 file always stays, so that an idle replica is told from an empty one.
    listed = sorted(client.ltx_files(0, seek=txid))
    chain = _chain(listed, (), txid)
    reached = chain[-1].max_txid if chain else txid
    gap = next((file for file in listed if file.max_txid > reached), None)
    if gap is None and (chain or (listed and not thorough)):
        return chain
    higher = [file for level in range(1, SNAPSHOT_LEVEL + 1) for file in client.ltx_files(level)]
    chain = _chain(listed, higher, txid)
    if not chain:
        _check_history([*client.ltx_files(0), *higher], txid)
    return chain


def _chain(level0: Iterable[FileInfo], higher: Iterable[FileInfo], reached: TXID) -> list[FileInfo]:
    rest, chain = deque(level0), list[FileInfo]()
    while True:
        while rest and rest[0].max_txid <= reached:
            rest.popleft()
        if rest and rest[0].min_txid <= reached + 1:
            file = rest.popleft()
        else:
            fitting = [file for file in higher if file.min_txid <= reached + 1 and file.max_txid > reached]
            if not fitting:
                return chain
            file = max(fitting, key=lambda file: (file.level < SNAPSHOT_LEVEL, file.max_txid, file.level))
        chain.append(file)
        reached = file.max_txid


def _check_history(files: list[FileInfo], txid: TXID) -> None:
    newest = max((file.max_txid for file in files), default=TXID(0))
    if newest == txid:
        return
    if newest < txid:
        raise DivergedError(
            f"the database is at TXID {txid}, but the replica ends at {newest}",
            op="follow",
            hint=RESTORE_AGAIN,
        )
    if any(file.min_txid <= txid + 1 and file.max_txid > txid for file in files):
        return  # it came while the levels were listed
    later = min(file.min_txid for file in files if file.min_txid > txid)
    raise DivergedError(
        f"the database is at TXID {txid}, and the replica goes on only at {later}",
        op="follow",
        hint=f"wait for a snapshot, or {RESTORE_AGAIN}",
    )
