"""Whole files of a server without byte ranges, in temporary files."""

from __future__ import annotations

import io
import os
import tempfile
import threading
import weakref
from typing import TYPE_CHECKING, BinaryIO

from ltxcore._process import runtime
from ltxcore.stores import BLOCK_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

#: How many files are kept. A restore that reads from more of them at once downloads some of them again.
_MOST_FILES = 64
#: How many bytes are kept in all, beside the file that was read last.
_MOST_BYTES = 1 << 30


class Spools:
    """The files that were read last, in temporary files without names, until the store is closed."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._generation = runtime.generation()
        self._lock = threading.Lock()
        # From the one that was not read for the longest time.
        self._files: dict[str, _Spool] = {}

    def open(self, key: str, fill: Callable[[BinaryIO], None], offset: int, size: int | None) -> BinaryIO:
        """A reader of a part of a file, which is downloaded by the first one that asks."""
        end = offset + (size or 0)
        spool = self._filled(key, fill)
        if spool.size < end:
            # It has grown since it was downloaded, as one does that is being copied to the server.
            self._forget(key, spool)
            spool = self._filled(key, fill)
        return io.BufferedReader(_Part(spool, offset, size), BLOCK_SIZE)

    def check(self, key: str, size: int) -> None:
        """Forget a file that has another size by now."""
        self._look_after_fork()
        with self._lock:
            spool = self._files.get(key)
            if spool is not None and spool.fd is not None and spool.size != size:
                del self._files[key]

    def close(self) -> None:
        """Let them go. Readers that are open go on."""
        self._begin()

    def _filled(self, key: str, fill: Callable[[BinaryIO], None]) -> _Spool:
        self._look_after_fork()
        with self._lock:
            spool = self._files.pop(key, None) or _Spool()
            self._files[key] = spool
        with spool.lock:
            if spool.fd is None:
                with tempfile.TemporaryFile() as file:
                    fill(file)
                    file.flush()
                    spool.keep(os.dup(file.fileno()), file.tell())
        self._let_go()
        return spool

    def _let_go(self) -> None:
        """Let go of files until they are few enough. Who reads from one has it until then."""
        with self._lock:
            left = sum(spool.size for spool in self._files.values())
            for key in list(self._files)[:-1]:
                if len(self._files) <= _MOST_FILES and left <= _MOST_BYTES:
                    return
                left -= self._files.pop(key).size

    def _forget(self, key: str, spool: _Spool) -> None:
        with self._lock:
            if self._files.get(key) is spool:
                del self._files[key]

    def _look_after_fork(self) -> None:
        if self._generation != runtime.generation():
            # Of the parent process, where other threads may have had the locks.
            self._begin()


class _Spool:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.fd: int | None = None
        self.size = 0

    def keep(self, fd: int, size: int) -> None:
        """Have it closed with the last reader, and not complain that nobody did so."""
        self.size, self.fd = size, fd
        weakref.finalize(self, os.close, fd)


class _Part(io.RawIOBase):
    """A part of a temporary file, which several threads read at once."""

    def __init__(self, spool: _Spool, offset: int, size: int | None) -> None:
        super().__init__()
        self._spool = spool
        self._at = offset
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        wanted = len(target) if self._left is None else min(len(target), self._left)
        assert self._spool.fd is not None  # noqa: S101 - filled before there was a reader
        piece = os.pread(self._spool.fd, wanted, self._at)
        target[: len(piece)] = piece
        self._at += len(piece)
        if self._left is not None:
            self._left -= len(piece)
        return len(piece)
