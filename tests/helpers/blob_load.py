"""A blob store under load from threads and processes: what must be exact all the time, and what must not grow."""

import contextlib
import ctypes
import dataclasses
import gc
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import ltxcore
from ltxcore.blob_store import BlobStore, Options
from ltxcore.errors import BlobNotFoundError, ChunkGapError

from tests.helpers.process import ROOT, environment

CAPACITY = 8_000_000
NAMES = 3000
THREADS, PROCESSES = 20, 4
OPTIONS = Options(chunk_size=64_000, batch_max_bytes=300_000, busy_timeout=60)


@dataclasses.dataclass
class Report:
    operations: int = 0
    samples: int = 0
    evictions: int = 0
    rss_growth_mib: float = 0.0
    descriptors: int = 0
    threads: int = 0
    restored: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


def content(name: str, version: int) -> bytes:
    """Says its own name and version, so that a torn or mistaken blob shows."""
    head = f"{name}:{version}:".encode()
    size = random.Random(f"{name}:{version}").choice((0, 10, 900, 20_000, 200_000))
    return (head * (size // len(head) + 1))[: max(size, len(head))]


def is_whole(name: str, data: bytes) -> bool:
    fields = data.split(b":", 2)
    return fields[0].decode() == name and data == content(name, int(fields[1]))


class Worker:
    """One of those that load the store."""

    def __init__(self, store: BlobStore, seed: int, report: Report) -> None:
        self.store, self.source, self.report = store, random.Random(seed), report

    def run(self, until: float) -> None:
        try:
            while time.monotonic() < until:
                self.step()
                self.report.operations += 1
        except Exception as error:
            self.report.problems.append(f"{type(error).__name__}: {error}")

    def step(self) -> None:
        source, store = self.source, self.store
        name = f"n/{int(source.paretovariate(0.7)) % NAMES}"
        data = content(name, source.randrange(1 << 30))
        match source.choices(range(8), (40, 25, 6, 6, 4, 4, 3, 2))[0]:
            case 0:
                found = store.get(name)
                if found is not None and not is_whole(name, found):
                    self.report.problems.append(f"{name} is torn")
            case 1:
                store.put(name, data)
            case 2:
                store.delete(name, missing_ok=True)
            case 3:
                store.put_nowait(name, data).result(60)
            case 4:
                with store.open(name, "wb") as file:
                    file.write(data)
            case 5:
                self.read_slowly(name)
            case 6:
                self.compose()
            case 7:
                with store.batch() as batch:
                    batch.put(name, data)
                    batch.delete("never", missing_ok=True)

    def read_slowly(self, name: str) -> None:
        with contextlib.suppress(BlobNotFoundError), self.store.open(name) as file:
            head = file.read(100)
            time.sleep(0.002)
            if not is_whole(name, head + file.read()):
                self.report.problems.append(f"{name} changed while it was read")

    def compose(self) -> None:
        token = self.source.randrange(1 << 60)
        for at in (5000, 0, 10_000):
            self.store.put(f"c/{token}/{at}", bytes([at // 5000]) * 5000)
        # Somebody may have had one of them evicted already.
        with contextlib.suppress(ChunkGapError):
            self.store.compose("composed", f"c/{token}/", size=15_000)
            found = self.store.get("composed")
            if found is not None and found != b"".join(bytes([part]) * 5000 for part in range(3)):
                self.report.problems.append("a composed blob is torn")


def sample(path: Path, capacity: int, until: float, report: Report) -> None:
    """What another program sees: at no commit is there more than the capacity, and the totals are the sums."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as connection:
        while time.monotonic() < until:
            row = connection.execute(
                "SELECT bytes, items, (SELECT sum(size) FROM item), (SELECT count(*) FROM item) FROM meta"
            ).fetchone()
            if row[0] > capacity or row[0] != (row[2] or 0) or row[1] != row[3]:
                report.problems.append(f"bytes, items, their sums: {row}")
            report.samples += 1
            time.sleep(0.005)


def rss_mib() -> float:
    gc.collect()
    # What malloc keeps for later is no leak.
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def load(room: Path, seconds: float, seed: int, capacity: int = CAPACITY) -> Report:
    """24 at once, in this process and others, and a sampler."""
    report, path = Report(), room / "store.db"
    before = (descriptors(), threading.active_count())
    began = time.monotonic()
    until = began + seconds
    with BlobStore(path, capacity=capacity, options=OPTIONS) as store:
        others = [other(path, seconds, seed + number) for number in range(PROCESSES)]
        workers = [
            threading.Thread(target=Worker(store, seed + 100 + number, report).run, args=(until,))
            for number in range(THREADS)
        ]
        workers.append(threading.Thread(target=sample, args=(path, capacity, until, report)))
        for worker in workers:
            worker.start()
        # By then every reader has filled its page cache.
        time.sleep(seconds / 2)
        warm = rss_mib()
        for worker in workers:
            worker.join()
        report.rss_growth_mib = round(rss_mib() - warm, 1)
        for child in others:
            output, _ = child.communicate(timeout=120)
            lines = output.splitlines()
            if child.returncode != 0 or not lines:
                report.problems.append(f"a process ended with {child.returncode}: {output}")
            else:
                report.operations += int(lines[0])
                report.problems += lines[1:]
        report.problems += store.check().problems
        report.evictions = store.stats().evictions
        if store.stats().open_readers:
            report.problems.append("readers are open")
    report.descriptors = descriptors() - before[0]
    report.threads = threading.active_count() - before[1]
    report.seconds = time.monotonic() - began
    return report


def other(path: Path, seconds: float, seed: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.helpers.blob_load", str(path), str(seconds), str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment())


def replicated(room: Path, seconds: float, seed: int, capacity: int = CAPACITY) -> Report:
    """A store under load, and its replica restored at TXIDs all along: each is a whole store."""
    report, path, replica = Report(), room / "store.db", room / "replica"
    BlobStore(path, capacity=capacity, options=OPTIONS).close()
    began = time.monotonic()
    with ltxcore.replicate(path, replica.as_uri()) as db, BlobStore(path, options=OPTIONS) as store:
        until = began + seconds
        workers = [
            threading.Thread(target=Worker(store, seed + number, report).run, args=(until,))
            for number in range(8)
        ]
        for worker in workers:
            worker.start()
        txids = []
        while time.monotonic() < until:
            time.sleep(max(seconds / 20, 0.1))
            txids.append(db.wait(timeout=60).txid)
        for worker in workers:
            worker.join()
        txids.append(db.wait(timeout=60).txid)
        report.evictions = store.stats().evictions
        final = {name: store[name] for name in store}
    for txid in sorted(set(txids)):
        with tempfile.TemporaryDirectory(dir=room) as directory:
            restored = Path(directory) / "store.db"
            ltxcore.restore(replica.as_uri(), restored, txid=txid)
            with BlobStore(restored, create=False) as copy:
                problems = copy.check().problems
                held = {name: copy[name] for name in copy}
        report.problems += [f"TXID {txid}: {problem}" for problem in problems]
        report.restored += 1
    if held != final:
        report.problems.append("the last restore is not the store as it was closed")
    report.seconds = time.monotonic() - began
    return report


def main() -> None:
    path, seconds, seed = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    report = Report()
    with BlobStore(path, options=OPTIONS) as store:
        Worker(store, seed, report).run(time.monotonic() + seconds)
    print(report.operations, *report.problems, sep="\n")


if __name__ == "__main__":
    main()
