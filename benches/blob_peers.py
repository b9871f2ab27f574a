"""What a Python program keeps bytes in otherwise: diskcache, sqlitedict, plain files; each with the same few verbs.

And what nothing that lets threads wait for one another can beat.
"""

from __future__ import annotations

import _thread
import os
import threading
import time
from pathlib import Path
from typing import Protocol, cast

import diskcache
import sqlitedict

from ltxcore.blob_store import BlobStore, Options

#: SQLite's number for each durability that is measured.
SYNCHRONOUS = {"normal": 1, "durable": 2}


class Peer(Protocol):
    """A store of bytes."""

    def put(self, name: str, data: bytes) -> None:
        """Store."""

    def get(self, name: str) -> bytes | None:
        """Read."""

    def close(self) -> None:
        """Let go."""


class Ours:
    """The store that all of this is about, with its defaults."""

    def __init__(
        self,
        directory: Path,
        durability: str = "normal",
        capacity: int | None = None,
        *,
        batched: bool = True,
    ) -> None:
        options = Options(
            synchronous="full" if durability == "durable" else "normal",
            batch_max_items=1024 if batched else 1,
        )
        self.store = BlobStore(directory / "store.db", capacity=capacity, options=options)
        self.put = self.store.put
        self.get = self.store.get
        self.close = self.store.close


class WakingOnly:
    """Threads of which one answers for all, and nothing is stored: what writes that wait for others cost at least."""

    def __init__(self, directory: Path) -> None:
        self._lead = threading.Lock()
        self._waiting: list[_thread.LockType] = []

    def put(self, name: str, data: bytes) -> None:
        """Wait to be answered."""
        answered = _thread.allocate_lock()
        answered.acquire()
        self._waiting.append(answered)
        while True:
            if self._lead.acquire(blocking=False):
                time.sleep(0)  # the others come, as they do while a transaction begins
                came = self._waiting[:]
                del self._waiting[: len(came)]
                for one in came:
                    one.release()
                self._lead.release()
            if answered.acquire(timeout=0.1):
                return

    def get(self, name: str) -> bytes | None:
        """There is nothing."""
        return None

    def close(self) -> None:
        """Nothing to let go of."""


class DiskCache:
    """diskcache with its defaults, as to the policy too unless a capacity asks for least recently used."""

    def __init__(self, directory: Path, durability: str = "normal", capacity: int | None = None) -> None:
        bound = {"eviction_policy": "least-recently-used", "size_limit": capacity} if capacity else {}
        self.cache = diskcache.Cache(
            str(directory / "cache"), sqlite_synchronous=SYNCHRONOUS[durability], timeout=60, **bound
        )
        self.get = self.cache.get
        self.close = self.cache.close

    def put(self, name: str, data: bytes) -> None:
        """Store."""
        self.cache.set(name, data)


class SqliteDict:
    """sqlitedict in WAL mode, each write committed, bytes as they are."""

    def __init__(self, directory: Path) -> None:
        self.dict = sqlitedict.SqliteDict(
            str(directory / "dict.db"),
            autocommit=True,
            journal_mode="WAL",
            encode=lambda data: data,
            decode=lambda data: data,
        )

    def put(self, name: str, data: bytes) -> None:
        """Store, and wait for it as the others do."""
        self.dict[name] = data
        self.dict.commit()

    def get(self, name: str) -> bytes | None:
        """Read."""
        return cast("bytes | None", self.dict.get(name))

    def close(self) -> None:
        """Let go."""
        self.dict.close()


class PlainFiles:
    """A file for each, which appears by rename."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def put(self, name: str, data: bytes) -> None:
        """Store."""
        path = self.directory / name
        temporary = path.with_name(f"{path.name}.tmp")
        temporary.write_bytes(data)
        temporary.rename(path)

    def get(self, name: str) -> bytes | None:
        """Read."""
        try:
            return (self.directory / name).read_bytes()
        except FileNotFoundError:
            return None

    def compose(self, target: str, names: list[str]) -> None:
        """Make one file of several."""
        temporary = self.directory / f"{target}.tmp"
        with temporary.open("wb") as file:
            for name in names:
                file.write((self.directory / name).read_bytes())
        temporary.rename(self.directory / target)
        for name in names:
            os.unlink(self.directory / name)

    def close(self) -> None:
        """Nothing to let go of."""
