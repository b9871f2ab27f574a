"""The replica as the history of one followed database: what comes next, and the proof that it continues the database.

The proof is the file of the replica that ends where the database is: while it is there with the checksum that it had, and
nobody else has changed the database, what follows it in the replica continues the database. Files are merged away, and
Litestream keeps no record. Then every page is compared, but for those that the next files replace anyway.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ltxcore import _ltxcore
from ltxcore._process.log import Log
from ltxcore._process.times import to_millis
from ltxcore._restore.mark import Seen, look_for, mark, mark_at_end
from ltxcore._restore.position import Mark, Position, Shape
from ltxcore.clients.file import file_info, native
from ltxcore.errors import (
    DivergedError,
    FormatError,
    LTXFileNotFoundError,
    NoSnapshotError,
    PageSizeChangedError,
    RestoreError,
    TXIDNotAvailableError,
)
from ltxcore.ltx import TXID, FileInfo
from ltxcore.replica import Replica

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from ltxcore._restore.followed_file import FollowedFile
    from ltxcore.clients import ReplicaClient

    Watch = Callable[[int, int], None]
    Row = tuple[int, int, int, int, int]

T = TypeVar("T")

#: What to do about a replica that does not lead on from where a database is.
RESTORE_AGAIN = (
    "restore again, to another path or over this one (overwrite=True, --force); "
    "on_divergence='restore' (--on-divergence restore) does it where the database is"
)

#: Files applied as one transaction.
BATCH = 256
#: The same where only a comparison can prove anything: another follower may have applied some of them before it died.
UNPROVED_BATCH = 2048
#: How often files are listed in a row because one of them was gone when it was read.
LISTINGS = 5
#: For so many seconds a comparison that has found a difference is not repeated.
COMPARE_AGAIN = 600.0


@dataclass(frozen=True, slots=True)
class Ready:
    """A step that is merged and proved to continue a database of this shape, and the mark of its last file."""

    step: _ltxcore.Step
    mark: Mark
    shape: Shape


@dataclass(frozen=True, slots=True)
class _Refused:
    error: DivergedError
    shape: Shape
    until: float


class History:
    """What a replica has for one followed database."""

    def __init__(self, client: ReplicaClient, file: FollowedFile, logger: logging.Logger) -> None:
        self._client = client
        self._native = native(client)
        self._file = file
        self._log = Log(logger)
        self._refused: _Refused | None = None

    def next_step(self, position: Position, watch: Watch, *, thorough: bool = True) -> Ready | Position:
        """The next step, or the position, proved, if there is nothing new.

        Args:
            position: where the database is.
            watch: told how far a comparison is; what it raises ends it.
            thorough: look into the other levels even if level 0 simply has nothing new.

        Raises:
            DivergedError: the replica does not continue the database.
            DatabaseError: the database was changed while it was compared.
            FormatError: a file is damaged.
            ReplicaError: the storage failed.
        """
        try:
            return listed_again(lambda: self._next_step(position, watch, thorough))
        except TXIDNotAvailableError as error:
            raise self._unproved(position, error) from error

    def start_over(self) -> Ready:
        """A step that replaces every page by what is newest in the replica.

        Raises:
            RestoreError: there is nothing to restore.
            FormatError: a file is damaged.
            ReplicaError: the storage failed.
        """
        return listed_again(self._whole)

    def _whole(self) -> Ready:
        rows = _ltxcore.restore_plan(self._native).files
        found = mark_at_end(self._client, file_info(rows[-1]))
        step = self._file.native.merge(self._native, rows)
        return Ready(step, found, self._file.shape())

    def _next_step(self, position: Position, watch: Watch, thorough: bool) -> Ready | Position:
        files = self._pending(position, thorough)
        seen = self._look_for_mark(position)
        is_proved = seen is Seen.SAME and self._file.shape() == position.shape
        self._stay_refused(position, seen)
        if not files:
            return self._proved(position, seen, watch)
        step, found = self._merged(files[: BATCH if is_proved else UNPROVED_BATCH])
        # Once more, since all of the step has been read now: while the mark is there, this is what continues it.
        seen = self._look_for_mark(position)
        shape = self._file.shape()
        # Of a whole step it does not matter what it replaces.
        if not step.is_whole and not (seen is Seen.SAME and shape == position.shape):
            rows = self._plan(position, TXID(step.txid))
            self._compare(rows, step, shape, watch)
        return Ready(step, found, shape)

    def _pending(self, position: Position, thorough: bool) -> list[FileInfo]:
        try:
            rows = _ltxcore.following(self._native, position.txid, thorough=thorough)
        except DivergedError as error:
            self._check_not_empty(position)
            raise self._error(str(error), instead=error.hint) from error
        return [file_info(row) for row in rows]

    def _check_not_empty(self, position: Position) -> None:
        """Of a replica without any file, say that, and whether it exists, instead of where it ends."""
        if next(Replica(self._client).files(), None) is not None:
            return
        try:
            _ltxcore.restore_plan(self._native)
        except NoSnapshotError as error:
            message = f"the database is at TXID {position.txid}, but {error}"
            raise DivergedError(message, op="follow", path=str(self._file.path), hint=error.hint) from error

    def _merged(self, files: list[FileInfo]) -> tuple[_ltxcore.Step, Mark]:
        """As many of the files as go together: those before one that is damaged, or has pages of another size."""
        found = mark(self._client, files[-1])
        try:
            return self._file.native.merge(self._native, [_row(file) for file in files]), found
        except (FormatError, PageSizeChangedError) as error:
            first = error.min_txid
            before = [] if first is None else [file for file in files if file.max_txid < first]
            if not before:
                raise
        return self._merged(before)

    def _look_for_mark(self, position: Position) -> Seen:
        known = position.mark
        seen = Seen.GONE if known is None else look_for(self._client, known)
        if known is not None and seen is Seen.OTHER:
            raise self._error(
                f"the replica has begun another history: its file that ends at TXID {position.txid} is not the one that "
                f"{self._file.path} stands on"
            )
        return seen

    def _stay_refused(self, position: Position, seen: Seen) -> None:
        """Not to read all of a replica again and again, when nothing has changed that could change the answer."""
        refused, self._refused = self._refused, None
        if refused is None or (seen is Seen.SAME and self._file.shape() == position.shape):
            return
        if refused.shape == self._file.shape() and time.monotonic() < refused.until:
            self._refused = refused
            raise refused.error

    def _proved(self, position: Position, seen: Seen, watch: Watch) -> Position:
        shape = self._file.shape()
        if seen is Seen.SAME and shape == position.shape:
            return position
        rows = self._plan(position, position.txid)
        found = mark_at_end(self._client, file_info(rows[-1]))
        self._compare(rows, None, shape, watch)
        return Position(position.txid, found, shape, position.page_1)

    def _compare(self, rows: list[Row], step: _ltxcore.Step | None, shape: Shape, watch: Watch) -> None:
        txid = TXID(rows[-1][2])
        self._log.info("comparing %s with its replica at TXID %s", self._file.path, txid)
        page = self._file.native.first_difference(self._native, rows, step, watch)
        if self._file.shape() != shape:
            raise self._file.changed()
        if page is None:
            return
        error = self._error(
            f"page {page} of {self._file.path} is not the replica's at TXID {txid}: another program wrote to it, or the "
            "replica has begun another history"
        )
        self._refused = _Refused(error, shape, time.monotonic() + COMPARE_AGAIN)
        raise error

    def _plan(self, position: Position, txid: TXID) -> list[Row]:
        try:
            rows = _ltxcore.restore_plan(self._native, txid).files
        except TXIDNotAvailableError:
            raise
        except RestoreError as error:
            raise self._unproved(position, error) from error
        return rows

    def _unproved(self, position: Position, error: RestoreError) -> DivergedError:
        return self._error(
            f"nothing in the replica proves that {self._file.path} at TXID {position.txid} is of its history: {error}"
        )

    def _error(self, message: str, *, instead: str | None = None) -> DivergedError:
        hint = f"{instead}, or {RESTORE_AGAIN}" if instead else RESTORE_AGAIN
        return DivergedError(message, op="follow", path=str(self._file.path), hint=hint)


def listed_again(action: Callable[[], T]) -> T:
    """What lists files and reads them, once more if one of them is gone by then: it has been merged into another."""
    for _ in range(LISTINGS - 1):
        with contextlib.suppress(LTXFileNotFoundError, TXIDNotAvailableError):
            return action()
    return action()


def _row(file: FileInfo) -> Row:
    return file.level, file.min_txid, file.max_txid, file.size, to_millis(file.created_at)
