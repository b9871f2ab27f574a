"""Which objects of a replica in the v0.3 layout may be deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ltxcore.legacy import GenerationInfo, SnapshotInfo


def expired(generations: Sequence[GenerationInfo], current: str, cutoff: datetime) -> list[str]:
    """The names of objects that no restore of a time from ``cutoff`` on reads, in the order in which to delete them.

    Snapshots come first: what a kill leaves behind is then segments that nothing leads to, and the next call names them again.

    Args:
        generations: all of the replica.
        current: the one that is being written, of which the newest state stays.
        cutoff: what is restorable only at earlier times is not needed.
    """
    needed = _needed_at(generations, cutoff)
    snapshots: list[str] = []
    segments: list[str] = []
    for each in generations:
        is_over = each.generation not in (current, needed) and each.updated_at < cutoff
        base = _base(each, cutoff)
        if not is_over and base is None:
            continue
        first = None if is_over or base is None else base.index
        snapshots += [file.path for file in each.snapshots if first is None or file.index < first]
        segments += [file.path for file in each.segments if first is None or file.index < first]
    return snapshots + segments


def _needed_at(generations: Sequence[GenerationInfo], time: datetime) -> str | None:
    """The generation that a restore of this time is of: of those that had a snapshot then, the one that had gone on last."""
    begun = [each for each in generations if _base(each, time) is not None]
    newest = max(begun, key=lambda each: _updated_by(each, time), default=None)
    return None if newest is None else newest.generation


def _base(generation: GenerationInfo, time: datetime) -> SnapshotInfo | None:
    """The newest snapshot that is not newer than ``time``."""
    old = [each for each in generation.snapshots if each.created_at <= time]
    return max(old, key=lambda each: (each.created_at, each.index), default=None)


def _updated_by(generation: GenerationInfo, time: datetime) -> datetime:
    """The time of the newest object that is not newer than ``time``."""
    times = [each.created_at for each in generation.snapshots]
    times += [each.created_at for each in generation.segments]
    return max(each for each in times if each <= time)
