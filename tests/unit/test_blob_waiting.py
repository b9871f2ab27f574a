"""How long callers wait for one another, at most; and threads of the store that others cannot end."""

import contextlib
import signal
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from ltxcore.blob_store import BlobStore, Evicted
from ltxcore.errors import StoreBusyError

from tests.unit.blobs import in_use, locked, opened, quick, run_script
from tests.unit.databases import eventually


def test_in_memory_a_store_is_closed_while_others_read_an_open_blob() -> None:
    for _ in range(10):
        store = BlobStore.memory()
        store["a"] = bytes(1 << 20)
        raw = store.open("a").raw
        ended = threading.Event()

        def read(raw: Any = raw, ended: threading.Event = ended) -> None:
            buffer = bytearray(100)
            try:
                while True:
                    raw.seek(0)
                    raw.readinto(buffer)
            except ValueError:
                ended.set()

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        time.sleep(0.01)
        store.close(timeout=10)
        assert ended.wait(10)


def test_all_who_wait_for_another_process_give_up_together(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(busy_timeout=0.5)) as store:
        failed: list[str] = []

        def put(name: str) -> None:
            with pytest.raises(StoreBusyError):
                store[name] = b"x"
            failed.append(name)

        threads = [threading.Thread(target=put, args=[f"{number}"]) for number in range(16)]
        with locked(tmp_path / "s.db"):
            began = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(failed) == 16
        assert time.monotonic() - began < 0.5 * 8, "one after the other they would have waited for 8 s"
        store["a"] = b"y"
        assert in_use(store) == {"a": b"y"}


def test_a_close_waits_as_long_as_it_was_given_for_another_close_too(tmp_path: Path) -> None:
    store = opened(tmp_path / "s.db", options=quick(busy_timeout=2))
    with locked(tmp_path / "s.db"):
        store.put_nowait("a", b"x")
        other = threading.Thread(target=store.close)
        other.start()
        eventually(lambda: store._engine.writer._is_closed)
        began = time.monotonic()
        with pytest.raises(StoreBusyError):
            store.close(timeout=0.1)
        assert time.monotonic() - began < 1.5
    other.join()
    store.close(timeout=float("inf"))


def test_a_close_waits_for_another_process_once(tmp_path: Path) -> None:
    store = opened(tmp_path / "s.db", options=quick(busy_timeout=2))
    store["a"] = b"x"
    with locked(tmp_path / "s.db"):
        store.get("a")
        store.put_nowait("b", b"x")
        began = time.monotonic()
        store.close()
        assert time.monotonic() - began < 4.5, "2 s for what waits and as long for uses would be more"


@pytest.mark.parametrize("busy_timeout", [0, 0.01])
def test_a_close_that_shall_not_wait_does_not(tmp_path: Path, busy_timeout: float) -> None:
    store = opened(tmp_path / "s.db", options=quick(busy_timeout=busy_timeout))
    with locked(tmp_path / "s.db"):
        began = time.monotonic()
        store.close()
        assert time.monotonic() - began < 0.95


def test_a_signal_handler_may_close_what_is_being_closed(tmp_path: Path) -> None:
    done = run_script(
        """
        import os, signal, sqlite3, sys, threading
        from ltxcore.blob_store import BlobStore, Options
        store = BlobStore(sys.argv[1], options=Options(busy_timeout=2))
        store["a"] = b"x"
        other = sqlite3.connect(sys.argv[1], isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        store.put_nowait("b", b"y")
        signal.signal(signal.SIGALRM, lambda *_: (print("handled"), store.close()))
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        store.close()
        print("closed")
        """,
        tmp_path / "s.db",
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "handled\nclosed\n", "")


def test_a_signal_is_noticed_while_another_process_is_in_the_way(tmp_path: Path) -> None:
    script = """
        import os, sqlite3, sys, threading, time, _thread
        from ltxcore.blob_store import BlobStore
        store = BlobStore(sys.argv[1])
        other = sqlite3.connect(sys.argv[1], isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.5, lambda: os.kill(os.getpid(), int(sys.argv[2]))).start()
        try:
            store["a"] = b"x"
        except KeyboardInterrupt:
            print("interrupted")
        other.execute("ROLLBACK")
        store.close()
    """
    began = time.monotonic()
    done = run_script(script, tmp_path / "s.db", int(signal.SIGINT), timeout=30)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
    assert time.monotonic() - began < 9, "SQLite waits for 10 s"


def test_what_a_future_calls_need_not_wait_for_room(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(batch_max_bytes=1000)) as store:
        followed: list[Future[None]] = []

        def follow(future: Future[None]) -> None:
            followed.append(store.put_nowait(f"followed {len(followed)}", bytes(1000)))

        for number in range(100):
            store.put_nowait(f"{number}", bytes(1000)).add_done_callback(follow)
        eventually(lambda: len(followed) == 100)
        store.flush()
        assert len(store) == 200


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt, ValueError])
def test_callbacks_do_not_end_the_threads_that_call_them(tmp_path: Path, ending: type[BaseException]) -> None:
    evicted: list[str] = []

    def on_evict(gone: Evicted) -> None:
        evicted.append(gone.name)
        raise ending

    def end(future: Future[None]) -> None:
        raise ending

    with opened(tmp_path / "s.db", capacity=10, on_evict=on_evict) as store:
        # If the blob is stored already, the callback is called here.
        with contextlib.suppress(ending):
            store.put_nowait("a", bytes(10)).add_done_callback(end)
        store.put_nowait("b", bytes(10)).result(10)
        store.put_nowait("c", bytes(10)).result(10)
    assert evicted == ["a", "b"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_waits_is_written_though_the_thread_in_the_background_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path / "s.db", on_evict=print)
    writer = store._engine.writer

    def fail() -> None:
        raise MemoryError

    monkeypatch.setattr(writer, "_lead_on", fail)
    future = store.put_nowait("a", b"x")
    writer._threads[0].join(10)
    store.close(timeout=10)
    assert future.done()
    with opened(tmp_path / "s.db") as store:
        assert in_use(store) == {"a": b"x"}
