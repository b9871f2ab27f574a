"""Plain access to the file of a blob store, stores that are quick, and sources that misbehave."""

import contextlib
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ltxcore.blob_store import BlobStore, Options

ROOT = Path(__file__).parents[2]
QUICK = Options(durability="cache")
#: The tables of the original design.
ORIGINAL = """
CREATE TABLE blob (name TEXT, last_used TIMESTAMP DEFAULT (datetime('now')), data BLOB, verified BOOL,
    PRIMARY KEY (name));
CREATE TABLE blob_meta (key TEXT PRIMARY KEY, value);
CREATE TABLE setting (name TEXT PRIMARY KEY ON CONFLICT REPLACE, value);
INSERT INTO blob_meta VALUES ('size', 0);
"""


def opened(path: Path, **arguments: Any) -> BlobStore:
    """A store that does not wait for the disk."""
    arguments.setdefault("options", QUICK)
    return BlobStore(path, **arguments)


def quick(**options: Any) -> Options:
    """Options of a store that does not wait for the disk."""
    return Options(durability="cache", **options)


@contextlib.contextmanager
def plain(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection as any other program has it; what is done is committed at once."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=1)
    try:
        yield connection
    finally:
        connection.close()


def ask(path: Path, sql: str) -> Any:
    """The first value of the first row."""
    with plain(path) as connection:
        return connection.execute(sql).fetchone()[0]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program that is writing."""
    with plain(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def original(path: Path, *rows: tuple[Any, ...]) -> Path:
    """A database of the original design with these names, times, bytes and marks."""
    with plain(path) as connection:
        connection.executescript(ORIGINAL)
        connection.executemany("INSERT INTO blob (name, last_used, data, verified) VALUES (?, ?, ?, ?)", rows)
    return path


def run_script(script: str, *arguments: object, timeout: float = 15) -> subprocess.CompletedProcess[str]:
    """A process of its own, for what may hang or fork."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, check=False)


#: What a script of :func:`run_forking` begins with.
FORKING = """
import contextlib, faulthandler, gc, io, os, sys, threading
from ltxcore.blob_store import BlobStore, Options
from ltxcore.errors import ForkedError
path = sys.argv[1]
options = Options(durability="cache", chunk_size=1000, busy_timeout=5)

def refused(uses):
    found = []
    for place, use in enumerate(uses):
        try:
            found.append((place, use()))
        except ForkedError as error:
            assert error.hint == "open a new store in the child"
        except BaseException as error:
            found.append((place, repr(error)))
    return found

def in_child(action, end=os._exit):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(20, exit=True)
        try:
            problems = action()
        except BaseException as error:
            problems = repr(error)
        if problems:
            print("in the child:", problems, flush=True)
        end(1 if problems else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child failed"

@contextlib.contextmanager
def threads_that(*works):
    # Each does its own again and again.
    stop = threading.Event()

    def repeat(work):
        while not stop.is_set():
            work()

    threads = [threading.Thread(target=repeat, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()
"""


def run_forking(path: Path, script: str, *arguments: object) -> None:
    """A process of its own that forks, and has to end well without a word."""
    done = run_script(FORKING + textwrap.dedent(script), path, *arguments, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def in_use(store: BlobStore) -> dict[str, bytes]:
    """All of a store, by name."""
    return {name: store[name] for name in store}
