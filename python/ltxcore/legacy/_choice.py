"""Which of two histories in one place is meant: LTX files, or those of Litestream 0.3 from before an upgrade.

The newest state is that of the newest file. At a time, the history counts whose newest whole copy of the database, of those
that are old enough, is the newer one. These are the rules of Litestream 0.5, which takes nothing but snapshots for whole
copies. The first LTX file after an upgrade, from TXID 1 on, is one as well: without it, a time after the upgrade would mean
the state before it, until there is a snapshot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltxcore._process.times import from_millis
from ltxcore.legacy._history import find_history, generations_of

if TYPE_CHECKING:
    from ltxcore import _ltxcore
    from ltxcore.clients import ReplicaClient


def preferred(client: ReplicaClient, until_ms: int | None) -> _ltxcore.LegacyHistory | None:
    """The v0.3 files of a replica, if a restore is to use them. This takes a listing, and another one if there are such files.

    Args:
        client: the replica.
        until_ms: the last millisecond that is wanted; ``None``: the newest state.

    Raises:
        ReplicaError: the storage cannot be listed.
    """
    found = find_history(client)
    return found if found is not None and _is_preferred(found, client, until_ms) else None


def _is_preferred(found: _ltxcore.LegacyHistory, client: ReplicaClient, until_ms: int | None) -> bool:
    generations = [each for each in generations_of(found) if each.snapshots]
    if not generations:
        return False
    files = list(client.all_ltx_files())
    if not files:
        return True
    if until_ms is None:
        newest = max(each.updated_at for each in generations)
        return newest > max(file.created_at for file in files)
    until = from_millis(until_ms)
    snapshots = (file.created_at for each in generations for file in each.snapshots)
    ours = max((time for time in snapshots if time <= until), default=None)
    whole = (file.created_at for file in files if file.min_txid == 1)
    theirs = max((time for time in whole if time < until), default=None)
    return ours is not None and (theirs is None or ours > theirs)
