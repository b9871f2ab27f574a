"""A DB answers while all pages of its database are read, however long that takes.

The databases here are a terabyte of holes: reading them takes far longer than a test may, and no test waits for it.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from ltxcore import DB, Pos
from ltxcore.errors import DatabaseError, Error, NotOpenError, ReplicaTimeoutError

from tests.unit.databases import CREATE, eventually, insert
from tests.unit.memory import run_sql

PAGE_SIZE = 65536
PAGES = 1 << 24
#: What does not wait for a pass over the pages answers long before that, on any machine; in seconds.
LIMIT = 20.0

T = TypeVar("T")


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    path = tmp_path / "huge.db"
    run_sql(path, f"PRAGMA page_size = {PAGE_SIZE}", *CREATE)
    # In the header: the size in pages, which counts as long as nobody changes the file without SQLite.
    with open(path, "r+b") as file:
        file.seek(28)
        file.write(PAGES.to_bytes(4, "big"))
    os.truncate(path, PAGE_SIZE * PAGES)
    return path


@pytest.fixture
def scanned(huge: Path, tmp_path: Path) -> Iterator[DB]:
    """A database whose pages are being read for the first time."""
    db = DB(huge, replica=tmp_path / "replica")
    answer(db.open)
    try:
        eventually(lambda: answer(db.status).scan is not None)
        yield db
    finally:
        answer(lambda: close_at_once(db))


def answer(call: Callable[[], T]) -> T:
    """What ``call`` answers, or raises; it must not take as long as reading the database does."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive(), "it waits for the pass over all pages"
    if errors:
        raise errors[0]
    return answers[0]


def close_at_once(db: DB) -> None:
    with pytest.raises(DatabaseError, match="pages"):
        db.close(timeout=0)


def is_scanned(db: DB) -> bool:
    return answer(db.status).scan is not None


def test_a_db_answers_while_its_pages_are_read(scanned: DB, tmp_path: Path) -> None:
    status = answer(scanned.status)
    assert status.is_ready
    assert not status.is_current
    assert status.last_error is None
    assert status.scan is not None
    assert status.scan.pages == PAGES
    assert status.scan.reason
    eventually(lambda: answer(scanned.status).scan.pages_done > status.scan.pages_done)  # type: ignore[union-attr]
    assert answer(lambda: scanned.pos) == Pos()
    assert answer(lambda: scanned.page_size) == PAGE_SIZE
    assert answer(scanned.open) is scanned
    small = tmp_path / "small.db"
    run_sql(small, *CREATE)
    with answer(lambda: DB(small, replica=tmp_path / "other").open()) as other:
        insert(small, 1)
        assert answer(lambda: other.wait(timeout=LIMIT)).txid == other.pos.txid
    assert is_scanned(scanned)


def test_the_length_of_the_wal_is_that_of_now(scanned: DB) -> None:
    before = answer(scanned.status).wal_size
    insert(scanned.path, 1)
    assert answer(scanned.status).wal_size > before + PAGE_SIZE
    assert is_scanned(scanned)


def test_a_wait_for_a_pass_over_all_pages_ends_in_time(scanned: DB) -> None:
    with pytest.raises(ReplicaTimeoutError, match="pages"):
        answer(lambda: scanned.wait(timeout=0.1))
    assert is_scanned(scanned)


def test_ctrl_c_ends_a_wait_for_a_pass_over_all_pages(scanned: DB) -> None:
    main = threading.main_thread().ident
    assert main == threading.get_ident()
    for call in (scanned.sync, scanned.wait, scanned.checkpoint, scanned.snapshot):
        threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            call()
    assert is_scanned(scanned)


def test_closing_ends_a_pass_over_all_pages_and_whoever_waits_for_it(scanned: DB) -> None:
    errors: list[BaseException] = []

    def wait_for(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    calls = (scanned.sync, scanned.wait, scanned.checkpoint, scanned.snapshot)
    waiting = [threading.Thread(target=wait_for, args=(call,), daemon=True) for call in calls]
    for thread in waiting:
        thread.start()
    assert is_scanned(scanned)
    answer(lambda: close_at_once(scanned))
    for thread in waiting:
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert [type(error) for error in errors] == [NotOpenError] * len(calls)
    # Nothing is left that would keep the next one from it.
    again = DB(scanned.path, replica=scanned.replica)
    answer(again.open)
    eventually(lambda: is_scanned(again))
    answer(lambda: close_at_once(again))
    # As the fixture closes what is closed.
    scanned._running = None
    answer(scanned.open)


def test_the_thread_that_follows_may_sync_itself(database: Path, tmp_path: Path) -> None:
    """Here, in a handler of what it logs."""
    synced: list[Pos] = []

    class Syncing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "following" in record.getMessage() and not synced:
                synced.append(db.sync())

    logger = logging.Logger("test")
    logger.addHandler(Syncing())
    with DB(database, logger=logger) as db:
        before = db.sync()
        db.meta_path.rename(tmp_path / "aside")
        eventually(lambda: bool(synced))
    assert synced[0].txid == before.txid == 1


def test_a_failing_open_leaves_no_pass_behind(huge: Path, tmp_path: Path) -> None:
    with DB(huge, meta_path=tmp_path / "meta") as db:
        eventually(lambda: is_scanned(db))
        second = DB(huge, meta_path=tmp_path / "meta")
        with pytest.raises(Error, match="in use by another replicator"):
            answer(second.open)
        assert is_scanned(db)
        answer(lambda: close_at_once(db))
