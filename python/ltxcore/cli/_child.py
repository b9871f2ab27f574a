"""The process that `replicate --exec` looks after, and the events that end a replication.

Signal handlers and threads only put events into one queue; the main thread takes them out, one at a time, and
decides. `SimpleQueue.put` may be called in a signal handler; an `Event` or a `Condition` may not be used there. The
main thread waits on a pipe, not on the queue: a signal that arrives just before a blocking call would not end it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

from ltxcore.errors import Error


@dataclass(frozen=True)
class Signalled:
    """The process got SIGINT or SIGTERM."""

    number: int


@dataclass(frozen=True)
class Finished:
    """What ran beside the main thread is done; ``what`` names it, where there is more than one."""

    result: Any = None
    error: BaseException | None = None
    what: str = ""


class Events:
    """SIGINT and SIGTERM, and the ends of other threads, as a queue. A context manager."""

    def __init__(self) -> None:
        #: Whether a signal has come.
        self.asked = False
        self._queue: queue.SimpleQueue[Signalled | Finished] = queue.SimpleQueue()
        self._handlers: dict[int, Any] = {}
        self._wakeup = -1
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)

    def __enter__(self) -> Self:
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._signalled)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        self.asked = True
        self._queue.put(Signalled(number))

    def next(self, check: Callable[[], float | None] = lambda: None) -> Signalled | Finished:
        """Wait for what happens next.

        `check` is called before, and again after as many seconds as it returns, if it does not return `None`.
        """
        while True:
            try:
                return self._queue.get_nowait()
            except queue.Empty:
                ready, _, _ = select.select([self._reader], [], [], check())
                if ready:
                    os.read(self._reader, 4096)

    def start(self, work: Callable[[], Any], what: str = "") -> None:
        """Run `work` in a thread of its own; its end is an event, which `what` names."""
        threading.Thread(target=self._run, args=(work, what), daemon=True).start()

    def _run(self, work: Callable[[], Any], what: str) -> None:
        try:
            self._queue.put(Finished(work(), what=what))
        except BaseException as error:  # whoever takes the event raises it
            self._queue.put(Finished(error=error, what=what))
        # A full pipe wakes the reader just as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0")


class Child:
    """A process that inherits our standard streams and gets our signals."""

    def __init__(self, argv: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(list(argv))
        except OSError as error:
            raise Error(
                f"cannot start {argv[0]}: {error.strerror}",
                hint="--exec starts a program without a shell; for shell commands write --exec \"sh -c '...'\"",
            ) from error
        self._forwarded: set[int] = set()

    def forward(self, number: int) -> None:
        """Hand a signal on."""
        self._forwarded.add(number)
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; the exit code, as a shell would report it.

        A child that died of a signal which it got from us did what it was asked to: that is 0.
        """
        code = self._process.wait()
        if code >= 0:
            return code
        return 0 if -code in self._forwarded else 128 - code
