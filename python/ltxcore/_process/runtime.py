"""What belongs to the process: closing at interpreter exit, and refusing to work in a forked child."""

from __future__ import annotations

import atexit
import os
import time
from typing import Protocol

from ltxcore import _ltxcore
from ltxcore.errors import ForkedError

#: How long all databases together may take to be closed at interpreter exit, in seconds.
EXIT_TIMEOUT = 30.0
#: How long calls into Python that daemon threads have begun may take to end after that, in seconds.
CALLS_TIMEOUT = 5.0


class Closable(Protocol):
    """What can be closed within a time."""

    def close(self, *, timeout: float | None = ...) -> None:
        """Let go, within ``timeout`` seconds."""


class _State:
    generation = 0
    shutting_down = False
    is_alone = False


_state = _State()
# Not weak: an open database works for its owner even after the last reference to it is gone.
_open: set[Closable] = set()
_inherited: list[Closable] = []


def generation() -> int:
    """How many forks lie between this process and the one that imported ltxcore."""
    return _state.generation


def shutting_down() -> bool:
    """Whether the interpreter is on its way out."""
    return _state.shutting_down


def be_alone() -> None:
    """Promise that no other connection of this process uses a database that is replicated: locks of the process will do."""
    _state.is_alone = True


def is_alone() -> bool:
    """Whether that was promised."""
    return _state.is_alone


def is_inherited(opened_in: int) -> bool:
    """Whether an object was opened before a fork, by a parent of this process."""
    return opened_in != _state.generation


def check(
    opened_in: int,
    hint: str = "open it in the child after the parent has closed it, or start children with the spawn method",
) -> None:
    """Refuse an object that was opened before a fork.

    Args:
        opened_in: the :func:`generation` in which it was opened.
        hint: what to do in the child.

    Raises:
        ForkedError: this process is a child of the one that opened it.
    """
    if is_inherited(opened_in):
        raise ForkedError(
            "opened by the parent process, and cannot be used after a fork",
            hint=hint,
        )


def register(owner: Closable) -> None:
    """Have ``owner`` closed at interpreter exit, unless it is closed before."""
    _open.add(owner)


def unregister(owner: Closable) -> None:
    """The reverse of :func:`register`."""
    _open.discard(owner)


def _close_all() -> None:
    _state.shutting_down = True
    try:
        _close_databases()
    finally:
        # Last: closing may upload through a replica client in Python.
        _ltxcore.begin_shutdown(CALLS_TIMEOUT)


def _close_databases() -> None:
    deadline = time.monotonic() + EXIT_TIMEOUT
    failures: list[Exception] = []
    for owner in list(_open):
        try:
            owner.close(timeout=max(deadline - time.monotonic(), 0.0))
        except Exception as error:
            failures.append(error)
    if failures:
        # Python prints it; a last upload that failed must not pass in silence.
        causes = "; ".join(f"{type(failure).__name__}: {failure}" for failure in failures)
        raise ExceptionGroup(f"databases could not be closed at interpreter exit: {causes}", failures)


def _after_fork_in_child() -> None:
    _state.generation += 1
    # Kept for the life of the child: they own files of the parent, and threads that do not exist here.
    _inherited.extend(_open)
    _open.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork_in_child)
