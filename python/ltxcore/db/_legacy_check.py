"""Whether a replica in the v0.3 layout is as the record of it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltxcore.db._legacy_state import SEGMENT_END, SNAPSHOT_END

if TYPE_CHECKING:
    from ltxcore.db._legacy_shelf import Shelf
    from ltxcore.db._legacy_state import LegacyState


def missing(shelf: Shelf, state: LegacyState) -> str | None:
    """What the replica has lost of what a restore of the newest state begins and ends with, if anything.

    Two requests, however much the replica holds. What has been lost in between is found when it is verified.
    """
    expected = []
    if state.snapshot is not None:
        expected.append((state.snapshot_path(state.snapshot.index), state.snapshot.size))
        if state.segment is not None and state.segment.index >= state.snapshot.index:
            segment = state.segment
            expected.append((state.segment_path(segment.index, segment.offset), segment.size))
    lost = [path for path, size in expected if not shelf.has(path, size)]
    return f"the replica has lost {lost[0]}" if lost else None


def foreign(shelf: Shelf, state: LegacyState) -> str | None:
    """What is in the generation and cannot be ours, if anything is: another program has gone on with it.

    The next segment may be there, if we were killed right after its upload. It is compared when it is uploaded again.
    """
    upcoming = state.for_next()
    known = {upcoming.segment_path(upcoming.index, upcoming.offset)}
    if state.segment is not None:
        known.add(state.segment_path(state.segment.index, state.segment.offset))
    last = state.segment_path(state.index, max(state.offset - 1, 0))
    segments = [each.key for each in shelf.objects(f"{state.folder}wal/", start=last)]
    next_snapshot = state.snapshot_path(state.index + 1)
    snapshots = [each.key for each in shelf.objects(f"{state.folder}snapshots/", start=next_snapshot)]
    found = [path for path in segments if path.endswith(SEGMENT_END) and path not in known]
    found += [path for path in snapshots if path.endswith(SNAPSHOT_END)]
    return f"another program has written {found[0]}" if found else None
