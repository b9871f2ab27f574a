"""Where a history goes on: after the newest transaction that any of its replicas holds."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from ltxcore._process.backoff import as_exception
from ltxcore._process.wakeup import Wakeup
from ltxcore.ltx import TXID

if TYPE_CHECKING:
    from ltxcore.db._uploader import Uploader

#: A mirror may take so much longer than the replica to say where it ends, in seconds.
_PATIENCE = 2.0


class Positions:
    """Asks the replica and its mirrors where they end.

    Args:
        replica: without its answer nothing begins.
        mirrors: those that do not answer in time are left out, and are compared with the local history when they do.
    """

    def __init__(self, replica: Uploader, mirrors: list[Uploader]) -> None:
        self._replica = replica
        self._mirrors = [_Mirror(each) for each in mirrors]
        self._known: list[tuple[TXID, Uploader]] = []

    def newest(self) -> TXID:
        """The newest position of all.

        Raises:
            ReplicaError: the replica cannot be listed.
        """
        for mirror in self._mirrors:
            mirror.ask()
        self._known = [(self._replica.remote_txid(), self._replica)]
        deadline = time.monotonic() + _PATIENCE
        for mirror in self._mirrors:
            found = mirror.answer(deadline)
            if found is not None:
                self._known.append((found, mirror.uploader))
        return max(txid for txid, _uploader in self._known)

    def adopt(self, txid: TXID) -> None:
        """Let the engine know what the first of them that reaches ``txid`` holds there."""
        reaching = (uploader for found, uploader in self._known if found >= txid)
        next(reaching, self._replica).adopt_chain(txid)


class _Mirror:
    """One mirror, which is asked in a thread of its own, since it may never answer."""

    def __init__(self, uploader: Uploader) -> None:
        self.uploader = uploader
        self._thread: threading.Thread | None = None
        self._answered = Wakeup()
        self._found: TXID | None = None

    def ask(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self._found = None
        self._thread = threading.Thread(target=self._ask, name="ltxcore-position", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            # The interpreter is at its end.
            self._thread = None

    def _ask(self) -> None:
        try:
            self._found = self.uploader.remote_txid()
        except BaseException as error:
            self.uploader.report_unknown(as_exception(error))
        finally:
            self._answered.notify()

    def answer(self, deadline: float) -> TXID | None:
        thread = self._thread
        self._answered.wait_until(
            lambda: self._found is not None or thread is None or not thread.is_alive(), deadline
        )
        return self._found
