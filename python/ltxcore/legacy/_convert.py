"""convert(): a v0.3 history as LTX files."""

from __future__ import annotations

import io
import itertools
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeGuard

from ltxcore import _ltxcore
from ltxcore._process.arguments import check_parallelism
from ltxcore._process.parallel import in_parallel
from ltxcore._process.times import from_millis, to_millis
from ltxcore.clients import as_client
from ltxcore.errors import (
    Error,
    FormatError,
    LTXFileExistsError,
    LTXFileNotFoundError,
    NoSnapshotError,
    ObjectNotFoundError,
    ReplicaReadOnlyError,
    RestoreError,
)
from ltxcore.legacy._converted import STATES, There, foreign, is_of_conversion, origin_of, with_min_txid
from ltxcore.legacy._damage import Damage, damage
from ltxcore.legacy._history import history
from ltxcore.legacy._listing import are_gone
from ltxcore.legacy._place import GENERATIONS, place_of
from ltxcore.ltx import HEADER_SIZE, SNAPSHOT_LEVEL, TXID, Decoder, Encoder, FileInfo, Header
from ltxcore.replica._inventory import MIN_FILE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from _typeshed import WriteableBuffer

    from ltxcore.clients import ReplicaClient, Source

#: The most states of a batch.
_BATCH = 256
#: How often a file is uploaded of which parts are there, at most.
_ATTEMPTS = 5
#: How often the v0.3 replica is listed, if files are deleted there meanwhile.
_LISTINGS = 10
#: How much of a file is read at once, in bytes.
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class ConvertProgress:
    """The progress of a conversion.

    * ``done``, ``total``: bytes of the v0.3 files.
    * ``states_done``, ``states_total``: states that can be restored.
    """

    done: int
    total: int
    states_done: int
    states_total: int


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """The result of a conversion.

    * ``txid``: the newest transaction of the LTX replica.
    * ``created_at``: the time of that transaction: one millisecond before its last v0.3 file was stored.
    * ``states``: the number of states of the v0.3 history.
    * ``resumed``: how many of them were in the LTX replica already.
    * ``files``, ``bytes_written``: the LTX files that were written, and their size together in bytes.
    * ``left_out``: the files because of which states were left out, with ``skip_damaged``. A damaged snapshot may cost none: an
      older one leads to the same states. If an earlier call has left out states, an entry for ``generations/`` says so.
    """

    txid: TXID
    created_at: datetime
    states: int
    resumed: int
    files: int
    bytes_written: int
    left_out: tuple[Damage, ...]


def convert(
    old: Source,
    new: Source,
    *,
    skip_damaged: bool = False,
    parallelism: int = 8,
    progress: Callable[[ConvertProgress], None] | None = None,
) -> ConvertResult:
    """Write a history in the layout of Litestream 0.3 as LTX files, with every state that can be restored.

    A restore of ``new`` to any time gives the same database as one of ``old``. Times count in whole milliseconds. ``old`` is
    not changed. Litestream 0.5 and ltxcore can continue ``new``.

    A conversion that was interrupted, killed, or failed continues where it stopped: call it again with the same places. If
    Litestream 0.3 has added files to ``old`` meanwhile, they are converted, too, and files that it has deleted are not missed.
    One generation of the LTX files has to be there still. Run one conversion to a place at a time. ``new`` may be the same
    place as ``old``.

    Two temporary files are as large as the database, and a third one holds LTX files. They are in the directory for temporary
    files (``TMPDIR``), and are gone with the process.

    Args:
        old: the v0.3 replica: a client, an object store, a URL, or the path of a directory.
        new: where the LTX files go: a client, an object store, a URL, or the path of a directory. It has no LTX files, or those
            of an earlier call.
        skip_damaged: leave out the states that need a damaged or missing file, instead of failing. The result names them.
        parallelism: the number of files to read, or to store, at once: 1 to 12.
        progress: a function that is called while files are read, in the calling thread. Raise an exception in it to stop the
            conversion.

    Returns:
        What was converted.

    Raises:
        NoSnapshotError: ``old`` has no generation, or no snapshot.
        RestoreError: a WAL segment is missing, and ``skip_damaged`` is false. The states before it are converted. Or an earlier
            call has left out states with ``skip_damaged``, and this call is without: nothing is converted.
        FormatError: a file is damaged, and ``skip_damaged`` is false. The states before it are converted.
        LTXFileExistsError: ``new`` has LTX files that are not of this conversion. Nothing was replaced.
        ReplicaError: a storage failed.
        ConfigError: an argument has an impossible value, or the client of ``old`` is not one of a directory or an object store.
    """
    check_parallelism(parallelism)
    origin, target = as_client(old), as_client(new)
    call = _Call(origin, target, skip_damaged, parallelism, progress)
    for _ in range(_LISTINGS - 1):
        found = history(origin)
        try:
            return call.run(found)
        except (FormatError, ObjectNotFoundError, RestoreError) as error:
            if not _is_about_a_file(error) or not are_gone(found, history(origin)):
                raise
    return call.run(history(origin))


