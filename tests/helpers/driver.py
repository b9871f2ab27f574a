"""`python -m tests.helpers.driver`: replicates one database and answers line commands about it.

A process of its own, because the application under test uses the stdlib's SQLite in the parent. Commands: open, sync,
wait, barrier, pos, status, ended, snapshot, compact, checkpoint, restore, close, fork.
"""

import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import ltxcore
from ltxcore import legacy

from tests.helpers.process import answer_lines

held: list[Any] = []


def opened() -> Any:
    return held[0]


def do_open(
    path: str,
    url: str,
    options: dict[str, Any],
    of_replica: dict[str, Any] | None = None,
    layout: str = "ltx",
) -> None:
    close()
    kind = legacy.Replica if layout == "v0.3" else ltxcore.Replica
    db = ltxcore.DB(path, replica=kind(url, **(of_replica or {})), **options)
    held.append(db)  # first, so that a failed open is closed too
    try:
        db.open()
    except BaseException:
        close()
        raise


def close() -> None:
    while held:
        held.pop().close()


def sync() -> int:
    return int(opened().sync().txid)


def wait(txid: int | None = None, within: float = 30.0) -> int:
    wanted = None if txid is None else ltxcore.ltx.TXID(txid)
    return int(opened().wait(wanted, timeout=within).txid)


def barrier(within: float = 30.0) -> int:
    """All that is committed now is in the replica; the TXID that holds it."""
    txid = sync()
    wait(txid, within)
    return txid


def restore(source: str, output: str, **options: Any) -> int:
    return int(ltxcore.restore(source, output, **options).pos.txid)


def fork_and_use() -> str:
    """Use the database in a forked child; the name of the exception that it got there."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            opened().sync()
            name = "nothing"
        except BaseException as error:
            name = " ".join(kind.__name__ for kind in type(error).__mro__)
        os.write(write, name.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        name = answer.read()
    os.waitpid(pid, 0)
    return name


def has_ended() -> tuple[bool, list[str], str]:
    """Whether replication has ended by itself; the names of the classes of the last error, and what it says."""
    status = opened().status()
    error = status.last_error
    return status.has_ended, [kind.__name__ for kind in type(error).__mro__], str(error)


def compact(level: int) -> bool:
    return opened().compact(level) is not None


COMMANDS: dict[str, Callable[..., Any]] = {
    "open": do_open,
    "close": close,
    "sync": sync,
    "wait": wait,
    "barrier": barrier,
    "restore": restore,
    "compact": compact,
    "fork": fork_and_use,
    "pos": lambda: int(opened().pos.txid),
    "ended": has_ended,
    "status": lambda: str(opened().status()),
    "snapshot": lambda: int(opened().snapshot().max_txid),
    "checkpoint": lambda mode: str(opened().checkpoint(mode)),
}


def stop(_number: int, _frame: object) -> None:
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    faulthandler.register(
        signal.SIGUSR1, all_threads=True
    )  # `Child.wait` asks a process that hangs where it is
    try:
        answer_lines(lambda command, arguments: COMMANDS[command](**arguments))
    finally:
        close()
