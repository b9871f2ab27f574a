"""kill -9 of a process that puts blobs in several threads, and what must be true when the store is opened again.

Without a capacity every acknowledged blob is there, whole. With one, the store holds what fits, and nothing that it holds is
torn. In both, totals are right, nothing of a blob that was half written is left, and the check finds nothing.
"""

import dataclasses
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from ltxcore.blob_store import BlobStore, Options

from tests.helpers.process import ROOT, environment

THREADS = 4
#: The last size is written in several transactions.
SIZES = (0, 5, 700, 5000, 70_000, 400_000)
OPTIONS = Options(chunk_size=30_000, batch_max_bytes=100_000)
CAPACITY = 3_000_000


def content(name: str) -> bytes:
    """What a blob holds, from its name alone."""
    seed = random.Random(name)
    return seed.randbytes(8) * (seed.choice(SIZES) // 8)


@dataclasses.dataclass
class Report:
    kills: int = 0
    acknowledged: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


def put_for_ever(path: Path, first: int, capacity: int | None) -> None:
    """The process that is killed: a line for each blob that is committed."""
    store = BlobStore(path, capacity=capacity, options=OPTIONS)
    lock = threading.Lock()

    def work(thread: int) -> None:
        number = first
        while True:
            number += 1
            name = f"{thread}/{number}"
            data = content(name)
            if number % 5 == 0:
                with store.open(name, "wb", size=len(data)) as file:
                    file.write(data)
            else:
                store.put(name, data)
            if number % 3 == 0:
                store.get(f"{thread}/{number - 2}")
            with lock:
                print(name, flush=True)

    for thread in range(THREADS):
        threading.Thread(target=work, args=(thread,)).start()


def run(room: Path, times: int, source: random.Random) -> Report:
    """Half of the kills over a store without a capacity, half over one with."""
    report, began = Report(), time.monotonic()
    for number in range(times):
        capacity = CAPACITY if number % 2 else None
        path = room / f"store-{number % 2}.db"
        if number % 20 < 2:
            for leftover in room.glob(f"{path.name}*"):
                leftover.unlink()
        acknowledged = kill_once(path, number * 100_000, capacity, source.uniform(0.15, 0.7))
        report.kills += 1
        report.acknowledged += len(acknowledged)
        report.problems += [f"kill {number}: {problem}" for problem in problems(path, acknowledged, capacity)]
    report.seconds = time.monotonic() - began
    return report


def kill_once(path: Path, first: int, capacity: int | None, seconds: float) -> list[str]:
    """The names that were acknowledged before the process died."""
    arguments = [str(path), str(first), str(capacity or 0)]
    command = [sys.executable, "-m", "tests.helpers.blob_kill9", *arguments]
    log = path.with_suffix(".log")
    with log.open("ab") as stderr:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT, env=environment())
    assert child.stdout is not None
    with child.stdout as output:
        lines = [output.readline()]  # it has started
        timer = threading.Timer(seconds, child.send_signal, [signal.SIGKILL])
        timer.start()
        lines += output.readlines()
    assert child.wait(10) == -signal.SIGKILL, log.read_text()
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]


def problems(path: Path, acknowledged: list[str], capacity: int | None) -> list[str]:
    found = []
    with BlobStore(path, options=OPTIONS) as store:
        report, usage = store.check(), store.usage()
        found += report.problems
        held = {name: store[name] for name in store}
        found += [f"{name} is torn" for name, data in held.items() if data != content(name)]
        if usage.staged_bytes:
            found.append(f"{usage.staged_bytes} bytes of unfinished blobs are left")
        if usage.payload_bytes != sum(map(len, held.values())) or usage.items != len(held):
            found.append(f"the totals are wrong: {usage}")
        if capacity is None:
            found += [f"{name} was acknowledged and is lost" for name in acknowledged if name not in held]
        elif usage.payload_bytes > capacity:
            found.append(f"{usage.payload_bytes} bytes are more than {capacity}")
        elif acknowledged and not held.keys() & (last := newest(acknowledged)):
            found.append(f"{', '.join(sorted(last))} were acknowledged last and are lost")
    return found


def newest(acknowledged: list[str]) -> set[str]:
    """The last one of each thread: which of them was committed last is not known, since a thread may be late to say so."""
    return set({name.partition("/")[0]: name for name in acknowledged}.values())


if __name__ == "__main__":
    put_for_ever(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) or None)
