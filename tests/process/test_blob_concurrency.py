"""Threads, processes, signals and forks at one blob store."""

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ltxcore.blob_store import BlobStore, Options
from ltxcore.errors import BlobNotFoundError, ForkedError, StoreBusyError, StoreClosedError, StoreFullError

from tests.helpers.process import ROOT, environment

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]


def python(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """A process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=environment(),
    )


def finished(child: "subprocess.Popen[str]", timeout: float = 50) -> str:
    output, _ = child.communicate(timeout=timeout)
    assert child.returncode == 0, output
    return output


def in_threads(count: int, work: Any) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def test_what_a_thread_wrote_it_reads_and_nobody_sees_time_run_backwards(tmp_path: Path) -> None:
    with BlobStore(tmp_path / "s.db") as store:
        latest = [0] * 8

        def work(number: int) -> None:
            for count in range(1, 60):
                store.put(f"k{number}", f"{number} {count}".encode())
                latest[number] = count
                for other in range(8):
                    least = latest[other]
                    found = store.get(f"k{other}")
                    owner, seen = map(int, (found or f"{other} 0".encode()).split())
                    assert owner == other and seen >= least

        in_threads(8, work)
        assert store.check().is_clean and len(store) == 8


def test_many_callers_share_transactions_and_one_that_fails_fails_alone(tmp_path: Path) -> None:
    with BlobStore(tmp_path / "s.db", options=Options(durability="durable"), capacity=1 << 20) as store:
        before = store.stats().batches

        def work(number: int) -> str:
            try:
                if number % 16 == 7:
                    store.delete("never there")
                else:
                    store.put(f"k{number}", bytes(2 << 20) if number % 16 == 3 else bytes(10))
            except (BlobNotFoundError, ValueError) as error:
                return type(error).__name__
            return "ok"

        found = in_threads(128, work)
        wanted = [
            "BlobTooLargeError" if n % 16 == 3 else "BlobNotFoundError" if n % 16 == 7 else "ok"
            for n in range(128)
        ]
        assert found == wanted
        assert len(store) == 128 - 16
        assert store.stats().batches - before < 128
        assert store.stats().rejected == 16


def test_a_commit_that_fails_is_the_error_of_all_its_writes(tmp_path: Path) -> None:
    options = Options(max_page_count=60, page_size=512, auto_vacuum="none", linger=0.2)
    with BlobStore(tmp_path / "s.db", options=options) as store:
        futures = [store.put_nowait(f"k{number}", bytes(600)) for number in range(200)]
        outcomes = [future.exception(20) for future in futures]
        acknowledged = {f"k{number}" for number, error in enumerate(outcomes) if error is None}
        assert {type(error) for error in outcomes} <= {type(None), StoreFullError}
        assert any(outcomes) and set(store) == acknowledged
        assert store.check().is_clean
        store.clear()
        store.put("small", b"x")
        assert store["small"] == b"x"


def test_two_readers_of_one_blob_read_at_the_same_time(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    with BlobStore(tmp_path / "s.db") as store:
        store["long"] = data
        with store.open("long") as one, store.open("long") as two:
            for at in range(0, len(data), 500_000):
                assert one.read(500_000) == data[at : at + 500_000] == two.read(500_000)


def test_several_processes_write_one_store(tmp_path: Path) -> None:
    code = """
        import sys
        from ltxcore.blob_store import BlobStore
        with BlobStore(sys.argv[1], capacity=None) as store:
            for count in range(150):
                store.put(f"k{count % 10}", f"{sys.argv[2]} {count}".encode())
                store.put(f"own/{sys.argv[2]}/{count}", b"x" * 10)
    """
    path = tmp_path / "s.db"
    for child in [python(code, path, number) for number in range(4)]:
        finished(child)
    with BlobStore(path) as store:
        assert len(store) == 10 + 4 * 150
        for number in range(10):
            _, count = map(int, store[f"k{number}"].split())
            assert count == 140 + number
        assert store.usage().payload_bytes == sum(len(store[name]) for name in store)
        assert store.check().is_clean


def test_processes_that_open_first_at_the_same_time_make_one_store(tmp_path: Path) -> None:
    code = """
        import sys, time
        from ltxcore.blob_store import BlobStore
        time.sleep(max(float(sys.argv[2]) - time.time(), 0))
        with BlobStore(sys.argv[1], capacity=1000) as store:
            store.put(sys.argv[3], b"x")
    """
    for attempt in range(3):
        path, start = tmp_path / f"s{attempt}.db", time.time() + 0.7
        for child in [python(code, path, start, number) for number in range(4)]:
            finished(child)
        with BlobStore(path) as store:
            assert sorted(store) == ["0", "1", "2", "3"]
            assert store.check().is_clean and store.effective_options.journal_mode == "wal"


def test_who_opens_waits_for_a_transaction_and_gives_up_in_time(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    BlobStore(path).close()
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    with BlobStore(path, options=Options(busy_timeout=0.1)) as store, pytest.raises(StoreBusyError):
        store.put("a", b"x")
    threading.Timer(0.3, holder.execute, ["ROLLBACK"]).start()
    with BlobStore(path, options=Options(busy_timeout=20)) as store:
        store.put("a", b"x")
        assert store["a"] == b"x"
    holder.close()


def test_closing_under_load_settles_every_write_and_leaves_nothing(tmp_path: Path) -> None:
    gc.collect()  # what other tests left
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    path = tmp_path / "s.db"
    for _ in range(5):
        store, acknowledged, futures = BlobStore(path), set(), []
        store.clear()

        def work(
            number: int, store: BlobStore = store, acknowledged: Any = acknowledged, futures: Any = futures
        ) -> None:
            for count in range(10_000):
                name = f"{number}/{count}"
                try:
                    if count % 3:
                        store.put(name, b"x")
                        acknowledged.add(name)
                    else:
                        futures.append((name, store.put_nowait(name, b"x")))
                    store.get(name)
                except StoreClosedError:
                    return

        workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for worker in workers:
            worker.start()
        time.sleep(0.1)
        store.close()
        for worker in workers:
            worker.join(20)
            assert not worker.is_alive()
        for name, future in futures:
            assert future.exception(5) is None
            acknowledged.add(name)
        with BlobStore(path) as again:
            assert set(again) == acknowledged
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) <= files


def test_a_signal_in_the_thread_that_leads_concerns_nobody_else(tmp_path: Path) -> None:
    """Ctrl-C in the main thread, a hundred times, while other threads write: none of their writes is lost or fails."""
    code = """
        import itertools, os, signal, sys, threading, time
        from ltxcore.blob_store import BlobStore
        store, acknowledged, failed, stop = BlobStore(sys.argv[1]), [], [], threading.Event()
        def work(number):
            for count in itertools.count():
                if stop.is_set():
                    return
                try:
                    store.put(f"{number}/{count}", b"x")
                except BaseException as error:
                    failed.append(repr(error))
                    return
                acknowledged.append(f"{number}/{count}")
        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads: thread.start()
        def interrupt():
            while not stop.is_set():
                time.sleep(0.004)
                os.kill(os.getpid(), signal.SIGUSR1)
        armed = False
        def handler(*_):
            global armed
            if armed:
                armed = False
                raise KeyboardInterrupt
        signal.signal(signal.SIGUSR1, handler)
        hits, count = 0, 0
        ringer = threading.Thread(target=interrupt)
        ringer.start()
        until = time.monotonic() + 3
        while time.monotonic() < until:
            try:
                armed = True
                while time.monotonic() < until:
                    count += 1
                    store.put(f"main/{count}", b"y")
                    acknowledged.append(f"main/{count}")
                armed = False
            except KeyboardInterrupt:
                hits += 1
        stop.set()
        ringer.join()
        for thread in threads: thread.join(20)
        alive = [thread for thread in threads if thread.is_alive()]
        lost = [name for name in acknowledged if name not in store]
        print(hits > 50, len(acknowledged) > 100, failed, alive, lost, store.check().problems)
        store.close()
    """
    assert finished(python(code, tmp_path / "s.db")).strip() == "True True [] [] [] ()"


def test_a_forked_child_is_refused_and_the_parent_goes_on(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "s.db", options=Options(touch_interval=0.05))
    store["a"] = b"x" * 100_000
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            store.put("b", b"y")
            store.get("a")

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    uses = [
        lambda: store.get("a"),
        lambda: store.put("c", b""),
        lambda: list(store),
        lambda: store.open("a"),
        lambda: store.batch().__enter__() and store.delete("a"),
        lambda: reader.read(1),
        store.flush,
    ]
    with store.open("a") as reader:
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                bad = 0
                for use in uses:
                    try:
                        use()
                        bad += 1
                    except ForkedError:
                        pass
                    except BaseException:
                        bad += 1
                store.close()
                os._exit(bad)
            deadline = time.monotonic() + 20
            while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    pytest.fail("a forked child hangs")
                time.sleep(0.005)
            assert os.waitstatus_to_exitcode(ended[1]) == 0
    stop.set()
    for worker in workers:
        worker.join(10)
    store["d"] = b"z"
    assert store["d"] == b"z" and store.check().is_clean
    store.close()


def test_an_interpreter_that_ends_writes_what_was_promised(tmp_path: Path) -> None:
    code = """
        import sys
        from ltxcore.blob_store import BlobStore
        store = BlobStore(sys.argv[1])
        for number in range(500):
            store.put_nowait(str(number), b"x" * 1000)
        store.get("0")
        reader = store.open("0") if "0" in store else None
    """
    finished(python(code, tmp_path / "s.db"))
    with BlobStore(tmp_path / "s.db") as store:
        assert len(store) == 500 and store.check().is_clean
    assert not (tmp_path / "s.db-wal").exists()
