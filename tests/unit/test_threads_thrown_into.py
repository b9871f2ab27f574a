"""The threads of a DB outlive exceptions that other threads throw into them."""

import contextlib
import ctypes
import time
from pathlib import Path

import pytest

from ltxcore import DB
from ltxcore.errors import Error

from tests.unit.databases import insert, restored
from tests.unit.memory import MemoryClient
from tests.unit.threads import Stop, thread_of


@pytest.mark.parametrize("what", ["upload", "follow"])
def test_an_exception_that_is_thrown_into_a_thread_ends_nothing(
    db: DB, client: MemoryClient, tmp_path: Path, what: str
) -> None:
    """As tools do that limit the time of what runs."""
    db.wait(timeout=10)
    for value in range(3):
        ident = ctypes.c_ulong(thread_of(db, what).ident or 0)
        assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(Stop)) == 1
        insert(db.path, value)
        db.wait(timeout=10)
    assert thread_of(db, what).is_alive()
    assert restored(client, tmp_path) == [0, 1, 2]


@pytest.mark.parametrize("what", ["upload", "follow"])
def test_exceptions_that_are_thrown_into_a_thread_at_any_moment_end_nothing(
    db: DB, client: MemoryClient, tmp_path: Path, what: str
) -> None:
    """One that came while the one before was dealt with ended the thread."""
    db.wait(timeout=10)
    ident = ctypes.c_ulong(thread_of(db, what).ident or 0)
    for value in range(150):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(Stop))
        insert(db.path, value)
        # It wakes the thread wherever it waits.
        with contextlib.suppress(Error):
            db.sync()
        time.sleep(value % 10 / 10_000)
    db.wait(timeout=20)
    assert thread_of(db, what).is_alive()
    assert restored(client, tmp_path) == list(range(150))
