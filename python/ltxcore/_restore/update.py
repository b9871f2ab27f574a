"""What `restore(update=True)` adds: it begins with the database of the last time, and reads only files since then.

The position is kept as a follower keeps it, so either goes on with what the other has left. A copy counts as the replica's if
nobody has written to the copy, and the file of the replica that ended there is still what it was. If that is gone, an earlier
file that the copy stands on does as well, a witness, if the files since then bring every page that the copy has from later
ones. Where files have checksums of the whole database, any copy counts if the result has the right one. Otherwise everything
is read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ltxcore import _ltxcore
from ltxcore._restore.mark import Seen, look_for
from ltxcore._restore.position import Mark, Page1, Position, Shape, Sidecars, shape_of_new
from ltxcore.errors import OutputExistsError
from ltxcore.ltx import TXID

if TYPE_CHECKING:
    from pathlib import Path

    from ltxcore.clients import ReplicaClient

    #: The copy, its TXID, checksum and head of page 1 in the replica, and what the copy is like if it is proved.
    Base = tuple[_ltxcore.Followed, int, tuple[int, bytes | None] | None, tuple[int, int, int] | None]
    #: Files that the copy stands on, which pages were written after which of them, and the place of the one that is there.
    Past = tuple[list[tuple[int, int, int, int, int]], bytes, int]


class Update:
    """One restore that goes on with the database of the last time, if there is one."""

    def __init__(self, client: ReplicaClient, path: Path, *, overwrite: bool) -> None:
        """Find out where the database is.

        Raises:
            OutputExistsError: there is a database of which that is not known, and it may not be replaced.
        """
        self._client = client
        # A link stays a link, and SQLite looks for what is beside the file that it leads to.
        self._path = path.resolve()
        self._sidecars = Sidecars(path)
        is_there = path.exists()
        known = self._sidecars.read() if is_there else None
        if is_there and known is None and not overwrite:
            raise OutputExistsError(
                f"{path} exists, but {path}-txid does not: it was not restored with update=True (--update)",
                op="restore",
                path=os.fspath(path),
                hint="choose another path, or replace the database this once with overwrite=True as well (--update --force)",
            )
        self.overwrite = overwrite or known is not None
        self.base: Base | None = None
        self.past: Past | None = None
        self._known = known
        # Where the database is, if that is known.
        self._was = None if known is None else known.txid
        self._shape: Shape | None = None

    def look(self, target: TXID | None) -> None:
        """Find out how much of the database the replica still proves, for a restore of this transaction or of the newest one.

        Raises:
            ReplicaError: the storage failed.
        """
        known = self._known
        if known is None:
            return
        copy = _ltxcore.Followed(self._path)
        now = Shape.of(copy.fileno())
        if known.shape is not None and (now.change_counter, now.size) != (
            known.shape.change_counter,
            known.shape.size,
        ):
            # Somebody has written to it: what has changed is not known.
            return
        self.past = self._proof(known, target) if now == known.shape else None
        shape = None if self.past is None else (now.change_counter, now.size, now.mtime_ns)
        page_1 = None if known.page_1 is None else (known.page_1.checksum, known.page_1.head)
        self.base = copy, known.txid, page_1, shape

    def _proof(self, known: Position, target: TXID | None) -> Past | None:
        """The newest file that is still there."""
        marks = () if known.mark is None else (*known.witnesses, known.mark)
        for place, mark in reversed(list(enumerate(marks))):
            if (target is None or mark.max_txid <= target) and look_for(self._client, mark) is Seen.SAME:
                return [_row(mark) for mark in marks], known.runs, place
        return None

    def prepared(self, new: Path) -> None:
        """Called right before the database gets its name: what is beside it is about another one from now on."""
        self._shape = shape_of_new(new)
        if self._was is None:
            # There is no database, or one of which nothing is known.
            self._sidecars.remove()
        if self._was is not None or not self._path.exists():
            # With none a kill would leave a database that nobody may update any more. This one proves nothing, and neither
            # the database that may be there nor the new one is behind it.
            self._sidecars.write(Position(self._was or TXID(1)))
        self._sidecars.twin.unlink(missing_ok=True)

    def finish(self, restored: _ltxcore.Restored) -> None:
        """Keep the new position. Should the process die before, everything is read the next time."""
        # Without any of it the position alone is kept.
        rows, runs = restored.past or ([], b"")
        marks = tuple(map(_mark, rows))
        self._sidecars.write(
            Position(
                TXID(restored.txid),
                marks[-1] if marks else None,
                self._shape,
                page_1_of(restored),
                witnesses=marks[:-1],
                runs=runs,
            )
        )


def page_1_of(restored: _ltxcore.Restored) -> Page1 | None:
    """What page 1 is in the replica, if that is known."""
    return Page1(restored.page_1, restored.head) if restored.page_1 else None


def _row(mark: Mark) -> tuple[int, int, int, int, int]:
    return mark.level, mark.min_txid, mark.max_txid, mark.size, mark.checksum


def _mark(row: tuple[int, int, int, int, int]) -> Mark:
    level, min_txid, max_txid, size, checksum = row
    return Mark(level, TXID(min_txid), TXID(max_txid), size, checksum)
