"""Where a replica in the v0.3 layout goes on, kept beside the local files from one start to the next.

The layout has no TXIDs, so nothing in the replica says which local file comes next. The record says it. It is written after
every upload, durably. Where it is missing or does not fit, continuity is not known, and a new generation begins.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ltxcore._process.files import sync_dir
from ltxcore.legacy._place import GENERATIONS, segment_path, snapshot_path

if TYPE_CHECKING:
    from pathlib import Path

    from ltxcore._ltxcore import LegacySegment

#: The record of the replica, and those of its mirrors, by their number.
_NAME = "v03-{}"
#: What is about to be uploaded. After a crash the engine removes it.
_OBJECT_NAME = "v03-object-{}.tmp"
#: No record has more bytes.
_LARGEST = 1 << 16
#: The version of its format.
_VERSION = 1
#: A WAL with so many pages is followed by another one, as Litestream 0.3 has it.
PAGES = 1000
_HEADER_SIZE, _FRAME_HEADER_SIZE = 32, 24


@dataclass(frozen=True, slots=True)
class SnapshotMark:
    """The newest snapshot that was stored.

    * ``index``: the WAL that goes on from it.
    * ``txid``: the local file up to which everything is in it.
    * ``size``: bytes, as it is stored.
    * ``time``: milliseconds since 1970.
    """

    index: int
    txid: int
    size: int
    time: int


@dataclass(frozen=True, slots=True)
class SegmentMark:
    """The newest WAL segment that was stored: its place, and its bytes as it is stored."""

    index: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class LegacyState:
    """How far a generation goes.

    * ``place``: the replica; ``None`` if its client has no lasting name.
    * ``generation``: its number.
    * ``page_size``: that of the database.
    * ``index``, ``offset``, ``checksum``: the WAL that is being written, bytes of it, and the checksum of its last frame.
    * ``txid``: the local file up to which everything is in the replica.
    * ``mark``: the checksum at the end of that file, which tells it from every other one of its name; ``None`` if not known.
    * ``newest``: the time of the newest object, in milliseconds since 1970.
    * ``retained``: when old objects were looked for last, in milliseconds since 1970.
    * ``segment``: the newest segment; ``None`` if there is none.
    * ``snapshot``: the newest snapshot; ``None`` while the first one is not stored.
    * ``count``, ``size``: number of the segments that follow it, and the bytes of all of them as they are stored.
    """

    place: str | None
    generation: int
    page_size: int
    txid: int
    mark: int | None
    newest: int
    retained: int
    index: int = 0
    offset: int = 0
    checksum: tuple[int, int] = (0, 0)
    segment: SegmentMark | None = None
    snapshot: SnapshotMark | None = None
    count: int = 0
    size: int = 0

    @property
    def name(self) -> str:
        """The generation, as paths have it."""
        return f"{self.generation:016x}"

    @property
    def folder(self) -> str:
        """Where the generation is, below the place of the replica."""
        return f"{GENERATIONS}{self.name}/"

    def snapshot_path(self, index: int) -> str:
        """The name of a snapshot, below the place of the replica."""
        return snapshot_path(self.name, index)

    def segment_path(self, index: int, offset: int) -> str:
        """The name of a WAL segment, below the place of the replica."""
        return segment_path(self.name, index, offset)

    @property
    def newest_segment_path(self) -> str:
        """The name of the newest segment that follows the newest snapshot; an empty text if there is none."""
        segment, snapshot = self.segment, self.snapshot
        if segment is None or snapshot is None or segment.index < snapshot.index:
            return ""
        return self.segment_path(segment.index, segment.offset)

    @property
    def is_new_wal(self) -> bool:
        """Whether nothing is in the WAL yet."""
        return self.offset == 0

    def turned(self) -> LegacyState:
        """The same at the start of the next WAL."""
        return replace(self, index=self.index + 1, offset=0, checksum=(0, 0))

    def for_next(self) -> LegacyState:
        """The same where the next segment goes: to another WAL, if this one has enough pages."""
        pages = (self.offset - _HEADER_SIZE) // (_FRAME_HEADER_SIZE + self.page_size)
        return self.turned() if pages >= PAGES else self

    def appended(
        self, made: LegacySegment, txid: int, mark: int | None, stored: int, time: int
    ) -> LegacyState:
        """The same after the segment of ``txid``, of ``stored`` bytes, which is the newest object of this ``time``."""
        segment = SegmentMark(self.index, self.offset, stored)
        return replace(
            self,
            offset=made.end,
            checksum=made.checksum,
            txid=txid,
            mark=mark,
            newest=time,
            segment=segment,
            count=self.count + 1,
            size=self.size + stored,
        )

    def rebased(self, txid: int, mark: int | None) -> LegacyState:
        """The same where a snapshot of ``txid`` is about to be stored."""
        return replace(self, txid=txid, mark=mark)

    def looked_for_old(self, now: int) -> LegacyState:
        """The same once old objects were looked for, ``now`` in milliseconds since 1970."""
        return replace(self, retained=now)

    def with_snapshot(self, size: int, time: int) -> LegacyState:
        """The same once that snapshot is stored."""
        mark = SnapshotMark(self.index, self.txid, size, time)
        return replace(self, snapshot=mark, newest=max(self.newest, time), count=0, size=0)


class StateFile:
    """The record of one destination.

    Args:
        meta_path: the directory of the local files.
        number: 0 for the replica, and from 1 on for each of its mirrors.
    """

    def __init__(self, meta_path: Path, number: int) -> None:
        # Of its own: an upload that was given up may still read what another writer must not change.
        self._object_name = _OBJECT_NAME.format(secrets.randbits(60))
        self._path = meta_path / "ltxcore" / _NAME.format(number)

    @property
    def staging(self) -> Path:
        """Where an object is made before it is uploaded."""
        return self._path.with_name(self._object_name)

    def load(self) -> LegacyState | None:
        """What it says; ``None`` if there is none, or if it is damaged."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            text, check, end = self._read().decode("ascii").split("\n")
            if check == _check(text) and not end:
                return _parsed(json.loads(text))
        return None

    def _read(self) -> bytes:
        """What is there, if it may be a record. Others may write to the directory, and a pipe would be waited for."""
        fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError(f"not a file: {self._path}")
            return os.read(fd, _LARGEST)
        finally:
            os.close(fd)

    def save(self, state: LegacyState) -> None:
        """Replace it, durably.

        Raises:
            OSError: it cannot be written.
        """
        text = json.dumps(asdict(state))
        staged = self._path.with_name(self._path.name + ".tmp")
        fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(fd, "w", encoding="ascii") as file:
            self._give(fd)
            file.write(f"{text}\n{_check(text)}\n")
            file.flush()
            os.fsync(fd)
        staged.replace(self._path)
        sync_dir(self._path.parent)

    def _give(self, fd: int) -> None:
        """The directory belongs to whoever the database belongs to, who may go on where we ran as root."""
        with contextlib.suppress(PermissionError):
            owner = self._path.parent.stat()
            os.fchown(fd, owner.st_uid, owner.st_gid)


def _check(text: str) -> str:
    """The checksum of a record of this version: whatever damage there is, it is found."""
    return hashlib.sha256(f"{_VERSION} {text}".encode()).hexdigest()


def _parsed(fields: dict[str, Any]) -> LegacyState:
    segment, snapshot = fields["segment"], fields["snapshot"]
    fields["checksum"] = tuple(fields["checksum"])
    fields["segment"] = None if segment is None else SegmentMark(**segment)
    fields["snapshot"] = None if snapshot is None else SnapshotMark(**snapshot)
    return LegacyState(**fields)
