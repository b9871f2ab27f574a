"""What ltxcore is for, on a real database, in half a minute.

One process writes rows with Python's own sqlite3; another one, the `ltxcore` command, replicates the database to a
directory. Then the database is restored from that directory twice, as it was in the middle and as it was at the end,
and compared row by row. Everything happens in a temporary directory, and nothing is left running.
"""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Row = tuple[int, float, int]
SECONDS = 6
LTXCORE = [sys.executable, "-m", "ltxcore"]
WRITER = """
import signal, sqlite3, sys, time
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
while not stopped:
    connection.execute("INSERT INTO reading (at, value) VALUES (?, random())", (time.time(),))
    time.sleep(0.002)
connection.close()
"""


def create(path: Path) -> None:
    """A database with one table, in WAL mode."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE reading (id INTEGER PRIMARY KEY, at REAL, value INTEGER)")


@contextlib.contextmanager
def running(*argv: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that ends with the block: asked first, then killed."""
    process = subprocess.Popen(argv)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ltxcore(*argv: str) -> dict[str, Any]:
    """Run the `ltxcore` command; what it printed as JSON."""
    print("$ ltxcore", *argv)
    done = subprocess.run([*LTXCORE, *argv, "--json"], check=True, stdout=subprocess.PIPE)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def rows(path: Path) -> list[Row]:
    """Every row of a database that passes SQLite's own check."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok":
            raise SystemExit(f"{path.name}: {verdict}")
        return connection.execute("SELECT id, at, value FROM reading ORDER BY id").fetchall()


def count(path: Path) -> int:
    """How many rows there are now."""
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
        return int(connection.execute("SELECT count(*) FROM reading").fetchone()[0])


def watch(database: Path, replica: Path) -> datetime:
    """Print how the replica grows; a time in the middle."""
    middle = datetime.now(UTC)
    print(f"\n{'second':>6}  {'rows':>6}  {'LTX files':>9}  {'bytes':>8}")
    for second in range(1, SECONDS + 1):
        time.sleep(1)
        files = list(replica.rglob("*.ltx"))
        size = sum(file.stat().st_size for file in files)
        print(f"{second:>6}  {count(database):>6}  {len(files):>9}  {size:>8}", flush=True)
        if second == SECONDS // 2:
            middle = datetime.now(UTC)
    print()
    return middle


def replicate(database: Path, replica: Path) -> datetime:
    """Write and replicate for a few seconds; the time that was the middle."""
    print(f"$ ltxcore replicate {database.name} {replica.as_uri()}")
    with running(
        *LTXCORE, "replicate", str(database), replica.as_uri(), "--log-level", "warning"
    ) as replicator:
        with running(sys.executable, "-c", WRITER, str(database)):
            middle = watch(database, replica)
        replicator.send_signal(signal.SIGTERM)
        if replicator.wait(30) != 0:
            raise SystemExit("the last upload failed")
    return middle


def main() -> None:
    """Replicate, restore twice, compare."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # so that it mixes well with stderr
    with tempfile.TemporaryDirectory(prefix="ltxcore-demo-") as folder:
        os.chdir(folder)
        here = Path(folder).resolve()
        database, replica = here / "app.db", here / "replica"
        create(database)
        middle = replicate(database, replica)
        then = ltxcore("restore", replica.as_uri(), "-o", "then.db", "--timestamp", middle.isoformat())
        last = ltxcore("restore", replica.as_uri(), "-o", "last.db", "--integrity-check", "full")
        compare(rows(database), rows(Path("then.db")), rows(Path("last.db")), middle, then, last)


def compare(
    written: list[Row],
    then: list[Row],
    last: list[Row],
    middle: datetime,
    then_done: dict[str, Any],
    last_done: dict[str, Any],
) -> None:
    """Print the table, and fail if a row is missing or one too many."""
    committed = sum(at < middle.timestamp() for _, at, _ in written)
    print(f"\n{'':18}  {'rows':>6}  {'TXID':>16}  {'restored in':>11}  integrity")
    print(f"{'written by then':18}  {committed:>6}")
    print(
        f"{'restored to then':18}  {len(then):>6}  {then_done['txid']}  {then_done['duration_ms']:>8} ms  ok"
    )
    print(f"{'written in all':18}  {len(written):>6}")
    print(
        f"{'restored to last':18}  {len(last):>6}  {last_done['txid']}  {last_done['duration_ms']:>8} ms  ok"
    )
    if last != written:
        raise SystemExit("the restored database differs from the one that was written")
    if not 0 < len(then) <= committed or then != written[: len(then)]:
        raise SystemExit("the database restored to a time is not what was committed before it")
    print("\nevery row is there: the end is complete, and the middle is a past state of it")


if __name__ == "__main__":
    main()
