"""The two programs that are compared: run to the end and timed, or kept running and looked at."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Name = Literal["ltxcore", "litestream"]
NAMES: tuple[Name, ...] = get_args(Name)
#: The one that is installed with the tools, and one that may be named instead: `LTXCORE_BENCH_LITESTREAM=PATH`.
LITESTREAM_VERSIONS = ("0.5.17", "0.5.18")
LITESTREAM = "LTXCORE_BENCH_LITESTREAM"
ROOT = Path(__file__).parents[1]
MIB = 1 << 20


class BenchError(Exception):
    """A measurement could not be made."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a finished process took."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def program(name: str) -> str:
    """The program of this interpreter's environment, or else the one in PATH."""
    if name == "litestream" and (named := os.environ.get(LITESTREAM)):
        return named
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if found is None:
        raise BenchError(f"{name} is not installed; `make tools build` does it")
    return found


def environment() -> dict[str, str]:
    """For every child.

    Litestream does not start with AWS_CA_BUNDLE set to a file that it cannot use. An installed package has its bytecode.
    """
    left_out = {"AWS_CA_BUNDLE", "PYTHONDONTWRITEBYTECODE"}
    return {key: value for key, value in os.environ.items() if key not in left_out}


def check_programs() -> None:
    """Fail early if what is installed is not what the table claims to compare."""
    from ltxcore import _ltxcore

    if _ltxcore.DEBUG_BUILD:
        raise BenchError(
            "ltxcore is an unoptimised build; `make bench` with PROFILE=release measures the real one"
        )
    program("ltxcore")
    if (found := litestream_version()) not in LITESTREAM_VERSIONS:
        raise BenchError(f"Litestream {' or '.join(LITESTREAM_VERSIONS)} is wanted, not {found!r}")


def litestream_version() -> str:
    """What Litestream says about itself."""
    done = subprocess.run(
        [program("litestream"), "version"], capture_output=True, text=True, env=environment()
    )
    # Built from source it does not know; then what it was built from has to be in the name.
    said = done.stdout.strip().removeprefix("v")
    return next((each for each in LITESTREAM_VERSIONS if each in program("litestream")), said)


def url(replica: Path) -> str:
    """How both programs call a directory."""
    return f"file://{replica}"


def restore_line(name: Name, replica: Path, output: Path) -> list[str]:
    """The command that restores the newest state."""
    return [program(name), "restore", "-o", str(output), url(replica)]


def replicate_line(name: Name, db: Path, replica: Path, *, once: bool = False) -> list[str]:
    """The command that replicates, with the settings that it has by default."""
    flags = {"ltxcore": ["--once"], "litestream": ["-once"]}[name] if once else []
    return [program(name), "replicate", *flags, str(db), url(replica)]


def python_line(module: str, *arguments: object) -> list[str]:
    """The command that runs one of the modules beside this one."""
    return [sys.executable, "-m", f"benches.{module}", *map(str, arguments)]


def run(argv: Sequence[str], log: Path) -> Cost:
    """Run a command to its end; an error if that is a bad one.

    The peak is the kernel's own record. It starts from what this process itself has in memory, since the child is
    a copy of it for a moment; so this process must stay small, and keeps no data of the measurements.
    """
    with log.open("w") as output:
        began = time.perf_counter()
        child = subprocess.Popen(argv, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=environment())
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        seconds = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise BenchError(f"{Path(argv[0]).name} {argv[1]}: exit code {child.returncode}: {tail(log)}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / MIB)


@contextlib.contextmanager
def running(argv: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block: asked first, then killed."""
    with log.open("w") as output:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=environment())
        try:
            yield process
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes], timeout: float = 300.0) -> None:
    """End one process, and only this one. A last sync of a huge WAL may take a while."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout)
    except BaseException:
        process.kill()
        process.wait()
        raise


@contextlib.contextmanager
def replicating(name: Name, db: Path, replica: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that replicates; the block begins when the first file is in the replica."""
    log = replica.with_name(f"{replica.name}.log")
    with running(replicate_line(name, db, replica), log) as process:
        deadline = time.monotonic() + 60
        while not any(replica.glob("ltx/0/*.ltx")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{name} does not replicate: {tail(log)}")
            time.sleep(0.02)
        yield process
        if process.poll() is not None:
            raise BenchError(f"{name} ended by itself: {tail(log)}")


def tail(log: Path) -> str:
    """The last that a program said, on one line."""
    return " / ".join(log.read_text(errors="replace").splitlines()[-3:])


def complaints(log: Path) -> list[str]:
    """Warnings and errors in a program's log."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return [line for line in lines if "WARN" in line or "ERROR" in line or "Traceback" in line]


def cpu_seconds(pid: int) -> float:
    """Processor time of a process with all its threads, those that have ended too, to the nanosecond.

    It is the sum that /proc/PID/task/*/schedstat would give, without losing threads that end in between. The number
    of the clock is that of clock_getcpuclockid(3).
    """
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9


def peak_mib(pid: int) -> float:
    """Peak resident memory of a running process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / MIB
    raise BenchError(f"no VmHWM for process {pid}")
