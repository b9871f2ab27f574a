"""Histories in the layout of Litestream 0.3, made of a real database without Litestream: thousands of segments in seconds.

The WAL is the one that SQLite writes, cut where transactions end, in LZ4 frames of liblz4 with Litestream's options. The
n-th object was stored n seconds after `EPOCH`.
"""

import os
import sqlite3
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lz4.frame

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
GENERATION = "00000000000000aa"
BLOCK = 4 << 20


def frame() -> "lz4.frame.LZ4FrameCompressor":
    """What makes one frame: independent blocks of 4 MiB, and a checksum of the content."""
    return lz4.frame.LZ4FrameCompressor(
        block_size=lz4.frame.BLOCKSIZE_MAX4MB, block_linked=False, content_checksum=True
    )


class History:
    """One database, which is in WAL mode, and one generation of it. `connection` is for the transactions."""

    def __init__(
        self, db: Path, replica: Path, *, generation: str = GENERATION, page_size: int = 4096
    ) -> None:
        self.db = db
        self.wal = db.with_name(f"{db.name}-wal")
        self.folder = replica / "generations" / generation
        for kind in ("snapshots", "wal"):
            (self.folder / kind).mkdir(parents=True)
        self.index = self.offset = self.stored = 0
        self.connection = sqlite3.connect(db, isolation_level=None)
        for setting in (
            f"page_size = {page_size}",
            "journal_mode = wal",
            "wal_autocheckpoint = 0",
            "synchronous = off",
        ):
            self.connection.execute(f"PRAGMA {setting}")
        self._empty_wal()

    def __enter__(self) -> "History":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def snapshot(self) -> Path:
        """Store the database, to which the WAL that is begun next belongs."""
        assert self.offset == 0, "some of this WAL is stored already"
        self._empty_wal()
        copy = self.db.with_name(f"{self.db.name}-copy")
        # In this process it would drop the locks of the connection.
        subprocess.run(["cp", self.db, copy], check=True)
        path = self._store(f"snapshots/{self.index:08x}.snapshot.lz4", copy, 0)
        copy.unlink()
        return path

    def segment(self) -> Path:
        """Store what was committed since the last segment."""
        path = self._store(f"wal/{self.index:08x}_{self.offset:08x}.wal.lz4", self.wal, self.offset)
        self.offset = self.wal.stat().st_size
        return path

    def next_wal(self) -> None:
        """Checkpoint; what is committed next is in the WAL after this one."""
        self._empty_wal()
        self.index, self.offset = self.index + 1, 0

    def time(self) -> datetime:
        """When the newest object was stored."""
        return EPOCH + timedelta(seconds=self.stored)

    def _empty_wal(self) -> None:
        busy, _, _ = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0

    def _store(self, name: str, source: Path, offset: int) -> Path:
        path, packer = self.folder / name, frame()
        with source.open("rb", buffering=0) as data, path.open("wb") as output:
            data.seek(offset)
            output.write(packer.begin())
            while block := data.read(BLOCK):
                output.write(packer.compress(block))
            output.write(packer.flush())
        self.stored += 1
        seconds = self.time().timestamp()
        os.utime(path, (seconds, seconds))
        return path
