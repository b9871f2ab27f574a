"""The processes of a world of acts. One of each kind is kept warm: an interpreter takes longer to start than most acts."""

import glob
import json
import os
import select
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.process import Child, Talker

APPLICATION, REPLICATOR = "tests.helpers.acts_app", "tests.helpers.acts_driver"
#: What makes a process see another time of day; "" where it is not installed (Debian's package `faketime`).
FAKETIME = next(iter(sorted(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1"))), "")


class Worker(Talker):
    """A process that answers line commands, and that can be killed while it is at one."""

    def __init__(self, module: str, log: Path, under: Sequence[str] = ()) -> None:
        Child.__init__(self, [*under, sys.executable, "-m", module], log, talk=True)

    def ask_and_kill(self, command: str, seconds: float, **arguments: object) -> None:
        """It dies in the middle of a command, unless that ends within `seconds`."""
        if command:
            self.write_line(json.dumps({"command": command, **arguments}))
        assert self.popen.stdout is not None
        select.select([self.popen.stdout], [], [], seconds)
        self.kill()


class Pool:
    """Warm processes, shared by all worlds of a run; `end` stops those that nobody uses."""

    room: tempfile.TemporaryDirectory[str] | None = None
    idle: dict[str, list[Worker]] = {}
    started = 0

    @classmethod
    def take(cls, module: str) -> Worker:
        idle = cls.idle.setdefault(module, [])
        worker = idle.pop() if idle else cls._start(module)
        if not idle:
            idle.append(cls._start(module))
        return worker

    @classmethod
    def give_back(cls, module: str, worker: Worker) -> None:
        cls.idle.setdefault(module, []).append(worker)

    @classmethod
    def end(cls) -> None:
        for workers in cls.idle.values():
            while workers:
                workers.pop().kill()
        if cls.room is not None:
            cls.room.cleanup()
            cls.room = None

    @classmethod
    def _start(cls, module: str) -> Worker:
        cls.room = cls.room or tempfile.TemporaryDirectory(prefix="ltx-")
        cls.started += 1
        return Worker(module, Path(cls.room.name) / f"{module}-{cls.started}.log")


class Clock:
    """The time of day of one replicating process, which may be moved while it runs."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "clock"
        self.set("+0")

    def set(self, offset: str) -> None:
        staged = self.file.with_name("clock-staged")
        staged.write_text(offset)
        os.replace(staged, self.file)

    def worker(self, log: Path) -> Worker:
        settings = {
            "LD_PRELOAD": FAKETIME,
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        return Worker(REPLICATOR, log, ["env", *(f"{key}={value}" for key, value in settings.items())])
