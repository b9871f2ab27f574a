"""Which blobs were read, until that is written down.

Readers only note names. The writer gives every use its place on the clock with its next batch, but writes it to the blob's
row only if that matters: when the blob would be evicted otherwise, or from time to time. So a blob that is read all the
time is written once a lap of the cache, and the order is exact all the same.
"""

from __future__ import annotations

from collections.abc import Callable


class Uses:
    """Uses that no row knows of yet."""

    def __init__(self) -> None:
        #: Names and how often they were read since the last batch, the latest last. Readers write here, without a lock.
        self.noted: dict[str, int] = {}
        #: Names, the clock's value of their last use, and how often they were read. The writer's alone.
        self.placed: dict[str, tuple[int, int]] = {}
        #: What was `noted` before: a reader that had it in its hands may have come late.
        self._taken: dict[str, int] = {}
        self._settled: list[tuple[str, tuple[int, int]]] = []

    def __len__(self) -> int:
        return len(self.noted) + len(self._taken) + len(self.placed)

    def begin(self, tick: Callable[[], int]) -> None:
        """Give what was noted its place, before anything else of a transaction has one."""
        self.place(tick)

    def keep(self) -> None:
        """What was settled up to now is committed, whatever becomes of the next transaction."""
        self._settled.clear()

    def place(self, tick: Callable[[], int]) -> None:
        """Give what was noted its place, now."""
        taken, self.noted = self.noted, {}
        for source in (self._taken, taken):
            for name in list(source):
                hits = source.pop(name)
                _, earlier = self.placed.pop(name, (0, 0))
                self.placed[name] = (tick(), earlier + hits)
        self._taken = taken

    def settle(self, name: str) -> tuple[int, int] | None:
        """Take out a use that is being written to its row, or does not matter any more."""
        found = self.placed.pop(name, None)
        if found is not None:
            self._settled.append((name, found))
        return found

    def forget(self, name: str) -> None:
        """The blob is not the one that was read any more."""
        if self.placed:
            self.settle(name)

    def mark(self) -> int:
        """Where the transaction is, for :meth:`undo`."""
        return len(self._settled)

    def undo(self, mark: int = 0) -> None:
        """The transaction was rolled back, to its start or to a mark: what was settled since is not."""
        for name, use in self._settled[mark:]:
            self.placed.setdefault(name, use)
        del self._settled[mark:]
