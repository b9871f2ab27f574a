"""Telling the user which blobs had to go, in a thread where the store can be used."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence

from ltxcore.blob_store._eviction import Evicted, Gone

log = logging.getLogger("ltxcore.blob_store")


class Announcer:
    """Calls back after the commit. What the callback raises is logged."""

    def __init__(self, on_evict: Callable[[Evicted], None]) -> None:
        self._on_evict = on_evict
        self._queue: queue.SimpleQueue[Sequence[Gone] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="ltxcore-blob-evictions", daemon=True)
        self.thread.start()

    def announce(self, gone: Sequence[Gone]) -> None:
        """These had to go."""
        self._queue.put(gone)

    def end(self) -> None:
        """That was all."""
        self._queue.put(None)

    def _run(self) -> None:
        while (gone := self._queue.get()) is not None:
            for name, size in gone:
                try:
                    self._on_evict(Evicted(name, size))
                except BaseException:  # SystemExit, say: there are others to be told
                    log.exception("the on_evict callback failed for %r", name)
