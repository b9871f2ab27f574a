"""What a program runs over: which VFS, for all of its processes or for every second one, whole or broken."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

STOCK_VFS = "unix"


@dataclass(frozen=True, slots=True)
class Subject:
    """One VFS in one state. ``so`` is what registers it, None for those that SQLite has."""

    vfs: str
    so: Path | None = None
    is_mixed: bool = False
    broken: str = ""
    extra: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def is_stock(self) -> bool:
        """Whether it is SQLite's own VFS in every process."""
        return self.vfs == STOCK_VFS and self.so is None and not self.broken

    def with_broken(self, method: str) -> Subject:
        """The same with one method broken."""
        return dataclasses.replace(self, broken=method)

    def environment(self, bin_folder: Path, directory: Path, *, logged: bool = True) -> dict[str, str]:
        """What the injected object reads; `c/inject.c` says what each means."""
        found = {
            "CONFORMANCE_INJECT": str(bin_folder / "inject.so"),
            "CONFORMANCE_VFS": self.vfs,
            **self.extra,
        }
        if self.so is not None:
            found["CONFORMANCE_SO"] = str(self.so)
        if self.is_mixed:
            found["CONFORMANCE_MIX"] = str(directory / "mix")
        if self.broken:
            found["CONFORMANCE_BREAK"] = self.broken
        if logged:
            found["CONFORMANCE_LOG"] = str(directory / "usage")
        return found


@dataclass(slots=True)
class Usage:
    """What the processes of a run opened through which VFS: the proof that it was in use."""

    processes: Counter[str] = field(default_factory=Counter)
    databases: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, directory: Path) -> Usage:
        """From the lines that the injected object wrote at the exit of each process."""
        usage, path = cls(), directory / "usage"
        for line in path.read_text().splitlines() if path.exists() else ():
            side, _pid, *opened = line.split()
            usage.processes[side] += 1
            for item in opened:
                name, _, counts = item.rpartition("=")
                kinds = list(map(int, counts.split(",")))
                usage.databases[name] += kinds[0]
                usage.files[name] += sum(kinds)
        return usage

    def faults(self, subject: Subject) -> list[str]:
        """Whether the VFS that was meant did the work, and in mixed runs both."""
        meant = "broken" if subject.broken else subject.vfs
        if not self.processes:
            return ["no process said which VFS it used"]
        if not self.databases[meant]:
            return [f"no database was opened through {meant}: {dict(self.databases)}"]
        if subject.is_mixed:
            least, total = min(self.processes["ours"], self.processes["stock"]), self.processes.total()
            return [] if least * 3 >= total else [f"lopsided: {dict(self.processes)}"]
        if meant != STOCK_VFS and self.databases[STOCK_VFS] * 20 > self.databases[meant]:
            return [f"{STOCK_VFS} was in use too: {dict(self.databases)}"]
        return []
