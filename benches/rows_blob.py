"""The blob store beside diskcache, sqlitedict and plain files: the same work, the same `synchronous`, in turns."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import threading
import time
from bisect import bisect_left
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from pathlib import Path
from statistics import median

from benches.blob_peers import DiskCache, Ours, Peer, PlainFiles, SqliteDict, WakingOnly
from benches.site import Site, say
from benches.table import Row, Wanted
from ltxcore.blob_store import BlobStore, Options

PIECE, CHUNK, PIECES = 2 << 20, 16 << 10, 16
#: MB/s of the original design's benchmark of the same shape, on other machines, in another language.
PUBLISHED = "412-811"
Samples = dict[str, list[float]]


def blob(site: Site) -> list[Row]:
    """All workloads."""
    return [
        *mark_complete(site),
        *small_puts(site),
        *hits(site),
        *tail_reads(site),
        *zipf(site),
        *mass_eviction(site),
        *open_and_close(site),
        *disk_bytes(site),
    ]


def in_turns(site: Site, runs: dict[str, Callable[[Path], float]], rounds: int | None = None) -> Samples:
    """Each in an empty directory, in the opposite order every other time."""
    samples: Samples = defaultdict(list)
    for turn in range(rounds or site.sizes.rounds + 2):
        for name in list(runs) if turn % 2 == 0 else list(runs)[::-1]:
            directory = site.directory()
            samples[name].append(runs[name](directory))
            shutil.rmtree(directory)
    return samples


def rows_of(
    what: str, unit: str, samples: Samples, wanted: dict[str, float | None], ours: str = "ours"
) -> list[Row]:
    """One line for each of the others."""
    say(f"{what}: " + ", ".join(f"{name} {median(found):.3g} {unit}" for name, found in samples.items()))
    return [
        Row(
            f"blob: {what}",
            unit,
            median(samples[ours]),
            median(samples[other]),
            None if bound is None else Wanted(bound),
            against=other,
            samples={name: samples[name] for name in (ours, other)},
        )
        for other, bound in wanted.items()
    ]


# --- W1: chunks that come at the same time, put together and read back ------------------------------------


def mark_complete(site: Site) -> list[Row]:
    """32 MiB as 16 pieces of 128 chunks, over a full store of half the capacity."""
    pieces = [os.urandom(PIECE) for _ in range(PIECES)]
    offsets = range(0, PIECE, CHUNK)

    def ours(directory: Path, page_size: int | None) -> float:
        options = Options(page_size=page_size)
        with BlobStore(directory / "store.db", capacity=PIECES * PIECE // 2, options=options) as store:

            def piece(number: int, data: bytes, map_: Callable[..., Iterable[None]]) -> None:
                prefix = f"incompleted/{number}/"
                list(map_(lambda at: store.put(f"{prefix}{at}", data[at : at + CHUNK]), offsets))
                store.compose(f"completed/{number}", prefix, size=PIECE)
                with store.open(f"completed/{number}") as file:
                    assert file.read() == data

            return timed_pieces(pieces, piece)

    def files(directory: Path) -> float:
        peer = PlainFiles(directory)

        def piece(number: int, data: bytes, map_: Callable[..., Iterable[None]]) -> None:
            list(map_(lambda at: peer.put(f"{number}-{at}", data[at : at + CHUNK]), offsets))
            peer.compose(f"{number}", [f"{number}-{at}" for at in offsets])
            assert peer.get(f"{number}") == data

        return timed_pieces(pieces, piece)

    runs: dict[str, Callable[[Path], float]] = {
        "ours": lambda directory: ours(directory, None),
        "16 KiB pages": lambda directory: ours(directory, 16384),
        "plain files": files,
    }
    samples = in_turns(site, runs)
    what = f"128 chunks at once, made one ({PUBLISHED} published)"
    return [
        *rows_of(what, "MB/s", samples, {"plain files": 0.5}),
        *rows_of(f"{what}, 16 KiB pages", "MB/s", samples, {"plain files": None}, "16 KiB pages"),
    ]


def timed_pieces(pieces: list[bytes], piece: Callable[..., None]) -> float:
    """MB/s of the second time: the first fills the store."""
    with ThreadPoolExecutor(128) as pool:
        for number, data in enumerate(pieces):
            piece(number, data, pool.map)
        began = time.perf_counter()
        for number, data in enumerate(pieces):
            piece(number, data, pool.map)
        return len(pieces) * PIECE / 1e6 / (time.perf_counter() - began)


# --- W2: small writes -------------------------------------------------------------------------------------


def small_puts(site: Site) -> list[Row]:
    """Writes a second, of 16 threads and of one, with and without a sync for every commit."""
    rows = []
    quick = site.sizes.snapshot_mb < 100
    for durability, count in (("durable", 4000), ("normal", 16000)):
        for threads, size in ((16, 5), (16, 1024), (1, 5)):
            total = count // (8 if quick else 1)
            less = total // 4
            runs = {
                "ours": writing(partial(Ours, durability=durability), threads, size, total),
                "unbatched": writing(
                    partial(Ours, durability=durability, batched=False), threads, size, less
                ),
                "diskcache": writing(partial(DiskCache, durability=durability), threads, size, less),
            }
            wanted: dict[str, float | None] = {"unbatched": None, "diskcache": None}
            if threads == 16 and size == 5:
                wanted = {"unbatched": 5.0, "diskcache": 3.0}
                if durability == "normal":
                    runs["sqlitedict"] = writing(SqliteDict, threads, size, less)
                    runs["threads alone"] = writing(WakingOnly, threads, size, total)
                    wanted |= {"sqlitedict": None, "threads alone": None}
            what = f"puts of {size} B, {threads} thread{'s' * (threads > 1)}, {durability}"
            rows += rows_of(what, "/s", in_turns(site, runs), wanted)
    return rows


def writing(make: Callable[[Path], Peer], threads: int, size: int, total: int) -> Callable[[Path], float]:
    """Writes a second of several threads."""

    def run(directory: Path) -> float:
        peer, data, each = make(directory), os.urandom(size), max(total // threads, 1)
        numbers = itertools.count()

        def work() -> None:
            for _ in range(each):
                peer.put(f"{next(numbers):08d}", data)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds = time.perf_counter() - began
        peer.close()
        return each * threads / seconds

    return run


# --- W3 and W4: reads -------------------------------------------------------------------------------------


def hits(site: Site) -> list[Row]:
    """Microseconds of a hit, in turns of a few thousand; the fastest tenth, which nothing disturbed."""
    rows = []
    for size, label, count in ((5, "5 B", 2000), (CHUNK, "16 KiB", 2000), (1 << 20, "1 MiB", 100)):
        directory = site.directory()
        peers: dict[str, Peer] = {"ours": Ours(directory), "diskcache": DiskCache(directory)}
        samples: Samples = defaultdict(list)
        data = os.urandom(size)
        for peer in peers.values():
            peer.put("name", data)
            assert peer.get("name") == data
        for turn in range(20 if site.sizes.rounds < 3 else 60):
            for name in list(peers) if turn % 2 == 0 else list(peers)[::-1]:
                get = peers[name].get
                began = time.perf_counter()
                for _ in range(count):
                    get("name")
                samples[name].append((time.perf_counter() - began) / count * 1e6)
        for peer in peers.values():
            peer.close()
        best = {name: [sorted(found)[len(found) // 10]] for name, found in samples.items()}
        rows += rows_of(f"a hit of {label}", "us", best, {"diskcache": 1.5})
    return rows


def tail_reads(site: Site) -> list[Row]:
    """4 KiB at the end of 32 MiB: it must not matter how long a blob is."""

    def run(directory: Path, offset: int) -> float:
        with BlobStore(directory / "store.db") as store:
            store.put("long", bytes(32 << 20))
            began = time.perf_counter()
            for _ in range(2000):
                store.read_range("long", offset, 4096)
            return (time.perf_counter() - began) / 2000 * 1e6

    runs = {
        "ours": lambda directory: run(directory, (32 << 20) - 4096),
        "at its start": lambda directory: run(directory, 0),
    }
    return rows_of("4 KiB at the end of 32 MiB", "us", in_turns(site, runs, 2), {"at its start": None})


# --- W5 and W6: eviction ----------------------------------------------------------------------------------


def zipf(site: Site) -> list[Row]:
    """A cache of a tenth of what is asked for, as often as by Zipf's law with exponent 0.9."""
    names, size = 20_000, 1000
    room = names // 10
    chances = list(accumulate(1 / (rank + 1) ** 0.9 for rank in range(names)))
    source = random.Random(5)
    count = 8_000 if site.sizes.rounds < 3 else 40_000
    asked = [str(bisect_left(chances, source.random() * chances[-1])) for _ in range(count)]
    found: dict[str, float] = {}

    def run(label: str, make: Callable[[Path], Peer]) -> Callable[[Path], float]:
        def measure(directory: Path) -> float:
            peer, data, good = make(directory), os.urandom(size), 0
            began = time.perf_counter()
            for name in asked:
                if peer.get(name) is None:
                    peer.put(name, data)
                else:
                    good += 1
            seconds = time.perf_counter() - began
            peer.close()
            found[label] = good / len(asked) * 100
            return len(asked) / seconds

        return measure

    runs = {
        "ours": run("ours", lambda at: Ours(at, capacity=room * size)),
        "diskcache": run("diskcache", lambda at: DiskCache(at, capacity=room * size)),
    }
    rows = rows_of("cache of a tenth, Zipf 0.9", "/s", in_turns(site, runs), {"diskcache": 1.0})
    exact = exact_hits(asked, room) * 100
    say(
        f"hit ratio: ours {found['ours']:.2f} %, diskcache {found['diskcache']:.2f} %, exact LRU {exact:.2f} %"
    )
    what = "blob: hits in it, of 100"
    return [
        *rows,
        Row(what, "", found["ours"], exact, Wanted(0.99), against="exact LRU"),
        Row(what, "", found["ours"], found["diskcache"], None, against="diskcache"),
    ]