class _Call:
    """One call of :func:`convert`. It begins again if files of the v0.3 replica are deleted meanwhile."""

    def __init__(
        self,
        origin: ReplicaClient,
        target: ReplicaClient,
        skip_damaged: bool,
        parallelism: int,
        progress: Callable[[ConvertProgress], None] | None,
    ) -> None:
        self._origin = origin
        self._target = target
        self._skip_damaged = skip_damaged
        self._parallelism = parallelism
        self._watch = None if progress is None else lambda *counts: progress(ConvertProgress(*counts))
        self._resumed: int | None = None
        self._files = self._bytes = 0

    def run(self, found: _ltxcore.LegacyHistory) -> ConvertResult:
        """Convert what a listing has shown."""
        store, prefix = place_of(self._origin)
        conversion = _ltxcore.LegacyConversion(
            found, store, prefix, tempfile.gettempdir(), self._skip_damaged
        )
        if not conversion.states:
            raise NoSnapshotError(
                "no snapshots of Litestream 0.3",
                hint="list what there is with `ltxcore generations` or ltxcore.legacy.generations()",
            )
        if self._target.capabilities.is_read_only:
            raise ReplicaReadOnlyError(
                f"{self._target!r} can only be read", hint="convert to a directory or a bucket"
            )
        self._target.init()
        work = _Work(conversion, self._target, self._parallelism)
        try:
            resumed = work.resume()
            self._resumed = resumed if self._resumed is None else self._resumed
            earlier = self._left_out_earlier(conversion)
            while conversion.done < conversion.states:
                work.store(*conversion.run(self._parallelism, self._watch))
            left_out = (*map(damage, conversion.left_out), *earlier)
            if conversion.reached is None:
                raise NoSnapshotError(
                    f"no state can be converted{''.join(f'; {each.path}: {each.reason}' for each in left_out[:1])}"
                )
            txid, created_ms = conversion.reached
            work.finish(TXID(txid))
        finally:
            self._files += work.files
            self._bytes += work.bytes
        return ConvertResult(
            txid=TXID(txid),
            created_at=from_millis(created_ms),
            states=conversion.states,
            resumed=self._resumed,
            files=self._files,
            bytes_written=self._bytes,
            left_out=left_out,
        )

    def _left_out_earlier(self, conversion: _ltxcore.LegacyConversion) -> tuple[Damage, ...]:
        """What an earlier call has left out: its LTX files do not say what it was, and it cannot be put between them any more.

        Raises:
            RestoreError: that was not asked for.
        """
        if not conversion.lacked:
            return ()
        reason = "an earlier conversion has left out states that needed damaged or missing files"
        advice = "convert to an empty place to have those whose files are sound now"
        if not self._skip_damaged:
            raise RestoreError(
                reason, hint=f"{advice}, or go on without them with --skip-damaged (skip_damaged=True)"
            )
        return (Damage(GENERATIONS, f"{reason}; {advice}", 0, None, None),)


class _Made(NamedTuple):
    """A file that the native side has made."""

    level: int
    min_txid: int
    max_txid: int
    offset: int
    size: int


