"""What a DB has only while it is open: the engine, the thread that follows, and those that upload."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from ltxcore import _ltxcore, legacy
from ltxcore._process import runtime
from ltxcore._process.log import About, Log
from ltxcore._process.times import from_millis
from ltxcore._process.wakeup import Wakeup
from ltxcore.db._agreement import Agreement
from ltxcore.db._copier import Copier
from ltxcore.db._follower import Follower
from ltxcore.db._legacy_copier import LegacyCopier
from ltxcore.db._places import check_apart, give_back, take
from ltxcore.db._positions import Positions
from ltxcore.db._presence import Presence
from ltxcore.db._status import ScanProgress, SyncStatus
from ltxcore.db._uploader import LEAST_ATTEMPT, Uploader
from ltxcore.errors import DatabaseBusyError, DatabaseError
from ltxcore.ltx import TXID, Checksum, Pos

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Hashable
    from pathlib import Path

    from ltxcore._process.log import Logger
    from ltxcore.db._uploader import MakeDestination
    from ltxcore.replica import Replica

#: How long open() waits for the outcome of the first attempt, in seconds. A first upload that takes longer goes on
#: in the background: data is moving then, and the application need not wait for all of it.
_FIRST_ATTEMPT = 5.0
#: To read more than so many bytes takes longer than open() should.
_MUCH = 64 << 20
#: What takes as long as the database is large ends within so many seconds of being told to, unless the storage hangs.
_CANCEL = 5.0


class Running:
    """What a DB has only while it is open: the engine, the thread that follows, and those that upload."""

    def __init__(
        self,
        path: Path,
        meta_path: Path,
        options: dict[str, Any],
        replica: Replica | None,
        mirrors: tuple[Replica, ...],
        logger: logging.Logger,
    ) -> None:
        interval = options["monitor_interval"]
        if replica is not None and replica.limit is not None:
            # No more local files than can be uploaded: each of them is a request.
            options = options | {"monitor_interval": max(interval, replica.limit.interval)}
        self.engine = _ltxcore.Database(
            os.fspath(path),
            meta_path=os.fspath(meta_path),
            shares_process=not runtime.is_alone(),
            **options,
        )
        self._path = path
        self._presence = Presence(path, Log(logger))
        self._meta_path = meta_path
        self._is_over = False
        # One of the threads has ended.
        self._ended = Wakeup()
        self._places: list[Hashable] = []
        self._agreement = Agreement(self.engine, meta_path)
        self.uploader = None if replica is None else self._destination(replica, logger, self._ended.notify)
        self.mirrors = [
            self._destination(each, About(logger, f"mirror {each.client!r}"), _nothing) for each in mirrors
        ]
        positions = Positions(self.uploader, self.mirrors) if self.uploader else None
        self.follower = Follower(
            self.engine,
            path,
            self._presence,
            remote_txid=positions.newest if positions else TXID,
            # No method of ours, which would keep us until the collector comes.
            notify=partial(_notify, self.uploaders()),
            adopt=positions.adopt if positions else _nothing,
            ended=self._ended.notify,
            interval=interval,
            logger=logger,
        )

    @property
    def pos(self) -> Pos:
        """The newest position in the local LTX files; zeros if there is none yet."""
        return self.engine.pos

    def start(self) -> None:
        """Start the threads and raise what their first attempts failed with, unless they take long.

        A mirror that is away does not keep a database from being opened; its status says so.
        """
        for uploader in self.uploaders():
            client = uploader.replica.client
            check_apart(client, self._meta_path)
            self._places.append(take(client, self._path))
        deadline = time.monotonic() + _FIRST_ATTEMPT
        for uploader in self.uploaders():
            uploader.start()
        self.follower.start()
        is_over = self.follower.wait_attempt(_FIRST_ATTEMPT, unless=self._is_reading_much)
        # A lock of an application is waited for, as a database that does not exist yet.
        if self.follower.error is not None and not isinstance(self.follower.error, DatabaseBusyError):
            raise self.follower.error
        if is_over and self.uploader is not None and self.follower.is_ready:
            self.uploader.wait_pass(max(deadline - time.monotonic(), 0.0))
            if self.uploader.failure is not None:
                raise self.uploader.failure

    def abort(self) -> None:
        """Stop without a last attempt."""
        self._abandon_upload()
        if self.follower.cancel(1.0):
            self.engine.abandon()
        self.leave()

    def stop(self, timeout: float) -> None:
        """Sync and upload for the last time, within ``timeout`` seconds, and let go.

        If it is interrupted, another call goes on with what is left.
        """
        deadline = time.monotonic() + timeout
        if not self._is_over:
            failure = self._finish(deadline)
            self._is_over = True
            if failure is not None:
                # An upload that was given up may still read the whole database.
                self.engine.cancel()
                self.engine.abandon()
                raise failure
        self.engine.close()

    def join(self) -> None:
        """Wait until one of the threads has ended."""
        while True:
            version = self._ended.version
            if self.follower.has_ended or (self.uploader is not None and self.uploader.has_ended):
                return
            self._ended.wait(version, float("inf"))

    def leave(self) -> None:
        """Let another database, or another program, have the replicas."""
        for uploader in self.uploaders():
            uploader.leave()
        places, self._places = self._places, []
        for place in places:
            give_back(place)

    def status(self) -> SyncStatus:
        """What the threads and the engine know of themselves."""
        facts = self.engine.status()
        follower, uploader = self.follower, self.uploader
        pos = Pos(TXID(facts.txid), Checksum(facts.checksum))
        is_ready = facts.page_size is not None
        replica = None if uploader is None else uploader.status(pos.txid)
        return SyncStatus(
            pos=pos,
            replica=replica,
            mirrors=tuple(each.status(pos.txid) for each in self.mirrors),
            is_ready=is_ready,
            is_current=is_ready and replica is not None and replica.is_current,
            wal_size=facts.wal_size,
            last_sync=from_millis(facts.last_sync_ms) if facts.last_sync_ms else None,
            last_error=follower.error or (None if replica is None else replica.last_error),
            full_syncs=facts.full_syncs,
            diff_syncs=facts.diff_syncs,
            incremental_syncs=facts.incremental_syncs,
            reason=facts.reason,
            restarts=facts.restarts,
            checkpoints=facts.checkpoints,
            scan=_scan_or_none(facts.scan),
            has_ended=follower.death is not None or (replica is not None and replica.has_ended),
        )

    def _destination(self, replica: Replica, logger: Logger, ended: Callable[[], None]) -> Uploader:
        party = self._agreement.join()
        place = (self._path, self._meta_path, self._presence, party)
        make: MakeDestination = (
            partial(LegacyCopier, self.engine, replica, *place, logger=logger)
            if isinstance(replica, legacy.Replica)
            else partial(Copier, self.engine, replica, *place, logger=logger)
        )
        return Uploader(replica, self._path, self._presence, party, make, ended=ended, logger=logger)

    def uploaders(self) -> list[Uploader]:
        """Those of the replica and of its mirrors, in this order."""
        return self.mirrors if self.uploader is None else [self.uploader, *self.mirrors]

    def _is_reading_much(self) -> bool:
        facts = self.engine.status()
        return facts.scan is not None and facts.scan.pages * (facts.page_size or 0) > _MUCH

    def _finish(self, deadline: float) -> BaseException | None:
        """End the threads after a last attempt of each; the error that it ended with."""
        if not self.follower.finish(max(deadline - time.monotonic(), LEAST_ATTEMPT)):
            return self._give_up()
        if self._presence.is_gone():
            self._abandon_upload()
            return self._presence.error("close")
        failure = self.follower.death or self.follower.failure
        if not self.follower.is_ready:
            self._abandon_upload()
            return failure
        for uploader in self.uploaders():
            # A mirror that is away already gets another attempt, and no time.
            is_away = uploader is not self.uploader and uploader.failure is not None
            uploader.begin_to_finish(0.0 if is_away else max(deadline - time.monotonic(), 0.0))
        failures = [uploader.finish(max(deadline - time.monotonic(), 0.0)) for uploader in self.uploaders()]
        return next((each for each in failures if each is not None), failure)

    def _give_up(self) -> DatabaseError:
        """Time is over and the follower is at something; its error if that could be ended, which raises it otherwise."""
        self._abandon_upload()
        scan = self.engine.status().scan
        what = "the thread that follows it is busy"
        if scan is not None:
            what = f"{scan.pages_done} of {scan.pages} pages were read; the next start reads them all"
        error = DatabaseError(
            f"{self._path} could not be closed in time: {what}", op="close", path=os.fspath(self._path)
        )
        if not self.follower.cancel(0.0 if scan is None else _CANCEL):
            raise error
        return error

    def _abandon_upload(self) -> None:
        for uploader in self.uploaders():
            uploader.abandon()


def _scan_or_none(scan: _ltxcore.Scan | None) -> ScanProgress | None:
    return None if scan is None else ScanProgress(scan.pages_done, scan.pages, scan.reason)


def _notify(uploaders: list[Uploader]) -> None:
    for uploader in uploaders:
        uploader.notify()


def _nothing(*_arguments: object) -> None:
    return None
