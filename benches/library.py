"""The library calls, in a process that has Python and ltxcore loaded already.

python -m benches.library restore REPLICA OUTPUT      # prints the seconds of the call
python -m benches.library beside REPLICA OUTPUT       # prints how fast a thread counts beside that, in loops a second
python -m benches.library replicate DB REPLICA        # the same for a first replication
python -m benches.library follow DB REPLICA           # one L0 file for each line on stdin, answered by a line
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import ltxcore


def restore(replica: str, output: str) -> None:
    """Restore the newest state."""
    began = time.perf_counter()
    ltxcore.restore(replica, output)
    print(time.perf_counter() - began)


def beside(replica: str, output: str) -> None:
    """Restore the newest state while another thread counts; ``-`` in place of a replica: count until stdin ends."""
    ended = threading.Event()
    counts: list[float] = []
    counter = threading.Thread(target=lambda: counts.append(count(ended)))
    counter.start()
    if replica == "-":
        sys.stdin.read()
    else:
        ltxcore.restore(replica, output)
    ended.set()
    counter.join()
    print(counts[0])


def count(ended: threading.Event) -> float:
    """Do what an application does that needs the interpreter all the time; loops a second."""
    loops, began = 0, time.perf_counter()
    while not ended.is_set():
        sum(range(1000))
        loops += 1
    return loops / (time.perf_counter() - began)


def replicate(db: str, replica: str) -> None:
    """Bring a database into a replica, until it is durable there."""
    began = time.perf_counter()
    with ltxcore.DB(db, replica=replica) as opened:
        opened.wait()
    print(time.perf_counter() - began)


def follow(db: str, replica: str) -> None:
    """Sync when asked to. In a process of its own, since the application's SQLite is in the one that asks."""
    with ltxcore.DB(db, replica=replica) as opened:
        opened.sync()
        print("ready", flush=True)
        for _ in sys.stdin:
            print(opened.sync().txid, flush=True)


CALLS: dict[str, Callable[[str, str], None]] = {
    "restore": restore,
    "beside": beside,
    "replicate": replicate,
    "follow": follow,
}

if __name__ == "__main__":
    CALLS[sys.argv[1]](sys.argv[2], sys.argv[3])
