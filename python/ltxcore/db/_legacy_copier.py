"""Filling a replica in the v0.3 layout from the local L0 files, one pass after the other."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from ltxcore._process.log import Log
from ltxcore._process.times import from_millis
from ltxcore._process.watchdog import WatchedCall
from ltxcore.clients._identity import lasting_name
from ltxcore.db._destination import Known
from ltxcore.db._legacy_check import LegacyCheck
from ltxcore.db._legacy_retention import expired
from ltxcore.db._legacy_shelf import Shelf, now_ms
from ltxcore.db._legacy_state import StateFile
from ltxcore.db._legacy_writer import LegacyWriter
from ltxcore.errors import Error, InternalError, ReplicaTimeoutError
from ltxcore.ltx import SNAPSHOT_LEVEL, TXID, FileInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ltxcore import _ltxcore
    from ltxcore._process.log import Logger
    from ltxcore.db._agreement import Party
    from ltxcore.db._legacy_state import LegacyState, SnapshotMark
    from ltxcore.db._presence import Presence
    from ltxcore.legacy import GenerationInfo, Replica

#: Who waits for another thread looks so often whether there is a reason not to, in seconds.
_POLL_SECONDS = 1.0
#: So many objects are deleted at once.
_DELETIONS = 1000


class LegacyCopier:
    """A :class:`~ltxcore.db._destination.Destination` in the v0.3 layout.

    Args:
        engine: the native database.
        replica: where to.
        path: the database file.
        meta_path: the directory of the local files.
        presence: whether the database file is there. Nothing is written for one that is gone.
        party: what it has to say to the other destinations.
        check_lease: not used: there are no leases in this layout.
        advanced: called whenever more is known to be in the replica.
        logger: where it is reported why a generation begins.
    """

    #: There is no limit of requests.
    is_held = False
    #: Every writer has generations of its own, so none can be in the way of another.
    conflict: Error | None = None

    def __init__(
        self,
        engine: _ltxcore.Database,
        replica: Replica,
        path: Path,
        meta_path: Path,
        presence: Presence,
        party: Party,
        *,
        check_lease: Callable[[], None],
        advanced: Callable[[], None],
        logger: Logger,
    ) -> None:
        del check_lease
        self.last_upload_ms: int | None = None
        self.is_abandoned = False
        self._log = Log(logger)
        self._under_way = WatchedCall(f"upload of {path} has not finished a file for", self._log)
        self._engine = engine
        self._replica = replica
        self._path = path
        self._presence = presence
        self._party = party
        self._advanced = advanced
        self._shelf = Shelf(replica.client)
        self._check = LegacyCheck(self._shelf, is_local=replica.client.capabilities.is_local)
        self._writer = LegacyWriter(
            engine,
            self._shelf,
            self._check,
            StateFile(meta_path, party.number),
            lasting_name(replica.client),
            path,
            presence,
            party,
            before=self._check_abandoned,
            after=self._note_stored,
            log=self._log,
        )
        # Around one pass, or a snapshot that was asked for.
        self._passing = threading.Lock()
        self._has_stored = False
        self._known: Known | None = None
        # On the monotonic clock: since the last one, or since the start.
        self._no_snapshot_since = time.monotonic()
        # Whether the replica has anything beside what a restore of the newest state reads.
        self._may_expire = True

    @property
    def known(self) -> Known | None:
        """See :class:`Destination`, as for all that follows."""
        return self._known

    @property
    def sent(self) -> TXID:
        """The last local file that the replica has got."""
        state = self._writer.state
        return TXID(0) if state is None or state.snapshot is None else TXID(state.txid)

    @property
    def busy_for(self) -> float | None:
        """For how many seconds the file that is being uploaded has been; ``None`` while nothing is."""
        return self._under_way.seconds

    @property
    def due(self) -> float:
        """When a snapshot is, or when something may be deleted."""
        state = self._writer.state
        if state is None or state.snapshot is None or not self._is_possible():
            return float("inf")
        times = []
        if self._may_expire:
            times.append(state.retained / 1000 + self._replica.retention_check_interval)
        if state.snapshot.txid < state.txid:
            late = now_ms() / 1000 + self._no_snapshot_since - time.monotonic()
            times.append(min(state.snapshot.time / 1000, late) + self._snapshot_age())
        return time.monotonic() + min(times) - now_ms() / 1000 if times else float("inf")

    def is_settled(self) -> bool:
        """Whether what was known is still true, as far as that can be told for nothing."""
        state = self._writer.state
        return self._known is not None and state is not None and self._check.is_settled(state)

    def is_confirmed(self, since: float) -> bool:
        """Whether what is known was seen to be true after ``since``, or lately where looking costs requests."""
        state = self._writer.state
        return self._known is not None and state is not None and self._check.is_confirmed(state, since)

    def forget(self) -> None:
        """What is known may be wrong."""
        self._known = None

    def remote_txid(self) -> TXID:
        """The TXID that the local history has to continue.

        A mirror has nothing to say about that: where the history goes on is for the replica to say.
        """
        with WatchedCall(f"listing of the replica of {self._path} has not ended for", self._log):
            self._shelf.init()
            reached = self._writer.take_up()
            self._party.begin_anew()
            self.forget()
            return TXID(0) if self._party.number else reached

    def adopt_chain(self, txid: TXID) -> None:
        """Nothing tells which pages the replica has, short of a restore: the next local file has every page."""

    def run(self, *, is_awaited: bool, is_last: bool) -> bool:
        """One pass; whether anything was uploaded."""
        del is_last
        self._has_stored = False
        if self._is_possible():
            with self._turn(), self._under_way:
                self._party.snapshots.clean()
                self._pass(is_awaited=is_awaited)
        return self._has_stored

    def _is_possible(self) -> bool:
        """Whether there is a database, and anything of it in local files."""
        is_ready = self._engine.page_size is not None and self._engine.pos.txid > 0
        return is_ready and not self._presence.is_gone()

    def snapshot(self, claim: Callable[[TXID], None]) -> FileInfo:
        """Upload the whole database. If nothing has changed since the last snapshot, that is the answer."""
        del claim
        with self._turn():
            try:
                self._look(is_awaited=True)
                newest, snapshot = self._engine.sync().txid, self._newest_snapshot()
                if snapshot is None or snapshot.txid < newest:
                    self._snapshot()
                snapshot = self._newest_snapshot()
            except BaseException:
                self.forget()
                raise
        if snapshot is None:
            raise InternalError(f"the replica of {self._path} has no snapshot", op="snapshot")
        return FileInfo(
            SNAPSHOT_LEVEL, TXID(1), TXID(snapshot.txid), snapshot.size, from_millis(snapshot.time)
        )

    def compact(self, level: int) -> FileInfo | None:
        """Not possible.

        Raises:
            ConfigError: always.
        """
        return self._replica.compact(level)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One pass or snapshot at a time."""
        while not self._passing.acquire(timeout=_POLL_SECONDS):
            self._check_abandoned()
        try:
            yield
        finally:
            self._passing.release()

    def _check_abandoned(self) -> None:
        if self.is_abandoned:
            raise ReplicaTimeoutError("not all was uploaded when the time was over", op="close")

    def _note_stored(self) -> None:
        self._has_stored = True
        self.last_upload_ms = now_ms()
        self._publish()

    def _publish(self) -> None:
        """What was uploaded can be restored."""
        if self._newest_snapshot() is not None:
            self._known = Known(self.sent, None)
        self._under_way.advance()
        self._advanced()

    def _newest_snapshot(self) -> SnapshotMark | None:
        state = self._writer.state
        return None if state is None else state.snapshot

    def _pass(self, *, is_awaited: bool) -> None:
        local = self._engine.pos.txid
        self._look(is_awaited=is_awaited)
        if self._newest_snapshot() is None:
            self._snapshot()
        self._writer.send(local)
        if self._is_snapshot_due():
            self._snapshot()
        self._publish()
        self._retain()
        # The last one that the replica has stays: after a crash it shows where the local history goes on from it.
        self._party.needs_no_file_to(TXID(max(self.sent - 1, 0)))

    def _look(self, *, is_awaited: bool) -> None:
        """Find out whether the replica is as it was left, if it is time to."""
        self._shelf.check()
        state = self._writer.state
        if not self._writer.is_checked:
            self._writer.check()
        elif state is not None and (self._known is None or self._check.is_due(state, is_awaited=is_awaited)):
            self._writer.look()
        if self._newest_snapshot() is None:
            self._known = None

    def _snapshot(self) -> None:
        self._writer.snapshot()
        self._no_snapshot_since = time.monotonic()

    def _snapshot_age(self) -> float:
        """How old the newest snapshot may become, in seconds: at the end of the retention there has to be another one."""
        interval = self._replica.snapshot_interval
        return self._replica.retention if interval is None else min(interval, self._replica.retention)

    def _is_snapshot_due(self) -> bool:
        """Whether the newest snapshot is too old, or the generation has none. While nothing changes, none is too old."""
        state = self._writer.state
        if state is None or state.snapshot is None:
            return True
        # By a clock that was set back, a snapshot may be from the future.
        is_old = now_ms() - state.snapshot.time >= self._snapshot_age() * 1000
        is_late = time.monotonic() - self._no_snapshot_since >= self._snapshot_age()
        return (is_old or is_late) and state.snapshot.txid < state.txid

    def _retain(self) -> None:
        """Delete what is too old, if it is time to look for that."""
        state, now = self._writer.state, now_ms()
        if state is None or not self._is_retention_due(state, now):
            return
        self._writer.note_retention(now)
        found = self._shelf.generations()
        paths = expired(found, state.name, from_millis(now - int(self._replica.retention * 1000)))
        self._may_expire = len(found) > 1 or any(len(each.snapshots) > 1 for each in found)
        self._tell_of_generations(found, set(paths))
        while paths:
            self._check_abandoned()
            batch, paths = paths[:_DELETIONS], paths[_DELETIONS:]
            failed = self._shelf.delete(batch)
            if failed:
                path, error = next(iter(failed.items()))
                message = "%d old files of the replica of %s could not be deleted, such as %s: %s"
                self._log.warning(message, len(failed), self._path, path, error)
                return
            self._under_way.advance()

    def _tell_of_generations(self, found: list[GenerationInfo], paths: set[str]) -> None:
        """Log which generations are deleted as a whole: they may be another program's, whose retention was longer."""
        for each in found:
            files = [*(file.path for file in each.snapshots), *(file.path for file in each.segments)]
            if paths.issuperset(files):
                message = "replica of %s deletes generation %s, which ended %s: retention is %.0f hours"
                hours = self._replica.retention / 3600
                self._log.warning(message, self._path, each.generation, each.updated_at.isoformat(), hours)

    def _is_retention_due(self, state: LegacyState, now: int) -> bool:
        # A clock that was set back delays nothing.
        return not 0 <= now - state.retained < self._replica.retention_check_interval * 1000
