"""Writing the generations of a replica in the v0.3 layout, from local L0 files.

The order of writes keeps every state of the replica one that can be restored, also after a kill between any two of them:

* A segment is uploaded, and then the record says so. After a kill in between, the same bytes are uploaded once more.
* Before a snapshot is uploaded, the record has moved to the start of a WAL. What the snapshot has is in earlier WALs, and what
  follows it goes to this one, whether or not it arrived.
* Nothing goes to a generation before its first snapshot is there: readers choose the generation that has the newest object.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from typing import TYPE_CHECKING

from ltxcore import _ltxcore
from ltxcore._process.times import to_millis
from ltxcore.db._legacy_shelf import now_ms
from ltxcore.db._legacy_state import LegacyState
from ltxcore.errors import DatabaseError
from ltxcore.legacy._pos import MAX_INDEX
from ltxcore.ltx import TXID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ltxcore._process.log import Log
    from ltxcore.db._agreement import Party
    from ltxcore.db._legacy_check import LegacyCheck
    from ltxcore.db._legacy_shelf import Shelf
    from ltxcore.db._legacy_state import StateFile
    from ltxcore.db._presence import Presence

#: Times of object stores are whole seconds: a new history has to begin in another one than the old history ended in.
_TICK_MS = 1100
#: The checksum at the end of an LTX file, in bytes.
_CHECKSUM_SIZE = 8
_NO_INDEX = "there is no further number for a WAL"


class LegacyWriter:
    """Makes segments and snapshots, uploads them, and remembers how far the replica goes.

    One thread at a time uploads; :meth:`take_up` may be called by another one meanwhile.

    Args:
        engine: the native database.
        shelf: the replica.
        check: compares it with the record.
        file: the record of it.
        place: what stands for the replica in the record; ``None`` if nothing does.
        path: the database file, for messages.
        presence: whether the database file is there. Nothing is written for one that is gone.
        party: what the replica has to say to the other destinations.
        before: called before each upload, and before each change of the record; raises if there must not be one.
        after: called after each upload.
        log: where it is said why a generation begins.
    """

    def __init__(
        self,
        engine: _ltxcore.Database,
        shelf: Shelf,
        check: LegacyCheck,
        file: StateFile,
        place: str | None,
        path: Path,
        presence: Presence,
        party: Party,
        *,
        before: Callable[[], None],
        after: Callable[[], None],
        log: Log,
    ) -> None:
        #: How far the replica goes; ``None`` if that is not known, so that a new generation has to begin.
        self.state: LegacyState | None = None
        self._engine = engine
        self._shelf = shelf
        self._check = check
        self._file = file
        self._place = place
        self._path = path
        self._presence = presence
        self._party = party
        self._before = before
        self._after = after
        self._log = log
        self._is_loaded = False
        # Another one each time the local history is taken up; and the one in which record, files and replica were compared.
        self._history = object()
        self._checked: object | None = None
        # Whether the next local file is known to go on from where the replica ends; and whether nothing was uploaded yet.
        self._is_proved, self._is_first = False, True
        # Around one upload: the local history is not taken up anew meanwhile.
        self._uploading = threading.Lock()

    @property
    def is_checked(self) -> bool:
        """Whether record, local files and replica were compared since the local history was taken up."""
        return self._checked is self._history

    def take_up(self) -> TXID:
        """The local history is taken up, or taken up anew; the TXID that it has to continue: where the replica ends.

        Under that TXID and all before there must be no other files ever: they would be taken for uploaded.
        """
        with self._uploading:
            if not self._is_loaded:
                self.state = self._file.load()
                self._is_loaded = True
            self._history = object()
            self._is_proved, self._is_first = False, True
            state = self.state
            return TXID(0) if state is None or state.place != self._place else TXID(state.txid)

    def check(self) -> None:
        """Compare record, local files and replica; what is known is dropped where they do not fit.

        Raises:
            ReplicaError: the storage failed.
        """
        history = self._history
        why = self._doubt()
        self._checked = history
        if why is not None:
            self._begin(why)

    def look(self) -> None:
        """Look whether all is still there; what is known is dropped if not."""
        why = None if self.state is None else self._check.lost(self.state)
        if why is not None:
            self._begin(why)

    def _doubt(self) -> str | None:
        """Why the record does not tell where the history goes on, if it does not."""
        state, local = self.state, self._engine.pos.txid
        if state is None:
            return "there is no record of an earlier one"
        if state.place != self._place:
            return "the record is of another replica"
        if state.txid > local:
            return f"local files end at TXID {TXID(local)}, but the replica has TXID {TXID(state.txid)}"
        mark = self._mark(state.txid)
        if mark is not None and mark != state.mark:
            return f"the local file of TXID {TXID(state.txid)} is not the one that was uploaded"
        self._is_proved = mark is not None
        return self._check.lost(state) or self._check.foreign(state) or self._outdated(state)

    def _outdated(self, state: LegacyState) -> str | None:
        """What makes readers prefer another generation: Litestream 0.5 takes the one with the newest snapshot."""
        newest = {
            each.generation: max(file.created_at for file in each.snapshots)
            for each in self._shelf.generations()
            if each.snapshots
        }
        later = max(newest, key=lambda name: newest[name], default=state.name)
        if later == state.name or newest[later] == newest.get(state.name):
            return None
        return f"generation {later}, of another writer, has a newer snapshot"

    def _mark(self, txid: int) -> int | None:
        """The checksum at the end of a local file; ``None`` if there is none."""
        with contextlib.suppress(OSError), open(self._engine.local_path(txid), "rb") as file:
            file.seek(-_CHECKSUM_SIZE, os.SEEK_END)
            return int.from_bytes(file.read(), "big")
        return None

    def _begin(self, why: str) -> None:
        """From here on a new generation is needed."""
        state, self.state = self.state, None
        if state is None:
            self._log.info("replica of %s begins a generation: %s", self._path, why)
        else:
            message = "replica of %s begins a new generation after %s: %s"
            self._log.warning(message, self._path, state.name, why)

    def send(self, local: int) -> None:
        """Upload the local files up to ``local``; if the generation cannot go on with them, it ends.

        Raises:
            Error: an upload failed.
        """
        why = self._send(local)
        if why is not None:
            self._begin(why)

    def _send(self, local: int) -> str | None:
        """The same; why the generation cannot go on."""
        reached = 0 if self.state is None else self.state.txid
        files = [file.max_txid for file in self._engine.local_files() if reached < file.max_txid <= local]
        for txid in files:
            why = self._send_one(txid)
            if why is not None:
                return why
            self._after()
        state = self.state
        if state is None or state.txid >= local:
            return None
        return f"the local files after TXID {TXID(state.txid)} are gone"

    def _send_one(self, txid: int) -> str | None:
        """Upload one local file; why the generation cannot go on with it, if it cannot. One that is damaged is left out."""
        self._before()
        with self._uploading:
            self._check_history("a file was uploaded")
            if self.state is None or not self._engine.check_local(txid):
                return None
            state = self.state.for_next()
            if state.index >= MAX_INDEX:
                return _NO_INDEX
            made = self._segment(state, txid)
            if made is None:
                return f"no WAL can hold the transaction of TXID {TXID(txid)}"
            is_next = self._is_proved and txid == state.txid + 1
            if not is_next and not made.is_whole:
                return f"nothing proves that the local file of TXID {TXID(txid)} follows {TXID(state.txid)}"
            path = state.segment_path(state.index, state.offset)
            when = max(to_millis(made.header.timestamp), state.newest + 1)
            before = self._check.token(state)
            stored = self._shelf.write_new(path, self._file.staging, when, looks_first=self._is_first)
            if stored is None:
                return f"another program has written {path}"
            self._save(state.appended(made, txid, self._mark(txid), stored.size, when))
            self._check.note_written(before, state)
            self._is_proved, self._is_first = True, False
        self._file.staging.unlink(missing_ok=True)
        if made.is_whole:
            self._settle_wanted(txid)
        return None

    def _segment(self, state: LegacyState, txid: int) -> _ltxcore.LegacySegment | None:
        """Make the next segment, in a file."""
        return _ltxcore.legacy_segment(
            self._engine.local_path(txid),
            self._file.staging,
            generation=state.generation,
            index=state.index,
            offset=state.offset,
            checksum=state.checksum,
            page_size=state.page_size,
        )

    def _settle_wanted(self, txid: int) -> None:
        """The engine asks for a snapshot where nothing proves what came before. A segment with every page is as good."""
        wanted = self._party.snapshot_wanted()
        if wanted is not None and wanted <= txid:
            self._party.has_snapshot(TXID(txid))

    def snapshot(self) -> None:
        """Store the whole database; in a new generation if there is none, or if the local files do not lead there.

        Raises:
            Error: the snapshot or an upload failed.
        """
        self._party.snapshots.make(self._store_snapshot)

    def _store_snapshot(self, txid: TXID, path: Path) -> None:
        self._before()
        began = now_ms()
        if self.state is not None and self.state.snapshot is not None:
            self.send(txid)
        header = _ltxcore.legacy_snapshot(path, self._file.staging)
        with self._uploading:
            self._check_history("a snapshot was made")
            state = self._start(txid, header.page_size)
            self._save(state)
            self._is_proved = True
        when = max(began, to_millis(header.timestamp), state.newest + 1)
        stored = self._shelf.write(state.snapshot_path(state.index), self._file.staging, when)
        # Whatever has happened to the local history meanwhile, it goes on after this TXID.
        with self._uploading:
            self._save(state.with_snapshot(stored.size, when))
        self._file.staging.unlink(missing_ok=True)
        self._party.has_snapshot(txid)
        self._after()

    def _start(self, txid: TXID, page_size: int) -> LegacyState:
        """Where the snapshot of ``txid`` goes: to the start of a WAL, before which everything is that it has."""
        state, mark = self.state, self._mark(txid)
        if state is not None and state.page_size != page_size:
            self._begin(f"the page size is {page_size} now")
        elif state is not None and state.index + 1 >= MAX_INDEX:
            self._begin(_NO_INDEX)
        elif state is not None:
            # A snapshot may have arrived although its upload failed. Only the same one may take its place.
            is_free = state.is_new_wal and state.txid == txid
            return (state if is_free else state.turned()).rebased(txid, mark)
        return self._new_generation(txid, mark, page_size)

    def _new_generation(self, txid: TXID, mark: int | None, page_size: int) -> LegacyState:
        found = self._shelf.generations()
        newest = max((to_millis(each.updated_at) for each in found), default=0)
        if not self._shelf.keeps_time and newest > now_ms() - _TICK_MS:
            # By its time the new history has to be the later one.
            time.sleep(_TICK_MS / 1000)
        return LegacyState(
            self._place, secrets.randbits(64), page_size, txid, mark, newest, retained=now_ms()
        )

    def note_retention(self, now: int) -> None:
        """Old objects are looked for ``now``, in milliseconds since 1970."""
        with self._uploading:
            if self.state is not None:
                self._save(self.state.looked_for_old(now))

    def _check_history(self, when: str) -> None:
        """The local history has to be the one that was compared with the replica."""
        if self._presence.is_gone():
            raise self._presence.error("upload")
        if not self.is_checked:
            raise DatabaseError(
                f"the local history of {self._path} was begun anew while {when}",
                op="upload",
                path=os.fspath(self._path),
                transient=True,
            )

    def _save(self, state: LegacyState) -> None:
        # An upload that was given up may end when another writer has the record.
        self._before()
        self._file.save(state)
        self.state = state
