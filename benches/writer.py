"""`python -m benches.writer DB SECONDS`: an application that commits row after row, as fast as it can.

WAL, synchronous NORMAL, one row a commit, Python's own sqlite3. It prints what it got done as one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import time
from array import array
from pathlib import Path

from benches.datasets import INSERT, row_source


def write(path: Path, seconds: float) -> dict[str, float]:
    """Commit for so many seconds; how often that worked, and how long commits took, in milliseconds."""
    rows = row_source(seed=2)
    prepared = [next(rows) for _ in range(1000)]
    laps = array("q")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
        connection.execute("PRAGMA synchronous = NORMAL")
        began = last = time.perf_counter_ns()
        end = began + int(seconds * 1e9)
        while last < end:
            connection.execute(INSERT, prepared[len(laps) % len(prepared)])
            now = time.perf_counter_ns()
            laps.append(now - last)
            last = now
    return summary(laps, (last - began) / 1e9)


def summary(laps: array[int], seconds: float) -> dict[str, float]:
    """The figures of one run."""
    ordered = sorted(laps)
    return {
        "commits": len(ordered),
        "commits_per_s": len(ordered) / seconds,
        "p50_ms": ordered[len(ordered) // 2] / 1e6,
        "p99_ms": ordered[len(ordered) * 99 // 100] / 1e6,
        "max_ms": ordered[-1] / 1e6,
    }


if __name__ == "__main__":
    print(json.dumps(write(Path(sys.argv[1]), float(sys.argv[2]))))
