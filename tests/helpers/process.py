"""Child processes of the tests: started with a log, ended by their own pid, never waited for without a limit."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class ChildError(AssertionError):
    """A child answered with an error, too late, or not at all."""

    def __init__(self, message: str, *, kinds: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.kinds = tuple(kinds)


def environment(**extra: str) -> dict[str, str]:
    """The environment of a child: ours, the repository on its path, and no certificate bundle for Litestream."""
    env = {key: value for key, value in os.environ.items() if key != "AWS_CA_BUNDLE"}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return env | extra


class Child:
    """One process with a log file for what it writes to stderr."""

    def __init__(self, argv: Sequence[str], log: Path, *, talk: bool = False, cwd: Path = ROOT) -> None:
        self.argv, self.log = list(argv), log
        pipe = subprocess.PIPE if talk else subprocess.DEVNULL
        with log.open("ab") as stderr:
            out = pipe if talk else stderr
            self.popen = subprocess.Popen(
                self.argv, stdin=pipe, stdout=out, stderr=stderr, cwd=cwd, env=environment()
            )
        self._pending = b""

    @property
    def pid(self) -> int:
        return self.popen.pid

    def alive(self) -> bool:
        return self.popen.poll() is None

    def send_signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def wait(self, timeout: float) -> int:
        """The exit status; a child that does not end in time is killed and reported."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.send_signal(signal.SIGUSR1)
            time.sleep(0.5)  # for the stacks of a Python process to reach the log; others just end
            self.kill()
            raise ChildError(f"{self.argv[:4]} did not end within {timeout} s\n{self.tail()}") from None

    def terminate(self, timeout: float = 30.0) -> int:
        self.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self.close_pipes()

    def close_pipes(self) -> None:
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def tail(self, size: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""

    def write_line(self, text: str) -> None:
        assert self.popen.stdin is not None
        try:
            self.popen.stdin.write(text.encode() + b"\n")
            self.popen.stdin.flush()
        except BrokenPipeError:
            raise ChildError(f"{self.argv[:4]} has ended: {self.popen.poll()}\n{self.tail()}") from None

    def read_line(self, timeout: float) -> str:
        """The next line of its stdout; a child that stays silent is an error, not a hanging test."""
        assert self.popen.stdout is not None
        end = time.monotonic() + timeout
        while b"\n" not in self._pending:
            ready, _, _ = select.select([self.popen.stdout], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(self.popen.stdout.fileno(), 65536) if ready else b""
            if not chunk:
                what = "ended" if ready else f"did not answer within {timeout} s"
                raise ChildError(f"{self.argv[:4]} {what}\n{self.tail()}")
            self._pending += chunk
        line, self._pending = self._pending.split(b"\n", 1)
        return line.decode()


class Talker(Child):
    """A child that answers JSON lines, one answer a request."""

    def __init__(self, module: str, log: Path) -> None:
        super().__init__([sys.executable, "-m", module], log, talk=True)

    def ask(self, command: str, *, timeout: float = 60.0, **arguments: Any) -> Any:
        self.begin(command, **arguments)
        return self.end(command, timeout)

    def begin(self, command: str, **arguments: Any) -> None:
        """Ask, and leave the answer to `end`: several children then work at the same time."""
        self.write_line(json.dumps({"command": command, **arguments}))

    def end(self, command: str, timeout: float = 60.0) -> Any:
        answer = json.loads(self.read_line(timeout))
        if "error" in answer:
            raise ChildError(f"{command}: {answer['error'][0]}: {answer['message']}", kinds=answer["error"])
        return answer["result"]


def request_lines() -> Iterator[bytes]:
    """Lines of stdin, and signals in between.

    A signal that comes after Python last looked for one and before a blocking read begins would wait for the next line;
    so what blocks here is a select, which the wake-up descriptor ends.
    """
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    pending = b""
    while True:
        select.select([0, woken], [], [])  # a handler runs, and may raise, right after this returns
        with contextlib.suppress(BlockingIOError):
            os.read(woken, 512)
        if not select.select([0], [], [], 0)[0]:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines


def answer_lines(handle: Callable[[str, dict[str, Any]], Any]) -> None:
    """The child's side of `Talker`: run every request, turn exceptions into answers."""
    for line in request_lines():
        request = json.loads(line)
        try:
            answer = {"result": handle(request.pop("command"), request)}
        except Exception as error:  # the parent decides what each error means
            kinds = [kind.__name__ for kind in type(error).__mro__]
            answer = {"error": kinds, "message": str(error)}
        print(json.dumps(answer), flush=True)


@contextlib.contextmanager
def ended(*children: Child | None) -> Iterator[None]:
    """Whatever happens inside, none of these processes outlives it."""
    try:
        yield
    finally:
        for child in children:
            if child is not None and child.alive():
                child.send_signal(signal.SIGCONT)
                child.kill()
            elif child is not None:
                child.close_pipes()


def until(true: Callable[[], bool], *, timeout: float = 20.0, what: str = "condition") -> None:
    """Wait for something that happens in another process."""
    end = time.monotonic() + timeout
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(0.01)
