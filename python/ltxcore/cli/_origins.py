"""The replica that a database is restored from before it is replicated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltxcore.cli._missing import restore_missing
from ltxcore.cli._output import note
from ltxcore.cli._source import is_empty
from ltxcore.errors import ReplicaError

if TYPE_CHECKING:
    from pathlib import Path

    from ltxcore import Replica


def restore_first(origins: list[Replica], db: Path) -> None:
    """Restore the database from the replica that reaches furthest; of equal ones, the first.

    Under the leases, if there have to be any: otherwise another program may write after the restore, and what it wrote would be
    missing here when this one gets the lease.
    """
    held = []
    try:
        for each in origins:
            if each.lease:
                held.append(each.acquire_lease())
        _restore_first(origins, db)
    except BaseException:
        for lease in held:
            lease.release()
        raise


def _restore_first(origins: list[Replica], db: Path) -> None:
    import ltxcore

    # A replica that was away for a while is behind its mirrors.
    reached = [_reach(origins[0]), *map(_reach_of_mirror, origins[1:])]
    origin = origins[reached.index(max(reached))]
    if max(reached) == _NOTHING and is_empty(origin):
        note(
            f"{db} does not exist, and its replica is empty: a new history begins with the first transaction"
        )
        return
    result = restore_missing(db, lambda: ltxcore.restore(origin.client, db))
    if result is not None:
        place = f"TXID {result.pos.txid}" if result.legacy is None else str(result.legacy.pos)
        note(f"restored {db}: {place}")


#: How far a replica reaches that holds nothing: no TXID, and no time of a file of Litestream 0.3.
_NOTHING = (0, 0.0)


def _reach(origin: Replica) -> tuple[int, float]:
    """Its newest transaction, or the time of its newest file of Litestream 0.3, which has no number of a transaction."""
    from ltxcore import legacy
    from ltxcore.legacy._history import find_history, generations_of

    txid = 0 if isinstance(origin, legacy.Replica) else int(origin.newest_txid())
    found = None if txid else find_history(origin.client)
    if found is None:
        return txid, 0.0
    return 0, max(each.updated_at for each in generations_of(found)).timestamp()


def _reach_of_mirror(mirror: Replica) -> tuple[int, float]:
    """The same; nothing if it cannot be reached, since the replica itself was."""
    try:
        return _reach(mirror)
    except ReplicaError as error:
        note(f"the mirror {mirror.client!r} is left out of the restore: {error}")
        return _NOTHING
