"""What `restore(update=True)` adds: it begins with the database of the last time, and reads only files since then.

The position is kept as a follower keeps it, so either goes on with what the other has left. A copy counts as the replica's if
the file of the replica that ended there is still what it was, and nobody has written to the copy. Where files have checksums of
the whole database, it does as well if the result has the right one. Otherwise everything is read.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from ltxcore import _ltxcore
from ltxcore._restore.mark import Seen, look_for, mark
from ltxcore._restore.position import Position, Shape, Sidecars, shape_of_new
from ltxcore.clients.file import file_info, native
from ltxcore.errors import OutputExistsError
from ltxcore.ltx import TXID

if TYPE_CHECKING:
    from pathlib import Path

    from ltxcore.clients import ReplicaClient

    #: The copy, its TXID, the checksum of page 1 in the replica, and what the copy is like if it is proved.
    Base = tuple[_ltxcore.Followed, int, int | None, tuple[int, int, int] | None]


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
        self.base = None if known is None else self._base(known)
        # Where the database is, if that is known.
        self._was = None if known is None else known.txid
        self._new: Position | None = None
        self._shape: Shape | None = None

    def _base(self, known: Position) -> Base | None:
        copy = _ltxcore.Followed(self._path)
        now = Shape.of(copy.fileno())
        if known.shape is not None and (now.change_counter, now.size) != (
            known.shape.change_counter,
            known.shape.size,
        ):
            # Somebody has written to it: what has changed is not known.
            return None
        is_proved = (
            now == known.shape and known.mark is not None and look_for(self._client, known.mark) is Seen.SAME
        )
        shape = (now.change_counter, now.size, now.mtime_ns) if is_proved else None
        return copy, known.txid, known.page_1, shape

    def plan(self, txid: int | None, before: int | None) -> TXID:
        """Look at the file that the restore will end with, before anything is read; its last transaction.

        Should the replica be replaced meanwhile, this is not the mark of what it has then.
        """
        last = file_info(_ltxcore.restore_plan(native(self._client), txid, before).files[-1])
        # Of two files that end there a plan has the one that was merged more, which stays longer.
        self._new = Position(last.max_txid, mark(self._client, last))
        return last.max_txid

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

    def finish(self, txid: TXID, page_1: int) -> None:
        """Keep the new position. Should the process die before, everything is read the next time."""
        new = self._new if self._new is not None and self._new.txid == txid else Position(txid)
        self._sidecars.write(replace(new, shape=self._shape, page_1=page_1 or None))