def exact_hits(asked: list[str], room: int) -> float:
    """The part that a textbook's LRU cache would have."""
    cache: OrderedDict[str, None] = OrderedDict()
    good = 0
    for name in asked:
        if name in cache:
            good += 1
            cache.move_to_end(name)
        else:
            cache[name] = None
            if len(cache) > room:
                cache.popitem(last=False)
    return good / len(asked)


def mass_eviction(site: Site) -> list[Row]:
    """One put that has 20,000 blobs go."""

    def run(directory: Path) -> float:
        with BlobStore(directory / "store.db", capacity=20_000) as store:
            for number in range(20_000):
                store.put_nowait(str(number), b"x")
            store.flush()
            began = time.perf_counter()
            store.put("large", bytes(20_000))
            milliseconds = (time.perf_counter() - began) * 1e3
            assert list(store) == ["large"]
            return milliseconds

    samples = in_turns(site, {"ours": run})
    say(f"20,000 evictions in one put: {median(samples['ours']):.0f} ms")
    return [
        Row(
            "blob: 20,000 evictions in one put",
            "ms",
            median(samples["ours"]),
            wanted=Wanted(100, "ours"),
            samples=samples,
        )
    ]


# --- W7 and W8 --------------------------------------------------------------------------------------------


def open_and_close(site: Site) -> list[Row]:
    """Opening a store that is there, and closing it."""

    def run(make: Callable[[Path], Peer]) -> Callable[[Path], float]:
        def measure(directory: Path) -> float:
            make(directory).close()
            began = time.perf_counter()
            for _ in range(20):
                make(directory).close()
            return (time.perf_counter() - began) / 20 * 1e3

        return measure

    runs = {"ours": run(Ours), "diskcache": run(DiskCache)}
    return rows_of("open and close", "ms", in_turns(site, runs, 2), {"diskcache": None})


def disk_bytes(site: Site) -> list[Row]:
    """Bytes on disk for each that was stored, after many were overwritten and the free pages given back."""
    rows = []
    for size, count in ((100, 20_000), (CHUNK, 1000), (1 << 20, 20)):
        directory = site.directory()
        with BlobStore(directory / "store.db") as store:
            for number in range(count * 2):
                store.put_nowait(str(number % count), os.urandom(size))
            store.flush()
            store.vacuum()
        used = sum(path.stat().st_size for path in directory.iterdir())
        rows.append(Row(f"blob: bytes on disk for each of {size:,} B blobs", "", used / (size * count)))
        shutil.rmtree(directory)
    return rows
