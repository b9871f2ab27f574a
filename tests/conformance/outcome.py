"""What a run of a program came to, and how it is run: with a limit of time, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Clients that mptester started end a moment after it.
REST_SECONDS = 10.0


@dataclass(slots=True)
class Outcome:
    """The figure for the table, what was wrong, and what a comparison with stock needs."""

    figure: str = ""
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    #: Compared with that of stock where a check says so; a difference is a fault.
    compared: object = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A process group that has ended."""

    code: int | None
    seconds: float
    text: str
    leftover: bool

    def faults(self) -> list[str]:
        """What the way it ended says."""
        if self.code is None:
            return [f"still running after {self.seconds:.0f} s"]
        found = [f"exit code {self.code}: {last_words(self.text)}"] if self.code else []
        return [*found, *(["a process of it did not end"] if self.leftover else [])]


def last_words(text: str, lines: int = 2) -> str:
    """The last that a program said, on one line."""
    return " / ".join(line.strip() for line in text.strip().splitlines()[-lines:])


def run(
    argv: Sequence[object],
    directory: Path,
    environment: Mapping[str, str],
    timeout: float,
    user: Sequence[str] = (),
) -> Finished:
    """Run a program and all that it starts to the end, or kill them when the time is over."""
    output = directory / "output"
    command = [*user, *map(str, argv)]
    with output.open("wb") as log:
        began = time.monotonic()
        child = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        code: int | None = None
        leftover = True
        try:
            code = child.wait(timeout)
            seconds = time.monotonic() - began
            leftover = not group_ends(child.pid)
        except subprocess.TimeoutExpired:
            seconds = time.monotonic() - began
        finally:
            if leftover:  # else its number may be that of another group by now
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return Finished(code, seconds, output.read_text(errors="replace"), leftover)


def group_ends(group: int) -> bool:
    """Wait for the rest of a process group."""
    deadline = time.monotonic() + REST_SECONDS
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def empty_directory(path: Path) -> Path:
    """A new, empty one in that place."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def remove(path: Path) -> None:
    """A directory of which a program may have locked parts away."""
    shutil.rmtree(path, ignore_errors=True)
