"""What the engine has to say in the log: its notices, and why a local L0 file holds more than what the WAL added."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ltxcore.errors import Error
from ltxcore.ltx import TXID

if TYPE_CHECKING:
    from ltxcore import _ltxcore
    from ltxcore._process.log import Log


class Reports:
    """Writes the engine's notices, and the reason for each L0 file with every page or with all pages that differ.

    Args:
        engine: the native database, which counts them.
        path: the database file, for messages.
        log: where they are reported.
    """

    def __init__(self, engine: _ltxcore.Database, path: str, log: Log) -> None:
        self._engine = engine
        self._path = path
        self._log = log
        self._reported = 0
        #: L0 files with every page, with the pages that differed, and with what the WAL added.
        self._counted = (0, 0, 0)

    def notices(self) -> None:
        """Say what the engine has noticed since the last time."""
        for notice in self._engine.take_notices():
            self._log.warning("%s", notice)

    def repair(self, txid: int) -> None:
        """Say why the newest file, of ``txid``, does not simply hold what the WAL added, if it does not."""
        if txid == self._reported:
            return
        self._reported = txid
        with contextlib.suppress(Error):
            facts = self._engine.status()
            now = facts.full_syncs, facts.diff_syncs, facts.incremental_syncs
            what = _repair(self._counted, now)
            self._counted = now
            # That the first file of all is whole needs no reason.
            if what is not None and txid > 1 and facts.reason is not None:
                message = "%s: the file for TXID %s holds %s: %s"
                self._log.info(message, self._path, TXID(txid), what, facts.reason)


def _repair(before: tuple[int, int, int], now: tuple[int, int, int]) -> str | None:
    """What the newest file holds if it is no ordinary one, by the counts of full, differing and ordinary files."""
    # What was opened again counts from 0.
    if now == before or any(new < old for new, old in zip(now, before, strict=True)):
        before = (0, 0, 0)
    if now[0] > before[0]:
        return "every page"
    return "the pages that differ" if now[1] > before[1] else None
