"""Threads and forks: what threads wait for, what a fork waits for, and how a child may open the files that it inherited.

The process forks while none of its stores is inside SQLite, as far as that can be waited for: SQLite's mutexes would stay
locked in the child for ever, and it could open no database at all.

SQLite's own VFS keeps one table of the files and locks of a process (os_unix.c, "Posix Advisory Locking"). A forked child
has a copy of it that says that the parent's locks are the child's: a connection to one of those files would ask the
system for no lock, and parent and child would write over each other. The OS VFS of this library has a table of its own,
which a fork empties, and its locks and SQLite's heed each other.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import threading
import time
import weakref
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from ltxcore._process import runtime
from ltxcore.errors import Error, ForkedError

#: Seconds for which a fork waits at most.
PATIENCE = 0.5
FORKED = "the store was opened by the parent process, and cannot be used after a fork"
NEW_STORE = "open a new store in the child"
_HINT = "start children with the spawn method, or before the parent opens the file"
T = TypeVar("T")


class AutoResetEvent:
    """An event that wakes one thread and is clear again. To set it twice before anybody waits is to set it once.

    It is a bare lock, which is held while the event is clear: a signal can leave a ``Condition`` locked for ever.
    """

    __slots__ = ("_clear",)

    def __init__(self) -> None:
        self._clear = _thread.allocate_lock()
        self._clear.acquire()

    def set(self) -> None:
        """Wake the thread that waits, or the next one that does."""
        with contextlib.suppress(RuntimeError):
            self._clear.release()

    def wait(self, timeout: float = -1) -> bool:
        """Wait until the event is set; whether it was within ``timeout`` seconds, where -1 is for ever."""
        return self._clear.acquire(timeout=timeout)


class WeakObjects(Generic[T]):
    """Objects, for as long as anybody else refers to them. They need not be hashable."""

    def __init__(self) -> None:
        self._by_id: weakref.WeakValueDictionary[int, T] = weakref.WeakValueDictionary()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_id)

    def add(self, item: T) -> None:
        """One more."""
        self._by_id[id(item)] = item

    def discard(self, item: T) -> None:
        """One less."""
        self._by_id.pop(id(item), None)

    def all(self) -> list[T]:
        """All of them, though other threads add and discard meanwhile: a loop over a set could miss some then."""
        return [item for each in self._by_id.valuerefs() if (item := each()) is not None]


class Forkable(Protocol):
    """An open store."""

    def lock_for_fork(self, stack: contextlib.ExitStack, deadline: float) -> None:
        """Keep all threads out of SQLite until ``stack`` is closed; give up at ``deadline``, by the monotonic clock."""

    def forget_parent(self) -> list[object]:
        """In the child: what is the parent's, and must neither be used nor closed."""


#: Device and inode of what this process has from its parent, and SQLite takes for its own.
inherited_files: set[tuple[int, int]] = set()
#: Kept for the life of a forked child: to close any of it would touch the parent's files.
_kept: list[object] = []
_stores: WeakObjects[Forkable] = WeakObjects()
#: By thread: several may fork at once, and a signal handler in the middle of it.
_locked: dict[int, list[contextlib.ExitStack]] = {}


class _Transitions:
    """How many stores are being opened, or closed without a writer. A fork waits for them; they do not for one another."""

    def __init__(self) -> None:
        self.forget_parent()

    def forget_parent(self) -> None:
        """In the child: whoever was opening or closing does not exist here."""
        #: Held by who forks.
        self._entry = threading.RLock()
        self._counting = threading.RLock()
        self._count = 0

    def __enter__(self) -> None:
        with self._entry, self._counting:
            self._count += 1

    def __exit__(self, *problem: object) -> None:
        with self._counting:
            self._count -= 1

    def lock_for_fork(self, stack: contextlib.ExitStack, deadline: float) -> None:
        """See :class:`Forkable`."""
        acquire(self._entry, stack, deadline)
        while self._count and time.monotonic() < deadline:
            time.sleep(0.0005)


#: Around whatever opens or closes the connections of a store without its writer.
transitions = _Transitions()


def watch(store: Forkable) -> None:
    """Have a store do what a fork asks of it, as long as there is it."""
    _stores.add(store)


def unwatch(store: Forkable) -> None:
    """The reverse, for one that is closed, and that no thread is inside of."""
    _stores.discard(store)


def acquire(lock: threading.RLock, stack: contextlib.ExitStack, deadline: float) -> None:
    """Hold a lock until ``stack`` is closed, if it can be had in time."""
    if lock.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
        stack.callback(lock.release)


def _before_fork() -> None:
    stack, deadline = contextlib.ExitStack(), time.monotonic() + PATIENCE
    _locked.setdefault(threading.get_ident(), []).append(stack)
    transitions.lock_for_fork(stack, deadline)
    for store in _stores.all():
        store.lock_for_fork(stack, deadline)


def _after_fork_in_parent() -> None:
    _locked[threading.get_ident()].pop().close()


def _after_fork_in_child() -> None:
    # What they hold are locks that nobody uses here, and connections.
    _kept.extend(_locked.values())
    _locked.clear()
    transitions.forget_parent()
    for store in _stores.all():
        _kept.extend(store.forget_parent())
        _stores.discard(store)


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)


def device_and_inode(path: Path) -> tuple[int, int] | None:
    """What tells a file apart from all others; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_of_sqlite(vfs: str | None) -> bool:
    """Whether a VFS is one of those that share SQLite's table."""
    return vfs is None or vfs.startswith("unix")


def vfs_for(path: Path, vfs: str | None) -> str | None:
    """The VFS to open a file with: the one that was asked for, but in a forked child not one of SQLite's if none was.

    What the parent has open is not known for certain: it may be with a connection that is none of ours.

    Raises:
        ForkedError: it has this file open, and it cannot be opened here.
    """
    if not runtime.generation() or not is_of_sqlite(vfs):
        return vfs
    is_inherited = device_and_inode(path) in inherited_files
    if vfs is not None:
        if is_inherited:
            raise ForkedError(f"{path}: open in the parent process, so not with vfs={vfs!r} here", hint=_HINT)
        return vfs
    from ltxcore.vfs import OSVFS

    try:
        return OSVFS().register().name
    except Error as error:
        if is_inherited:
            raise ForkedError(f"{path}: open in the parent process: {error}", hint=_HINT) from error
        return None
