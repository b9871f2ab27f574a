"""Where a run takes place: its directory, its sizes, and what several groups of rows share."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benches import datasets, tools

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured, and how often."""

    snapshot_mb: int = 1000
    chain_mb: int = 200
    chain_files: int = 2000
    rounds: int = 3
    seconds: float = 30.0
    commits: int = 60
    small_reads: int = 20_000

    @classmethod
    def quick(cls) -> Sizes:
        """Small enough for a look whether everything works; the figures mean little."""
        return cls(
            snapshot_mb=50, chain_mb=20, chain_files=200, rounds=2, seconds=2.0, commits=4, small_reads=1_000
        )


class Site:
    """A directory of the run, and the sizes it has."""

    def __init__(self, root: Path, sizes: Sizes) -> None:
        self.root, self.sizes = root, sizes
        self.notes: list[str] = []
        #: Ours did something wrong that no row shows.
        self.wrong = False
        self._big: Path | None = None
        self._used = 0

    def directory(self) -> Path:
        """A new one, for one measurement."""
        self._used += 1
        path = self.root / f"{self._used}"
        path.mkdir()
        return path

    def big_database(self) -> Path:
        """The large database, made when it is asked for first."""
        if self._big is None:
            self._big = self.directory() / "big.db"
            say(f"making a database of {self.sizes.snapshot_mb} MB")
            datasets.filled_database(self._big, self.sizes.snapshot_mb)
        return self._big

    def free_big_database(self) -> None:
        """Give its space back."""
        if self._big is not None:
            shutil.rmtree(self._big.parent)
            self._big = None

    def note(self, text: str) -> None:
        """Something that should be read with the table."""
        self.notes.append(text)


def say(text: str) -> None:
    """Progress, not part of the table."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def settle(inputs: Iterable[Path]) -> None:
    """The same start for every measurement: nothing left to be written, and its input in the page cache."""
    os.sync()
    buffer = bytearray(BLOCK)
    for path in inputs:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def files_below(*roots: Path) -> list[Path]:
    """All regular files below some directories."""
    return [path for root in roots for path in sorted(root.rglob("*")) if path.is_file()]


def write_speed(path: Path, total: int) -> float:
    """Seconds that it takes to write a file of so many bytes and to make it durable: no program can be faster."""
    block = os.urandom(BLOCK)
    os.sync()
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        left = total
        while left > 0:
            left -= file.write(block[:left])
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    path.unlink()
    return seconds


def library_seconds(log: Path, call: str, *arguments: object) -> float:
    """Seconds of one library call, without those of starting Python."""
    tools.run(tools.python_line("library", call, *arguments), log)
    return float(log.read_text().splitlines()[-1])
