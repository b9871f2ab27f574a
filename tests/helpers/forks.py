"""Scripts that fork: each is a process of its own, and all its children have to end."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.helpers.process import ROOT, environment

#: What a script begins with. Children that are meant to go on living are ended by `alive.close()`.
BEGIN = """
import contextlib, faulthandler, gc, os, signal, sqlite3, subprocess, sys, threading, time, traceback
import ltxcore
from ltxcore.errors import DatabaseError, Error, ForkedError
from pathlib import Path

# Who hangs says where, and dies.
faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)
room = Path(sys.argv[1])
database, replica = room / "app.db", room / "replica"
vfs = ltxcore.OSVFS().register()

def plain(path=database):
    # A connection over SQLite's own VFS.
    return sqlite3.connect(path, isolation_level=None, timeout=5)

def make(path=database):
    with contextlib.closing(plain(path)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE t (x)")

def db(path=database, to=None):
    return ltxcore.DB(path, replica=to or path.with_name(f"{path.name}-replica"), monitor_interval=0.05)

def error_of(work):
    try:
        work()
    except (Error, sqlite3.Error) as error:
        return str(error)
    return ""

def opens(path=database):
    # What keeps a DB from being opened here, and from replicating; an empty text if nothing does.
    def work():
        with db(path) as own:
            own.wait(timeout=15)
    return error_of(work)

def is_replicated(path=database):
    # Whether another process, which nobody forked, is told that somebody replicates it.
    argv = [sys.executable, "-c", "import ltxcore, sys; ltxcore.DB(sys.argv[1]).open()", str(path)]
    return "in use by another replicator" in subprocess.run(argv, capture_output=True, text=True).stderr

def fork(work, end=os._exit):
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    signal.alarm(20)
    status = 1
    try:
        work()
        status = 0
    except Exception:
        traceback.print_exc()
    end(status)

def ended(pid):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "a child failed"

class Alive(contextlib.ExitStack):
    # Children that live until this is closed: they wait for the end of a pipe.
    def __init__(self):
        super().__init__()
        self.reader, self.writer = os.pipe()

    def fork(self):
        def sleep():
            os.close(self.writer)
            os.read(self.reader, 1)
        self.callback(ended, fork(sleep))

    def close(self):
        os.close(self.writer)
        super().close()

def until(true, timeout=15):
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)
"""


def run_forking(room: Path, script: str, *arguments: object, timeout: float = 25) -> None:
    """A process that forks, and has to end well without a word. Whoever it has forked is ended with it."""
    argv = [sys.executable, "-W", "ignore", "-c", BEGIN + textwrap.dedent(script), str(room)]
    argv += map(str, arguments)
    log = room / "said"
    with log.open("wb") as said:
        process = subprocess.Popen(
            argv, cwd=ROOT, env=environment(), stdout=said, stderr=said, start_new_session=True
        )
    try:
        process.wait(timeout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(log.read_text()[-5000:])
    assert (process.returncode, log.read_text()) == (0, "")
