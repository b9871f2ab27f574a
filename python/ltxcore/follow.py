"""follow(): restore a database and keep it up with its replica, or go on with one."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ltxcore._followed import FollowedDatabase
from ltxcore._pending import Sidecar
from ltxcore._time import seconds
from ltxcore.clients import as_client
from ltxcore.errors import OutputExistsError
from ltxcore.ltx import TXID
from ltxcore.restore import RestoreProgress, RestoreResult, restore_prepared

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from ltxcore.clients import ReplicaClient

__all__ = ["FollowedDatabase", "follow"]


def follow(
    source: ReplicaClient | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    interval: float | timedelta = 1.0,
    parallelism: int = 8,
    overwrite: bool = False,
    integrity_check: Literal["none", "quick", "full"] = "none",
    progress: Callable[[RestoreProgress], None] | None = None,
    logger: logging.Logger | None = None,
) -> FollowedDatabase:
    """Restore a database, or continue one that was restored this way, and keep it up with its replica.

    The position is kept in ``<output>-txid``, as Litestream keeps it: either program continues what the other began. A process
    that dies leaves the database at a transaction, or one that SQLite takes back to it.

    Args:
        source: a replica client, a URL, or the path of a directory.
        output: where the database goes, or is.
        interval: how often to look for new files, in seconds.
        parallelism: see :func:`ltxcore.restore`; so are ``integrity_check`` and ``progress``.
        overwrite: restore anew, over whatever is there.
        integrity_check: let SQLite check what is restored.
        progress: called while it is restored.
        logger: where to report trouble; the logger ``ltxcore``, if left out.

    Raises:
        OutputExistsError: ``output`` exists without a ``-txid`` file.
        RestoreError: the replica does not lead on from where the database is.
        DatabaseError: it is being followed already.
        Error: as for :func:`ltxcore.restore`.
    """
    client = as_client(source)
    path = Path(output).absolute()
    every = seconds(interval, "interval")
    if not every:
        raise ValueError("interval must be more than 0")
    found = None if overwrite or not path.exists() else _saved(path)
    restored = None
    if found is None:
        restored = _restore(client, path, parallelism, overwrite, integrity_check, progress)
        found = restored.pos.txid
    followed = FollowedDatabase(
        client, path, found, restored, interval=every, logger=logger or logging.getLogger("ltxcore")
    )
    try:
        followed.start()
    except BaseException:
        followed.close()
        raise
    return followed


def _saved(path: Path) -> TXID:
    txid = Sidecar(path).read()
    if txid is None:
        raise OutputExistsError(
            f"{path} exists, but {path}-txid does not: it cannot be continued",
            op="follow",
            path=os.fspath(path),
            hint="restore to another path, or over it",
        )
    return txid


def _restore(
    client: ReplicaClient,
    path: Path,
    parallelism: int,
    overwrite: bool,
    integrity_check: Literal["none", "quick", "full"],
    progress: Callable[[RestoreProgress], None] | None,
) -> RestoreResult:
    """The first restore. The sidecar is there before the database, unless an old database is there."""
    sidecar, replaced = Sidecar(path), path.exists()

    def prepare(txid: TXID) -> None:
        sidecar.remove()
        if not replaced:
            sidecar.stage(txid)
            sidecar.publish()

    result = restore_prepared(
        client,
        path,
        prepare=prepare,
        parallelism=parallelism,
        overwrite=overwrite,
        integrity_check=integrity_check,
        # Readers of a database in WAL mode keep their lock between transactions, and nothing could ever be applied.
        journal_mode="delete",
        progress=progress,
    )
    if replaced:
        sidecar.stage(result.pos.txid)
        sidecar.publish()
    return result
