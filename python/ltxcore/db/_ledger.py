"""Which files of a replica are known to be of our history, kept beside the local files from one start to the next.

A file that is not in it, or is another one than is in it, has to be compared with the database. So a ledger that is lost or old
costs no more than that the replica is read, and it is written without a sync.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from ltxcore.errors import LTXFileNotFoundError
from ltxcore.replica._inventory import end_checksum

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from ltxcore.clients import ReplicaClient
    from ltxcore.replica._inventory import Key

#: The ledger of the replica, and those of its mirrors by their number.
_NAME, _MIRROR_NAME = "replica-files", "mirror-{}-files"
#: The checksum at the end of an LTX file, over all before it, in bytes.
_CHECKSUM_SIZE = 8
#: More lines than twice the files and so many are written anew.
_SPARE_LINES = 1000


class Mark(NamedTuple):
    """What tells a file from every other one of its name."""

    size: int
    checksum: int


class Ledger:
    """The names, sizes and checksums of files that were uploaded here, or found to hold what the database holds.

    Args:
        client: the replica.
        meta_path: the directory of the local files.
        number: 0 for the replica, and from 1 on for each of its mirrors.
    """

    def __init__(self, client: ReplicaClient, meta_path: Path, number: int = 0) -> None:
        self._client = client
        self._path = meta_path / "ltxcore" / (_MIRROR_NAME.format(number) if number else _NAME)

    def add(self, key: Key, path: str | os.PathLike[str]) -> None:
        """A local file was uploaded under this name."""
        with contextlib.suppress(OSError), open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(size - _CHECKSUM_SIZE)
            self._append({key: Mark(size, int.from_bytes(file.read(), "big"))})

    def check(self, sizes: dict[Key, int]) -> tuple[set[Key], set[Key]]:
        """Those of these files that are the ones which are known, and those that are others."""
        if not sizes:
            return set(), set()
        marks = self.marks()
        known = {key for key, size in sizes.items() if key in marks and marks[key] == self._mark(key, size)}
        return known, marks.keys() & sizes.keys() - known

    def settle(self, sizes: dict[Key, int], found: Collection[Key]) -> None:
        """All of these files are of our history.

        Args:
            sizes: every one that a restore reads, with its size in bytes.
            found: those that were not known so far, or by another content.
        """
        with contextlib.suppress(OSError):
            marks = self.marks()
            new: dict[Key, Mark] = {}
            for key, size in sizes.items():
                if key in found or key not in marks:
                    mark = self._mark(key, size)
                    if mark is not None:
                        new[key] = mark
            self._append(new)
            if len(marks) > 2 * len(sizes) + _SPARE_LINES:
                self._rewrite({key: mark for key, mark in (marks | new).items() if key in sizes})

    def _mark(self, key: Key, size: int) -> Mark | None:
        try:
            checksum = end_checksum(self._client, key, size)
        except LTXFileNotFoundError:
            return None
        return None if checksum is None else Mark(size, checksum)

    def _append(self, marks: dict[Key, Mark]) -> None:
        if marks:
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            with open(fd, "a", encoding="utf-8") as file:
                if file.tell() == 0:
                    self._give(fd)
                file.write(_text(marks))

    def _give(self, fd: int) -> None:
        """The directory belongs to whoever the database belongs to, who may go on where we ran as root."""
        with contextlib.suppress(PermissionError):
            owner = self._path.parent.stat()
            os.fchown(fd, owner.st_uid, owner.st_gid)

    def _rewrite(self, marks: dict[Key, Mark]) -> None:
        self._path.unlink()
        self._append(marks)

    def marks(self) -> dict[Key, Mark]:
        """What is known. The last line about a file counts; what a crash has left of a line does not."""
        try:
            text = self._path.read_text("utf-8", errors="replace")
        except OSError:
            return {}
        marks: dict[Key, Mark] = {}
        for line in text.splitlines():
            with contextlib.suppress(ValueError):
                level, low, high, size, checksum = line.split(" ")
                if len(checksum) == 2 * _CHECKSUM_SIZE:
                    key = (int(level), int(low, 16), int(high, 16))
                    marks[key] = Mark(int(size), int(checksum, 16))
        return marks


def _text(marks: dict[Key, Mark]) -> str:
    return "".join(
        f"{level} {low:016x} {high:016x} {mark.size} {mark.checksum:016x}\n"
        for (level, low, high), mark in marks.items()
    )
