"""Which file an open store has, and which process writes: told apart from all others."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from typing import NamedTuple
from urllib.parse import quote

from ltxcore.blob_store._process import forks
from ltxcore.blob_store._sql.schema import APPLICATION_ID
from ltxcore.blob_store._sql.sqlite import MOVED_HINT, code, pragma
from ltxcore.errors import StoreMovedError

#: Seconds between two looks of readers, and between two at the WAL.
INTERVAL = 0.1
#: Other orders of eviction, and VACUUMs, that a store may get between two checkpoints.
SCHEMA_CHANGES = 10_000
#: How often a file that seems to be another one is looked at, and seconds in between.
LOOKS, PAUSE = 3, 0.02


class Version(NamedTuple):
    """How old a store is. Both only go up, and the first begins with a random number."""

    schema: int = 0
    clock: int = 0

    def continues(self, before: Version) -> bool:
        """Whether this can be the same store later on."""
        is_same = not before.schema or before.schema <= self.schema < before.schema + SCHEMA_CHANGES
        return is_same and self.clock >= before.clock


class FileIdentity:
    """The path of a store's file, and what tells this file from all others.

    SQLite writes on into a file that has lost its name: to it a removed directory, a file that was renamed, and one that
    another file was renamed over look like nothing at all. So the writer checks before every commit, which is one `stat`,
    and readers do now and then.
    """

    def __init__(self, path: Path, vfs: str | None, *, is_wal: bool) -> None:
        """Of a store that is open."""
        self.path = path
        # A link may be made to point elsewhere: the store stays where it is.
        self._real = os.path.realpath(path)
        self.directory = os.path.dirname(self._real)
        self._vfs = vfs
        self._wal = f"{self._real}-wal" if is_wal else None
        self._wal_identity: tuple[int, int] | None = None
        self._next = 0.0
        #: Around a connection that is neither the writer's nor one of the pool. A fork waits for it, too.
        self._reading = threading.RLock()
        found = os.stat(self._real)
        self._identity = found.st_dev, found.st_ino
        self._content: tuple[int, int] | None = None
        self._version = Version()
        if self._wal is not None:
            self._check_wal(self._wal)

    def check_if_due(self) -> None:
        """:meth:`check`, unless that was done a moment ago."""
        if time.monotonic() >= self._next:
            is_first = not self._next
            self.check()
            if not is_first:
                self.watch()

    def watch(self) -> None:
        """From now on, notice what is written to the file by others. Not before: who only opens a store need not pay for it."""
        if self._content is None and self._wal is not None:
            with contextlib.suppress(OSError):  # the next check tells
                found = os.stat(self._real)
                self._version = self._version_in_file() or Version()
                self._content = found.st_size, found.st_mtime_ns

    def check(self) -> int:
        """Make sure that the store is where it was; the size of its file in bytes.

        Raises:
            StoreMovedError: it is not.
        """
        try:
            found = os.stat(self._real)
        except OSError as error:
            raise self._lost(f"the file of the open store is gone: {error.strerror}") from error
        if (found.st_dev, found.st_ino) != self._identity:
            raise self._lost("another file has taken the place of the open store")
        if self._wal is not None:
            content = found.st_size, found.st_mtime_ns
            if content != self._content and self._content is not None:
                self._check_content()
                self._content = content
            now = time.monotonic()
            if now >= self._next:
                self._check_wal(self._wal)
                self._next = now + INTERVAL
        return found.st_size

    def lock_for_fork(self, stack: contextlib.ExitStack, deadline: float) -> None:
        """See :class:`forks.Forkable`. The last lock to be taken: who leads, and who connects, looks as well."""
        forks.acquire(self._reading, stack, deadline)

    def _check_wal(self, wal: str) -> None:
        """The WAL has the last commits. It appears with the first use of the store, and stays while it is open."""
        found = None
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(wal)
            found = status.st_dev, status.st_ino
        if self._wal_identity is None:
            self._wal_identity = found
        elif found != self._wal_identity:
            raise self._lost(f"the WAL of the open store was removed or replaced: {wal}")

    def _check_content(self) -> None:
        """A checkpoint has written to the file, or somebody who does not know that it is open."""
        for _ in range(LOOKS):
            found = self._version_in_file()
            if found is not None and found.continues(self._version):
                self._version = found
                return
            time.sleep(PAUSE)  # it may be in the middle of being written
        raise self._lost("the file of the open store was overwritten by another program")

    def _version_in_file(self) -> Version | None:
        """What the file says without the WAL; ``None`` if it is no store. What cannot be read is taken to be unchanged.

        That may be a lot in the middle of a checkpoint, or after one that found the disk full, but never the first page.
        """
        uri = f"file://{quote(os.fsencode(self._real))}?mode=ro&immutable=1"
        if self._vfs is not None:
            uri += f"&vfs={quote(self._vfs)}"
        schema, clock = self._version
        try:
            with self._reading, contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
                # Or SQLite refuses a file that is shorter than its first page says.
                connection.execute("PRAGMA writable_schema=ON")
                if pragma(connection, "application_id") != APPLICATION_ID:
                    return None
                schema = int(pragma(connection, "schema_version") or 0)
                clock = connection.execute("SELECT clock FROM meta").fetchone()[0]
        except (sqlite3.Error, TypeError) as error:
            if isinstance(error, sqlite3.Error) and code(error) == sqlite3.SQLITE_NOTADB:
                return None
        return Version(schema, clock)

    def _lost(self, message: str) -> StoreMovedError:
        return StoreMovedError(f"{self.path}: {message}", path=str(self.path), hint=MOVED_HINT)


@dataclass(frozen=True, slots=True)
class Owner:
    """An open store of some process."""

    pid: int
    started: str
    host: str
    token: str

    @classmethod
    def this_process(cls) -> Owner:
        """A new owner in this process."""
        pid = os.getpid()
        return cls(pid, start_time(pid) or "", gethostname(), secrets.token_hex(8))

    @classmethod
    def parse(cls, text: str) -> Owner:
        """The reverse of ``str``; an owner that nobody can know to be gone if the text is not one."""
        fields = text.split("\t")
        if len(fields) != 4 or not fields[0].isdecimal():
            return cls(0, "", "", text)
        return cls(int(fields[0]), *fields[1:])

    def __str__(self) -> str:
        return f"{self.pid}\t{self.started}\t{self.host}\t{self.token}"

    def is_gone(self) -> bool:
        """Whether the process is known to have ended. Of another host nobody knows."""
        if self.host != gethostname() or self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return self.started != (start_time(self.pid) or "")


def start_time(pid: int) -> str | None:
    """When a process started, in ticks since boot; None where the system does not say (proc(5), ``/proc/pid/stat``)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()[19]
