"""Which of two histories in one place is meant: LTX files, or those of Litestream 0.3 from before an upgrade.

The rules are those of Litestream 0.5. The newest state is that of the newest file. At a time, the history counts whose newest
snapshot, of those that are old enough, is the newer one; if no LTX snapshot is, the v0.3 files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltxcore._process.times import from_millis
from ltxcore.legacy._history import find_history, generations_of
from ltxcore.ltx import SNAPSHOT_LEVEL

if TYPE_CHECKING:
    from ltxcore.clients import ReplicaClient


def is_preferred(client: ReplicaClient, until_ms: int | None) -> bool:
    """Whether a restore is to use the v0.3 files of a replica. This takes one listing, and another one if there are such files.

    Args:
        client: the replica.
        until_ms: the last millisecond that is wanted; ``None``: the newest state.

    Raises:
        ReplicaError: the storage cannot be listed.
    """
    found = find_history(client)
    generations = [] if found is None else generations_of(found)
    snapshots = [file.created_at for each in generations for file in each.snapshots]
    if not snapshots:
        return False
    files = list(client.all_ltx_files())
    if not files:
        return True
    if until_ms is None:
        newest = max(each.updated_at for each in generations if each.snapshots)
        return newest > max(file.created_at for file in files)
    until = from_millis(until_ms)
    ours = max((time for time in snapshots if time <= until), default=None)
    theirs = max(
        (file.created_at for file in files if file.level == SNAPSHOT_LEVEL and file.created_at <= until),
        default=None,
    )
    return ours is not None and (theirs is None or ours > theirs)
