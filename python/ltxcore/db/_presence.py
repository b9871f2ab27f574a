"""Whether the file of a database is there, and what is said when it goes and comes back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ltxcore.errors import NotReadyError

if TYPE_CHECKING:
    from ltxcore._process.log import Log


class Presence:
    """A database file that may not be there yet, or not any more. For a database that is gone nothing is written."""

    def __init__(self, path: str | os.PathLike[str], log: Log) -> None:
        self._path = os.fspath(path)
        self._log = log
        self._was_there = False
        self._is_told = False

    def note(self) -> None:
        """It is there."""
        self._was_there = True

    def is_gone(self) -> bool:
        """Whether it was there, and is not any more, or is empty."""
        return self._was_there and not has_content(self._path)

    def error(self, op: str) -> NotReadyError:
        """The error that says that it is gone."""
        return NotReadyError(
            f"the database is {self._state()}: {self._path}",
            op=op,
            path=self._path,
            hint="its replica was left as it was; restore the database from there, or make a new one",
        )

    def report(self) -> None:
        """Say once that it is gone, and that it is there again."""
        is_gone = self.is_gone()
        if is_gone and not self._is_told:
            message = "the database is %s, nothing is replicated until it is back: %s"
            self._log.warning(message, self._state(), self._path)
        elif self._is_told and not is_gone:
            self._log.info("the database is there again: %s", self._path)
        self._is_told = is_gone

    def _state(self) -> str:
        return "empty" if os.path.exists(self._path) else "gone"


def has_content(path: str) -> bool:
    """Whether there is a file that could be a database: SQLite takes an empty one for none yet."""
    try:
        return os.stat(path).st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