class _Work:
    """Stores what is made."""

    def __init__(
        self, conversion: _ltxcore.LegacyConversion, client: ReplicaClient, parallelism: int
    ) -> None:
        self._conversion = conversion
        self._client = client
        self._parallelism = parallelism
        #: The files of level 0, of which only the newest stays.
        self._newest: dict[TXID, FileInfo] = {}
        self.files = self.bytes = 0

    def resume(self) -> int:
        """Go on after what is there; the number of states that are.

        What an interrupted conversion has stored beyond a file that is missing is deleted: the v0.3 history may have changed
        since, and then other files belong there.

        Raises:
            LTXFileExistsError: there is a file that is not of this conversion.
        """
        files = list(self._client.all_ltx_files())
        for file in files:
            lowest = 1 if file.level == SNAPSHOT_LEVEL else file.max_txid
            if file.level not in (0, STATES, SNAPSHOT_LEVEL) or file.min_txid != lowest:
                raise foreign(file)
        if not files:
            return 0
        damaged = self._damaged(files)
        there = There(file for file in files if file not in damaged)
        end = min((file.max_txid for file in damaged if file.level), default=None)
        reached = there.last_after(TXID(0), end)
        last = max(there.whole, default=TXID(0))
        newer = max(reached, there.last_after(TXID(last - 1), end) if last else reached)
        looked_at = [*there.of(reached), *there.of(newer), *there.beyond(reached), *there.newest.values()]
        self._check_origin(looked_at, damaged)
        is_found = self._go_on(there, reached) if reached else end == 1
        if newer > reached and not is_found:
            # The v0.3 files before may be gone.
            reached = newer
            self._go_on(there, reached)
        # Without a file of level 0, Litestream would begin at the first transaction. So these are deleted last, and one is
        # there at every moment. Beyond a gap it does no harm.
        self._delete_all([*there.beyond(reached), *(file for file in damaged if file.level)])
        self._newest = {reached: there.newest[reached]} if reached in there.newest else {}
        others = [file for file in files if file.level == 0 and file not in self._newest.values()]
        if reached and not self._newest:
            self._delete_all([file for file in others if file.max_txid == reached])
            self._copy_newest(reached)
        self._delete_all([file for file in others if file.max_txid != reached])
        return self._conversion.done

    def _go_on(self, there: There, txid: TXID) -> bool:
        """Go on after a transaction; whether its state is in the v0.3 history."""
        for file in there.of(txid):
            header = self._header(file)
            found = self._conversion.resume(
                1 if txid in there.whole else txid,
                txid,
                to_millis(header.timestamp),
                header.node_id,
                origin_of(header),
            )
            if found:
                return True
        return False

    def _check_origin(self, files: list[FileInfo], damaged: set[FileInfo]) -> None:
        """Check that conversions of this v0.3 replica have made the files.

        It may have lost generations since. One that it still has is enough.

        Raises:
            LTXFileExistsError: another program has.
        """
        files = list(dict.fromkeys(files))
        headers = in_parallel(self._header, files, self._parallelism)
        for file, header in zip(files, headers, strict=True):
            if not is_of_conversion(header):
                raise foreign(file)
        if files and not any(self._conversion.has_origin(origin_of(header)) for header in headers):
            raise foreign(files[0])

    def _damaged(self, files: list[FileInfo]) -> set[FileInfo]:
        """Files, of the last batch, that were not stored as a whole.

        In a directory and in most stores a file appears whole or not at all. Some servers keep what they have of an upload that
        broke.
        """
        last = max((file.max_txid for file in files), default=0) - _BATCH
        recent = [file for file in files if file.level != SNAPSHOT_LEVEL and file.max_txid > last]
        damaged = {file for file in files if file.size < MIN_FILE_SIZE}
        sound = in_parallel(self._is_sound, recent, self._parallelism)
        damaged.update(file for file, is_sound in zip(recent, sound, strict=True) if not is_sound)
        return damaged

    def _delete_all(self, files: list[FileInfo]) -> None:
        if files:
            self._client.delete_ltx_files(files)

    def _is_sound(self, file: FileInfo) -> bool:
        try:
            with self._client.open_ltx_file(file.level, file.min_txid, file.max_txid) as data:
                decoder = Decoder(data)
                decoder.finish()
        except FormatError:
            return False
        return (decoder.header.min_txid, decoder.header.max_txid) == (file.min_txid, file.max_txid)

    def store(
        self, rows: Sequence[tuple[int, int, int, int, int]], error: BaseException | None = None
    ) -> None:
        """Store a batch, and raise what ended it.

        The newest transaction comes first: see the crate. A whole database comes after the files before it, and before those
        after it, so that an interrupted conversion knows by the newest file that the others are there.
        """
        files = [_Made._make(row) for row in rows]
        newest = max(files, key=lambda made: made.max_txid, default=None)
        if newest and files[0].level and newest.max_txid not in self._newest:
            # The newest state has no file but that of the whole database.
            with io.BufferedReader(_Part(self._conversion, newest), _BLOCK) as data:
                self._write_newest(data, TXID(newest.max_txid))
        for is_parallel, group in itertools.groupby(files, lambda made: made.level == STATES):
            in_parallel(self._store, list(group), self._parallelism if is_parallel else 1)
        self._delete_older()
        if error is not None:
            raise _advised(error)

    def _store(self, made: _Made) -> None:
        stored = self._write(made)
        if made.level == 0:
            self._newest[TXID(made.max_txid)] = stored
        self.files += 1
        self.bytes += made.size

    def _write(self, made: _Made) -> FileInfo:
        name = FileInfo(made.level, TXID(made.min_txid), TXID(made.max_txid), made.size, from_millis(0))
        return self._write_file(name, lambda: io.BufferedReader(_Part(self._conversion, made), _BLOCK))

    def _write_file(self, name: FileInfo, content: Callable[[], BinaryIO]) -> FileInfo:
        attempts = _ATTEMPTS
        while True:
            try:
                return self._client.write_ltx_file(name.level, name.min_txid, name.max_txid, content())
            except LTXFileExistsError:
                attempts -= 1
                if not attempts or self._is_sound(name):
                    raise
                # An upload of ours that broke has left a part of it.
                self._client.delete_ltx_files([name])

    def finish(self, txid: TXID) -> None:
        """Let there be one file of level 0, that of the newest transaction: Litestream continues there."""
        if txid not in self._newest:
            self._copy_newest(txid)
        self._delete({file for file in self._newest.values() if file.max_txid != txid})

    def _copy_newest(self, txid: TXID) -> None:
        """Store the file of a state at level 0 as well, or the whole database."""
        try:
            with self._client.open_ltx_file(STATES, txid, txid) as data:
                self._write_newest(data, txid)
        except LTXFileNotFoundError:
            with self._client.open_ltx_file(SNAPSHOT_LEVEL, TXID(1), txid) as data:
                self._write_newest(data, txid)

    def _write_newest(self, data: BinaryIO, txid: TXID) -> None:
        with tempfile.TemporaryFile() as copy:
            decoder = Decoder(data)
            header = decoder.header
            encoder = Encoder(copy, header if header.min_txid == txid else with_min_txid(header, txid))
            for pgno, page in decoder:
                encoder.write(pgno, page)
            encoder.finish()
            size = copy.seek(0, io.SEEK_END)

            def content() -> BinaryIO:
                copy.seek(0)
                return copy

            name = FileInfo(0, txid, txid, size, from_millis(0))
            self._newest[txid] = self._write_file(name, content)
        self.files += 1
        self.bytes += size

    def _delete_older(self) -> None:
        self._delete({file for file in self._newest.values() if file.max_txid < max(self._newest)})

    def _delete(self, files: set[FileInfo]) -> None:
        if files:
            self._client.delete_ltx_files(files)
        for file in files:
            del self._newest[file.max_txid]

    def _header(self, file: FileInfo) -> Header:
        name = (file.level, file.min_txid, file.max_txid)
        try:
            return Header.parse(self._client.read_ltx_file(*name, size=HEADER_SIZE))
        except FormatError as error:
            raise foreign(file) from error


def _is_about_a_file(error: BaseException) -> TypeGuard[Error]:
    return isinstance(error, FormatError | ObjectNotFoundError) or type(error) is RestoreError


def _advised(error: BaseException) -> BaseException:
    """An error about a v0.3 file, with what to do about it here."""
    if _is_about_a_file(error):
        error.hint = (
            "what comes before is converted; put a sound copy of the file in its place and run the conversion again, "
            "or leave out what needs the file with --skip-damaged (skip_damaged=True)"
        )
        error.__notes__ = [f"hint: {error.hint}"]
    return error


class _Part(io.RawIOBase):
    """One file of the spool."""

    def __init__(self, conversion: _ltxcore.LegacyConversion, made: _Made) -> None:
        super().__init__()
        self._conversion = conversion
        self._made = made
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = (0, self._at, self._made.size)[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        count = max(min(len(target), self._made.size - self._at), 0)
        target[:count] = self._conversion.read(self._made.offset + self._at, count)
        self._at += count
        return count
