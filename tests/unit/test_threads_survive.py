"""The threads of a DB outlive whatever handlers, clients and signals raise in them; and if one ends, everybody hears of it."""

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, FileClient
from ltxcore._process import watchdog
from ltxcore._process.backoff import MAX_LOCAL_DELAY, Backoff
from ltxcore.errors import DatabaseError, Error, InternalError, ReplicaTimeoutError

from tests.unit.databases import eventually, insert, restored
from tests.unit.memory import MemoryClient
from tests.unit.threads import Stop

RAISED = [RuntimeError, SystemExit, GeneratorExit, Stop]


def fail_once(client: MemoryClient, raised: BaseException) -> None:
    def fail(_key: object) -> None:
        client.before_write = lambda _key: None
        raise raised

    client.before_write = fail


class Broken(logging.Handler):
    """A log sink that is down."""

    def __init__(self, raised: type[BaseException]) -> None:
        super().__init__()
        self.raised = raised
        self.records = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        raise self.raised("the log sink is down")


def uploading_for(db: DB) -> float | None:
    status = db.status().replica
    return status.uploading_for if status else None


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("tests.threads")
    made.propagate = False
    yield made
    made.handlers.clear()
    made.filters.clear()


@pytest.mark.parametrize("raised", [*RAISED, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["handler", "filter"])
def test_a_log_handler_that_raises_ends_nothing(
    database: Path,
    client: MemoryClient,
    logger: logging.Logger,
    capfd: pytest.CaptureFixture[str],
    raised: type[BaseException],
    where: str,
) -> None:
    """It ended the upload thread for good, and `wait()` without a timeout never returned."""
    broken = Broken(raised)
    if where == "handler":
        logger.addHandler(broken)
    else:
        logger.addFilter(lambda record: broken.emit(record) is None)
    with DB(database, replica=client, logger=logger) as db:
        db.wait(timeout=10)
        fail_once(client, ConnectionError("storage blip"))
        insert(database, 1)
        with pytest.raises(ConnectionError):
            db.wait()
        db.wait(timeout=10)
        assert broken.records
    assert "the log sink is down" in capfd.readouterr().err


@pytest.mark.parametrize("raised", [*RAISED, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["before_list", "before_write"])
def test_whatever_a_client_raises_is_tried_again(
    database: Path, client: MemoryClient, tmp_path: Path, raised: type[BaseException], where: str
) -> None:
    """What would end the program in its main thread comes out of `wait` as an error."""
    with DB(database, replica=client) as db:
        db.wait(timeout=10)

        def fail(_what: object) -> None:
            raise raised("from the client")

        setattr(client, where, fail)
        if where == "before_list":
            fail_once(client, ConnectionError("so that it lists"))
        insert(database, 1)
        with pytest.raises(ReplicaTimeoutError, match="from the client") as caught:
            db.wait(timeout=1.2)
        assert isinstance(caught.value.__cause__, Exception)
        setattr(client, where, lambda _what: None)
        db.wait(timeout=10)
    assert restored(client, tmp_path) == [1]


def end_upload_thread(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    assert db._running is not None and db._running.uploader is not None
    monkeypatch.setattr(db._running.uploader, "_end_pass", lambda *_delay, **_is: 1 / 0)
    db._running.uploader.notify()


def end_follower(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    assert db._running is not None
    for step in ("_step", "_fail"):
        monkeypatch.setattr(db._running.follower, step, lambda *_error: 1 / 0)
    db._running.engine.interrupt()


@pytest.mark.parametrize("end", [end_upload_thread, end_follower])
def test_a_thread_that_has_ended_is_an_error_everywhere(
    database: Path,
    client: MemoryClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[DB, pytest.MonkeyPatch], None],
) -> None:
    db = DB(database, replica=client).open()
    db.wait(timeout=10)
    end(db, monkeypatch)
    eventually(lambda: isinstance(db.status().last_error, InternalError))
    insert(database, 1)
    start = time.monotonic()
    for timeout in (None, 20):
        with pytest.raises(InternalError, match="has ended"):
            db.wait(timeout=timeout)
    with pytest.raises(InternalError, match="has ended") as caught:
        db.close()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert time.monotonic() - start < 10
    with db:
        db.wait(timeout=10)
    assert restored(client, tmp_path) == [1]


def test_a_wait_does_not_outlive_the_thread(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was waiting already when the thread ended."""
    top = db.wait(timeout=10).txid
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            db.wait(top + 1)
        except BaseException as error:
            raised.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.2)
    end_upload_thread(db, monkeypatch)
    waiting.join(10)
    assert [type(error) for error in raised] == [InternalError]
    with pytest.raises(InternalError):
        db.close()


# --- calls that never return -------------------------------------------------------------------------------------------


@pytest.fixture
def hanging(client: MemoryClient) -> Iterator[threading.Event]:
    """Let go of what hangs by setting it."""
    go_on = threading.Event()
    yield go_on
    go_on.set()


def end_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a clock that is bent does it: `time.sleep` fails."""
    with monkeypatch.context() as patched, watchdog.WatchedCall("", logging.getLogger("tests.quiet")):
        patched.setattr(watchdog, "_INTERVAL", -1.0)
        eventually(lambda: not any(each.name == "ltxcore-watchdog" for each in threading.enumerate()))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("was_ended", [False, True])
def test_an_upload_that_does_not_return_is_reported(
    database: Path,
    client: MemoryClient,
    hanging: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    was_ended: bool,
) -> None:
    """A store that takes an upload and never answers: nothing was logged for 45 s, and there was no error anywhere."""
    monkeypatch.setattr(watchdog, "REPORT_AFTER", 0.3)
    monkeypatch.setattr(watchdog, "_INTERVAL", 0.1)
    time.sleep(watchdog._INTERVAL)
    if was_ended:
        end_watchdog(monkeypatch)
    db = DB(database, replica=client).open()
    db.wait(timeout=10)
    assert uploading_for(db) is None
    client.before_write = lambda _key: hanging.wait(20) and None
    insert(database, 1)
    with caplog.at_level(logging.WARNING, "ltxcore"):
        with pytest.raises(ReplicaTimeoutError):
            db.wait(timeout=1)
        eventually(lambda: "has not finished a file for" in caplog.text)
    status = db.status()
    assert (uploading_for(db) or 0.0) > 0.9
    assert not status.is_current
    start = time.monotonic()
    with pytest.raises(ReplicaTimeoutError):
        db.close(timeout=2.5)
    assert 2.4 < time.monotonic() - start < 3.2


@pytest.mark.parametrize("fails_first", [False, True])
def test_a_listing_that_does_not_return_keeps_nobody(
    database: Path,
    client: MemoryClient,
    hanging: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    fails_first: bool,
) -> None:
    """Whoever waits, or closes, leaves the listing to the thread, also while that pauses after a failure."""
    monkeypatch.setattr("ltxcore.db._running._FIRST_ATTEMPT", 0.2)

    def hang(_level: int) -> None:
        hanging.wait(20)

    def fail(_level: int) -> None:
        client.before_list = hang
        time.sleep(0.4)
        raise ConnectionError("away")

    client.before_list = hang
    if fails_first:
        client.before_list = fail
    db = DB(database, replica=client).open()
    start = time.monotonic()
    if fails_first:
        eventually(lambda: db.status().last_error is not None)
    with pytest.raises(ReplicaTimeoutError, match="still being opened"):
        db.wait(timeout=0.3)
    assert not db.status().is_ready
    with pytest.raises(DatabaseError, match="could not be closed in time"):
        db.close(timeout=0.3)
    assert time.monotonic() - start < 4
    hanging.set()
    client.before_list = lambda _level: None

    def opens() -> bool:
        try:
            db.open()
        except DatabaseError:
            return False  # until the thread that was left to itself has let go
        return True

    eventually(opens)
    db.wait(timeout=10)
    db.close()


# --- pauses ------------------------------------------------------------------------------------------------------------


def delays(*, is_local: bool) -> list[float]:
    backoff = Backoff("upload", "app.db", 1.0, logging.getLogger("tests.quiet"), is_local=is_local)
    return [backoff.failed(ConnectionError()) for _ in range(12)]


def test_pauses_grow_and_are_spread_where_attempts_are_requests() -> None:
    here, there = delays(is_local=True), delays(is_local=False)
    assert here[:3] == [1, 2, 4]
    assert max(here) == MAX_LOCAL_DELAY
    assert all(0.7 * 2**n <= delay <= 1.3 * 2**n for n, delay in enumerate(there[:8]))
    assert 200 < there[-1] < 400
    assert there != delays(is_local=False)


@pytest.mark.parametrize("kind", ["directory", "other"])
def test_after_an_outage_a_commit_is_uploaded_soon(
    database: Path, tmp_path: Path, client: MemoryClient, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 20 s without the storage it took another 22 s, whatever was committed."""

    class Directory(FileClient):
        is_down = False

        def write_ltx_path(self, *arguments: object) -> ltxcore.FileInfo:  # type: ignore[override]
            if self.is_down:
                raise ConnectionError("down")
            return super().write_ltx_path(*arguments)  # type: ignore[arg-type]  # handed through

    directory = Directory(tmp_path / "replica")
    monkeypatch.setattr("ltxcore.db._uploader._NEWS_DELAY", 1.0)
    replica = ltxcore.Replica(directory if kind == "directory" else client, sync_interval=0.05)
    with DB(database, replica=replica, monitor_interval=0.05) as db:
        db.wait(timeout=10)

        def be(is_down: bool) -> None:
            directory.is_down = is_down
            client.before_write = (lambda _key: 1 / 0) if is_down else lambda _key: None

        assert db._running is not None and db._running.uploader is not None
        uploader = db._running.uploader
        backoff, passes = uploader._backoff, uploader._passes
        be(is_down=True)
        insert(database, 1)
        eventually(lambda: uploader._passes > passes and backoff.error is not None)
        backoff._failures = 9  # as after minutes
        uploader.notify()
        eventually(lambda: backoff._failures > 9)
        be(is_down=False)
        time.sleep(0.2)
        insert(database, 2)
        eventually(lambda: db.status().is_current, timeout=3)


def test_a_commit_during_an_attempt_that_fails_shortens_its_pause(
    database: Path, client: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one right after it; the pause was a minute, and what was said before it began was forgotten."""
    monkeypatch.setattr("ltxcore.db._uploader._NEWS_DELAY", 0.2)
    replica = ltxcore.Replica(client, sync_interval=0.05)
    with DB(database, replica=replica, monitor_interval=0.05) as db:
        db.wait(timeout=10)
        assert db._running is not None and db._running.uploader is not None
        uploader = db._running.uploader

        def fail(_key: object) -> None:
            client.before_write = lambda _key: None
            uploader._backoff._failures = 9  # as after minutes
            uploader.notify()
            raise ConnectionError("down")

        client.before_write = fail
        insert(database, 1)
        eventually(lambda: uploader._backoff._failures == 10)
        eventually(lambda: db.status().is_current, timeout=5)


def test_what_the_engine_has_to_say_is_logged(
    database: Path, client: MemoryClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A volume that went back in time: the replica is ahead, and somebody has to know."""
    db = DB(database, replica=client)
    with db:
        for value in (1, 2):
            insert(database, value)
            top = db.wait(timeout=10).txid
    for path in (db.meta_path / "ltx/0").iterdir():
        path.unlink()
    with caplog.at_level(logging.WARNING, "ltxcore"), db:
        db.wait(timeout=10)
    said = [record.getMessage() for record in caplog.records if "ahead" in record.getMessage()]
    assert len(said) == 1
    assert str(top) in said[0]


def test_a_database_that_is_closed_lets_go_at_once(database: Path, client: MemoryClient) -> None:
    """Not when garbage is collected: there are descriptors and threads behind it."""
    gc.disable()
    try:
        db = DB(database, replica=client).open()
        db.wait(timeout=10)
        running = weakref.ref(db._running)  # type: ignore[arg-type]  # it is open
        db.close()
        assert running() is None
    finally:
        gc.enable()


# --- leftovers ---------------------------------------------------------------------------------------------------------


def test_a_start_that_is_refused_touches_nothing(db: DB) -> None:
    """It deleted the snapshot that the first one was uploading, before it found that the place was taken."""
    under_way = db.meta_path / f"snapshot-{'0' * 32}.tmp"
    db.wait(timeout=10)
    under_way.write_bytes(b"being uploaded")
    with pytest.raises(Error, match="in use"):
        DB(db.path).open()
    assert under_way.exists()
    db.snapshot()
    db.wait(timeout=10)
    assert under_way.exists()


def test_what_a_crash_left_is_removed_once_the_place_is_ours(database: Path, client: MemoryClient) -> None:
    db = DB(database, replica=client)
    with db:
        db.wait(timeout=10)
    left = db.meta_path / f"snapshot-{'0' * 32}.tmp"
    left.write_bytes(b"left over")
    with db:
        db.wait(timeout=10)
        assert not left.exists()
