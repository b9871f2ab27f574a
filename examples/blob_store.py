"""What a blob store is for, in a few seconds.

A cache that is half as large as what is put into it keeps what was used; chunks that arrive in any order become one file
without being copied; and the file behind it all is replicated and restored like any other SQLite database. Everything
happens in a temporary directory, and nothing is left behind.
"""

import hashlib
import os
import random
import tempfile
import time
from pathlib import Path

import ltxcore
from ltxcore.blob_store import BlobStore

MIB = 1 << 20
CHUNK = 64 << 10


def keep_what_is_used(path: Path) -> None:
    """Fill a cache twice over, and read a few names all the time."""
    favourites = [f"page/{number}" for number in range(20)]
    with BlobStore(path, capacity=4 * MIB) as store:
        for number in range(512):
            store[f"page/{number}"] = os.urandom(16 << 10)
            for name in favourites[: number + 1]:
                store.get(name)
        usage, stats = store.usage(), store.stats()
        if not all(name in store for name in favourites):
            raise SystemExit("a blob that was used all the time was evicted")
    print(f"cache      {stats.puts} blobs of 16 KiB put, capacity {usage.capacity} bytes")
    print(f"           {usage.items} blobs of {usage.payload_bytes} bytes kept, {stats.evictions} evicted")
    print(f"           {stats.hits} reads found their blob, {stats.misses} did not")


def compose_a_file(path: Path) -> None:
    """Put chunks in any order; make one blob of them; read it as a file."""
    data = os.urandom(16 * MIB)
    offsets = list(range(0, len(data), CHUNK))
    random.shuffle(offsets)
    with BlobStore(path) as store:
        with store.batch() as batch:
            for offset in offsets:
                batch.put(f"incoming/{offset}", data[offset : offset + CHUNK])
        began = time.perf_counter()
        size = store.compose("whole", "incoming/", size=len(data))
        took = time.perf_counter() - began
        with store.open("whole") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        if digest != hashlib.sha256(data).hexdigest() or list(store) != ["whole"]:
            raise SystemExit("the whole is not the sum of its chunks")
    print(f"\ncompose    {len(offsets)} chunks became one blob of {size} bytes in {took * 1000:.1f} ms")


def replicate_and_restore(path: Path, replica: Path, restored: Path) -> None:
    """Replicate the file while it is written to, restore it, and compare."""
    with BlobStore(path) as store, ltxcore.DB(path, replica=replica) as db:
        store["note"] = b"written while it is replicated"
        pos = db.wait(timeout=20)
    ltxcore.restore(replica, restored)
    with BlobStore(path, readonly=True) as now, BlobStore(restored, readonly=True) as then:
        if dict(now) != dict(then) or not then.check().is_clean:
            raise SystemExit("the restored store differs from the one that was written")
        print(f"\nreplicate  {len(then)} blobs restored at TXID {pos.txid}, every byte the same")


def main() -> None:
    """All three."""
    with tempfile.TemporaryDirectory(prefix="ltxcore-blobs-") as folder:
        here = Path(folder).resolve()
        keep_what_is_used(here / "cache.db")
        compose_a_file(here / "chunks.db")
        replicate_and_restore(here / "chunks.db", here / "replica", here / "restored.db")


if __name__ == "__main__":
    main()
