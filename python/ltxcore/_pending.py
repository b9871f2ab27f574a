"""Which files of a replica lead on from a transaction, and where the position of a followed database is kept."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from ltxcore.errors import FormatError, RestoreError
from ltxcore.ltx import SNAPSHOT_LEVEL, TXID, FileInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ltxcore.clients import ReplicaClient


def pending(client: ReplicaClient, txid: TXID, *, thorough: bool = True) -> list[FileInfo]:
    """The files that continue a database at ``txid``, each continuing the one before.

    Level 0 as far as it goes; over its holes, from other levels the file that reaches furthest, a snapshot only where no
    other does.

    Args:
        client: the replica.
        txid: where the database is.
        thorough: look into the other levels even if level 0 simply has nothing new.

    Raises:
        RestoreError: there are later transactions but none that continues, or the replica ends before ``txid``.
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
        raise RestoreError(
            f"the database is at TXID {txid}, but the replica ends at {newest}",
            op="follow",
            hint="another history may have begun there; restore anew, to another path or over this one",
        )
    later = min(file.min_txid for file in files if file.min_txid > txid)
    raise RestoreError(
        f"the database is at TXID {txid}, and the replica goes on only at {later}",
        op="follow",
        hint="what lies between is not in the replica any more; restore anew, or wait for a snapshot",
    )


class Sidecar:
    """The file ``<database>-txid`` beside a followed database: 16 digits, as Litestream writes and reads it."""

    def __init__(self, database: Path) -> None:
        self.path = Path(f"{database}-txid")
        #: The next version, before it has its name.
        self.staged = Path(f"{self.path}.tmp")

    def read(self) -> TXID | None:
        """The position, or ``None`` if there is no such file.

        Raises:
            RestoreError: it says something else.
        """
        try:
            text = self.path.read_text("ascii", errors="replace")
        except FileNotFoundError:
            return None
        with contextlib.suppress(FormatError):
            if txid := TXID.parse(text.strip()):
                return txid
        raise RestoreError(
            f"not a transaction id: {self.path}: {text[:40]!r}",
            op="follow",
            path=os.fspath(self.path),
            hint="restore anew, to another path or over this one",
        )

    def stage(self, txid: TXID) -> None:
        """Write the next version, durably but for its name."""
        with open(self.staged, "w", encoding="ascii") as file:
            file.write(f"{txid}\n")
            file.flush()
            os.fsync(file.fileno())

    def publish(self) -> None:
        """Let the next version take the place of this one."""
        os.replace(self.staged, self.path)
        sync_dir(self.path.parent)

    def remove(self) -> None:
        """Delete both."""
        self.path.unlink(missing_ok=True)
        self.staged.unlink(missing_ok=True)
        sync_dir(self.path.parent)


def sync_dir(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
