"""Whether a replica in the v0.3 layout holds what the record of it says, and when it is time to look."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ltxcore.legacy._place import SEGMENT_END, SNAPSHOT_END

if TYPE_CHECKING:
    from ltxcore.db._legacy_shelf import Shelf
    from ltxcore.db._legacy_state import LegacyState

#: A directory that is listed within this time, in seconds, is listed before every answer.
_CHEAP = 0.005
#: Listing a directory without a reason takes one part in so many of the time, and while nobody waits one in so many.
_SHARE, _IDLE_SHARE = 100, 30_000
#: The most time between two listings of a directory while somebody waits, and the least by request for each page, in seconds.
_LONGEST = 60.0
#: How many objects are on one page of a listing, which is one request.
_PAGE = 1000


class LegacyCheck:
    """Looks for what a restore of the newest state reads: the newest snapshot, and all segments since.

    Their number and the sum of their sizes are in the record, so that a loss anywhere shows, also after a restart.

    Args:
        shelf: the replica.
        is_local: it is a directory of this machine, where the times of folders tell whether files have come or gone.
    """

    def __init__(self, shelf: Shelf, *, is_local: bool) -> None:
        self._shelf = shelf
        self._is_local = is_local
        self._token: object | None = None
        self._looked_at = float("-inf")
        self._takes = 0.0
        self._pages = 1

    def lost(self, state: LegacyState) -> str | None:
        """What is not as it was written, if anything is not. From any thread.

        Raises:
            ReplicaError: the storage cannot be listed.
        """
        began, token = time.monotonic(), self._token_of(state)
        why, others = self._compare(state)
        why = why or (f"another program has written {others[0]}" if others else None)
        # What was found is found again until the thread that writes has dealt with it.
        self._token = token if why is None else None
        self._looked_at, self._takes = began, time.monotonic() - began
        return why

    def foreign(self, state: LegacyState) -> str | None:
        """A snapshot that another program has made later than ours, if there is one."""
        later = state.snapshot_path(state.index + 1)
        found = [each.key for each in self._shelf.objects(f"{state.folder}snapshots/", start=later)]
        found = [path for path in found if path.endswith(SNAPSHOT_END)]
        return f"another program has written {found[0]}" if found else None

    def is_due(self, state: LegacyState, *, is_awaited: bool) -> bool:
        """Whether it is time to look once more."""
        since = time.monotonic() - self._looked_at
        if not self._is_local:
            return is_awaited and since >= _LONGEST * self._pages
        if self._token_of(state) != self._token:
            return True
        if is_awaited:
            return self._takes <= _CHEAP or since >= min(self._takes * _SHARE, _LONGEST)
        return since >= self._takes * _IDLE_SHARE

    def is_confirmed(self, state: LegacyState, since: float) -> bool:
        """Whether all was seen to be there after ``since``, on the monotonic clock; or lately, where looking costs requests.

        From any thread.
        """
        if not self._is_local:
            return self._looked_at >= since or not self.is_due(state, is_awaited=True)
        # What was changed in place is seen by a listing alone, for which it is time now and then.
        is_time = self._takes > _CHEAP and self.is_due(state, is_awaited=True)
        return not is_time and self.is_settled(state)

    def is_settled(self, state: LegacyState) -> bool:
        """Whether nothing has come or gone since the last look, as far as that can be told for nothing. From any thread."""
        if not self._is_local:
            return True
        if self._takes <= _CHEAP:
            return self.lost(state) is None
        return self._token_of(state) == self._token

    def note_written(self, before: object, state: LegacyState) -> None:
        """Something of ours was written, where ``before`` is the answer of :meth:`token` just before that."""
        if before is not None and before == self._token:
            self._token = self._token_of(state)

    def token(self, state: LegacyState) -> object | None:
        """A value that is another one once files of the generation have come or gone; ``None`` where that costs a request."""
        return self._token_of(state)

    def _token_of(self, state: LegacyState) -> object | None:
        if not self._is_local:
            return None
        folders = [self._shelf.store.locate(f"{state.folder}{name}") for name in ("snapshots", "wal")]
        return tuple(_changed_at(folder) for folder in folders if isinstance(folder, os.PathLike))

    def _compare(self, state: LegacyState) -> tuple[str | None, list[str]]:
        """What is missing, and the names of segments that are not ours."""
        snapshot = state.snapshot
        if snapshot is None:
            return None, []
        path = state.snapshot_path(snapshot.index)
        if not self._shelf.has(path, snapshot.size):
            return f"the replica has lost {path}", []
        listed = self._shelf.objects(f"{state.folder}wal/", start=state.segment_path(snapshot.index, 0))
        self._pages = 1 + len(listed) // _PAGE
        segments = {each.key: each.size for each in listed if each.key.endswith(SEGMENT_END)}
        last = state.newest_segment_path
        ours = [size for path, size in segments.items() if path <= last]
        upcoming = state.for_next()
        # It may be there, if we were killed right after its upload. It is compared when it is uploaded again.
        next_path = upcoming.segment_path(upcoming.index, upcoming.offset)
        others = [path for path in segments if path > last and path != next_path]
        if (len(ours), sum(ours)) == (state.count, state.size):
            return None, others
        found = f"{len(ours)} with {sum(ours)} bytes of {state.count} with {state.size} bytes"
        return f"the replica has lost WAL segments: there are {found}", others


def _changed_at(folder: os.PathLike[str]) -> tuple[int, int, int] | None:
    try:
        found = os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
