"""Peak memory of long operations: `VmHWM` of a process of their own, less that of the bare interpreter with the import.

`python -m tests.helpers.memory TASK ARGUMENTS` is that process; the functions below start it and make its inputs.
"""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.helpers import replicators
from tests.helpers.process import ROOT, ChildError, environment
from tests.helpers.site import Site
from tests.helpers.v03_history import History

LIMIT = 64 * 1024  # KiB
MIB = 1 << 20


def high_water() -> int:
    """Peak resident memory of this process in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM in /proc/self/status")


def task_import() -> None:
    import ltxcore  # noqa: F401  (the import is the task)


def task_replicate(db: str, replica: str) -> None:
    """First replication of everything, and a snapshot."""
    import ltxcore

    with ltxcore.DB(db, replica=f"file://{replica}") as opened:
        opened.wait(opened.sync().txid, timeout=600)
        opened.snapshot()


def task_restore(replica: str, output: str) -> None:
    import ltxcore

    ltxcore.restore(f"file://{replica}", output)


def task_convert(old: str, new: str) -> None:
    """From the v0.3 layout to LTX files."""
    from ltxcore import legacy

    legacy.convert(f"file://{old}", f"file://{new}")


def task_verify_v03(replica: str) -> None:
    from ltxcore import legacy

    assert legacy.verify(f"file://{replica}").is_ok


def task_hoard(megabytes: str) -> None:
    """Takes what it is told to, so that the measuring itself can be tested."""
    bytearray(b"x" * (int(megabytes) * MIB))


TASKS: dict[str, Callable[..., None]] = {
    "import": task_import,
    "replicate": task_replicate,
    "restore": task_restore,
    "convert": task_convert,
    "verify_v03": task_verify_v03,
    "hoard": task_hoard,
}


def peak(task: str, *arguments: Path | str) -> int:
    """KiB above the bare interpreter with the import."""
    return measured(task, *arguments) - measured("import")


def measured(task: str, *arguments: Path | str) -> int:
    argv = [sys.executable, "-m", "tests.helpers.memory", task, *map(str, arguments)]
    if replicators.SUBJECT == "litestream":
        return measured_litestream(task, *arguments)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=1800, cwd=ROOT, env=environment())
    if done.returncode != 0:
        raise ChildError(f"{task}: {done.stderr[-2000:]}")
    return int(done.stdout)


def measured_litestream(task: str, *arguments: Path | str) -> int:
    """The same with the other subject; an interpreter's worth is nothing there."""
    from tests.helpers import litestream

    if task == "import":
        return 0
    flags = {"replicate": ["-once", "-force-snapshot"], "restore": ["-o", str(arguments[-1])]}[task]
    rest = (
        [str(arguments[0]), f"file://{arguments[1]}"] if task == "replicate" else [f"file://{arguments[0]}"]
    )
    child = subprocess.Popen(
        [str(litestream.program()), task, *flags, *rest], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    if status != 0:
        raise ChildError(f"litestream {task}: status {status}")
    return usage.ru_maxrss


def big_database(path: Path, megabytes: int, *, page_size: int = 4096) -> None:
    """Rows that compress to about a half, as the usual ones do."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size = {page_size}")
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, body TEXT)")
    rows = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 10000) "
    for _ in range(megabytes // 20 or 1):
        connection.execute(rows + "INSERT INTO entry (body) SELECT hex(randomblob(1000)) FROM c")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def sparse_database(path: Path, megabytes: int, *, page_size: int = 4096) -> None:
    """A small database whose header says that it is large: the rest is a hole of zero pages that nothing uses.

    Header fields (SQLite file format, section 1.3): page count at 28, valid while the change counter at 24 equals 92.
    """
    big_database(path, 20, page_size=page_size)
    pages = megabytes * MIB // page_size
    with path.open("r+b") as file:
        file.seek(24)
        counter = file.read(4)
        file.write(pages.to_bytes(4, "big"))
        file.seek(92)
        file.write(counter)
        file.truncate(pages * page_size)


def many_files(site: Site, megabytes: int, count: int) -> None:
    """A replica of `count` L0 files, which touch about this much of the database."""
    with site.app(autocheckpoint=1000) as app:
        app.insert(1)
        replicator = site.running()
        for _ in range(count):
            app.insert(1, size=megabytes * MIB // count)
            replicator.barrier()
        replicator.stop()


def legacy_history(folder: Path, megabytes: int, count: int) -> None:
    """A v0.3 replica of a database of this size: a segment of a quarter of it, one that LZ4 makes tiny, and many small ones."""
    big_database(folder / "db", megabytes)
    with History(folder / "db", folder / "replica") as history:
        execute = history.connection.execute
        history.snapshot()
        execute("UPDATE entry SET body = hex(randomblob(1000)) WHERE id % 4 = 0")
        history.segment()
        execute("UPDATE entry SET body = zeroblob(2000) WHERE id % 2 = 0")
        history.segment()
        history.next_wal()
        for number in range(count):
            execute("UPDATE entry SET body = hex(randomblob(1000)) WHERE id = ?", (number,))
            history.segment()


if __name__ == "__main__":
    TASKS[sys.argv[1]](*sys.argv[2:])
    print(high_water())
