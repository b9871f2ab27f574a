"""Giving a database to the engine, as soon as there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltxcore.db._presence import has_content
from ltxcore.ltx import TXID

if TYPE_CHECKING:
    from collections.abc import Callable

    from ltxcore import _ltxcore
    from ltxcore._process.log import Log
    from ltxcore.db._presence import Presence

#: How long the engine waits for a file in one go, in seconds. It returns earlier when it is interrupted.
_WAIT_SECONDS = 5.0


class Opening:
    """Whether the engine has the database, and how it gets it. Only the thread that drives the engine changes that.

    Args:
        engine: the native database.
        path: the database file.
        presence: notes whether it is there.
        remote_txid: asks where the replica ends.
        adopt: called with a TXID of the replica when nothing is known of the pages there: gives their checksums to the engine.
        log: where it is said that the pages are compared.
    """

    def __init__(
        self,
        engine: _ltxcore.Database,
        path: str,
        presence: Presence,
        remote_txid: Callable[[], TXID],
        adopt: Callable[[TXID], None],
        log: Log,
    ) -> None:
        self._engine = engine
        self._path = path
        self._presence = presence
        self._remote_txid = remote_txid
        self._adopt = adopt
        self._log = log
        #: The engine was given the database to follow.
        self.is_open = False
        # There was no database file at the last attempt to open it.
        self._is_awaited = False

    def is_absent(self) -> bool:
        """Whether there was no database file, and is none."""
        return self._is_awaited and not has_content(self._path)

    def may_try(self) -> bool:
        """Whether :meth:`ensure` can help; waits a while for that.

        An application that has just made the file may be about to switch it to WAL mode.
        """
        return not self._is_awaited or self._engine.follow(_WAIT_SECONDS)

    def ensure(self, is_stopping: Callable[[], bool], *, is_last: bool = False) -> bool:
        """Open the database; true if that had still to be done.

        Args:
            is_stopping: asked while it is waited for: if it is true, nothing is opened any more.
            is_last: the database is being closed, and what is there now is all that there will be: nothing is waited for.
        """
        if self.is_open or self.is_absent():
            return False
        if self._presence.is_gone():
            raise self._presence.error("open")
        while not is_last and not self.may_try():
            if is_stopping() or self.is_absent():
                return False
        # The replica may take its time to answer.
        self._engine.attach()
        self._is_awaited = not self._engine.open(self._remote_txid())
        if not self._is_awaited:
            self._adopt_chain()
            self.is_open = True
        return True

    def forget(self) -> None:
        """The engine answers nothing else from now on; what is true has to be found out again."""
        self.is_open = self._is_awaited = False
        self._engine.abandon()

    def _adopt_chain(self) -> None:
        wanted = self._engine.chain_wanted
        if wanted is not None:
            self._log.info("%s is compared with its replica at TXID %s", self._path, TXID(wanted))
            try:
                self._adopt(TXID(wanted))
            except BaseException:
                self._engine.abandon()
                raise
