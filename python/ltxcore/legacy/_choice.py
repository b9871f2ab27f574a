"""Which of two histories in one place is meant: LTX files, or those of Litestream 0.3 from before an upgrade.

The one counts that has the newest file, of those that are old enough where a time is asked for. Litestream 0.5 does so for the
newest state. At a time it compares snapshots alone, so until there is one after an upgrade, a time after the upgrade gives the
state before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltxcore._process.times import from_millis
from ltxcore.legacy._history import find_history, generations_of

if TYPE_CHECKING:
    from datetime import datetime

    from ltxcore import _ltxcore
    from ltxcore.clients import ReplicaClient
    from ltxcore.legacy._history import GenerationInfo


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
    files = list(client.all_ltx_files()) if generations else []
    if not generations or not files:
        return bool(generations)
    until = from_millis(until_ms) if until_ms is not None else None
    ours = max(filter(None, (_newest(each, until) for each in generations)), default=None)
    if until is not None:
        files = [file for file in files if file.created_at < until]
    # One that begins with the first transaction holds the whole database. The newest state is not there without one, either,
    # but then something is wrong that has to be told.
    is_whole = bool(files) and (until is None or any(file.min_txid == 1 for file in files))
    return ours is not None and (not is_whole or ours > max(file.created_at for file in files))


def _newest(generation: GenerationInfo, until: datetime | None) -> datetime | None:
    """The time of the newest file that a restore may use; ``None`` if there is no snapshot to begin with."""

    def is_wanted(time: datetime) -> bool:
        return until is None or time <= until

    snapshots = [file.created_at for file in generation.snapshots if is_wanted(file.created_at)]
    segments = (file.created_at for file in generation.segments if is_wanted(file.created_at))
    return max([*snapshots, *segments]) if snapshots else None
