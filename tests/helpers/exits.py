"""`python -m tests.helpers.exits HOW DB URL`: replicates, says `ready`, and ends the interpreter with the database open.

After `ready` it reads one line; so the parent can commit before the end begins.
"""

import faulthandler
import os
import signal
import sys
import threading
from typing import Any

import ltxcore


def fall_off(_db: Any) -> None:
    """The end of the program; nobody called close."""


def exit_in_thread(_db: Any) -> None:
    """The main thread ends while another one, a daemon, waits for the replica."""
    threading.Thread(target=lambda: _db.wait(2**40, timeout=60), daemon=True).start()


def raise_error(_db: Any) -> None:
    raise RuntimeError("on purpose")


def sys_exit(_db: Any) -> None:
    sys.exit(3)


def fork_first(db: Any) -> None:
    """A child that ends in the ordinary way must not close, sync or unlock what is the parent's."""
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    os.waitpid(pid, 0)
    db.sync()


WAYS = {way.__name__: way for way in (fall_off, exit_in_thread, raise_error, sys_exit, fork_first)}
STATUS = {"raise_error": 1, "sys_exit": 3}

if __name__ == "__main__":
    faulthandler.register(
        signal.SIGUSR1, all_threads=True
    )  # `Child.wait` asks a process that hangs where it is
    how, path, url = sys.argv[1:]
    opened = ltxcore.DB(path, replica=url, monitor_interval=0.05).open()
    opened.wait(opened.sync().txid, timeout=20)
    print("ready", flush=True)
    sys.stdin.readline()
    WAYS[how](opened)
