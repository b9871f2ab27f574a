"""`python -m tests.helpers.acts_driver`: the replicating process. The commands of `driver`, and forks with a living child."""

import contextlib
import faulthandler
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import ltxcore
from ltxcore import legacy

from tests.helpers import driver
from tests.helpers.process import answer_lines

CLOSING_SECONDS = 1.0

if "FAKETIME_TIMESTAMP_FILE" in os.environ:
    # That of Python sleeps until a time, which libfaketime 0.9.10 refuses.
    time.sleep = lambda seconds: select.select([], [], [], seconds) and None  # type: ignore[assignment]


def do_open(path: str, replica: str, sync_interval: float, layout: str, options: dict[str, Any]) -> None:
    driver.held.clear()
    kind = legacy.Replica if layout == "v0.3" else ltxcore.Replica
    db = ltxcore.DB(path, replica=kind(replica, sync_interval=sync_interval), **options)
    db.open()
    driver.held.append(db)


def close() -> None:
    """Bring everything into the replica; whatever becomes of that, it is closed."""
    while driver.held:
        driver.held.pop().close(timeout=CLOSING_SECONDS)


def fork(how: str) -> int:
    """A child that lives on (`sleep`), or that has ended the usual way (`exit`), or used the database (`use`)."""
    if how == "use":
        assert "ForkedError" in driver.fork_and_use()
        return 0
    child = os.fork()
    if child == 0:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        if how == "exit":
            sys.exit(0)
        while True:
            signal.pause()
    if how == "exit":
        os.waitpid(child, 0)
        return 0
    return child


COMMANDS: dict[str, Callable[..., Any]] = driver.COMMANDS | {"open": do_open, "close": close, "fork": fork}


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    try:
        answer_lines(lambda command, arguments: COMMANDS[command](**arguments))
    finally:
        with contextlib.suppress(ltxcore.Error):
            close()
