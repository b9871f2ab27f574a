"""Ctrl-C in a thread that writes for others as well, or reads: at every moment at which Python looks for signals.

Python runs a signal handler when a function of Python's own begins, and when one of C's has returned. The profiler is called
at the same moments, and what it raises comes from there: so each can be tried, where a real signal hits some only once in
ten thousand times.
"""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.helpers.process import ROOT, environment

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

BEGIN = """
    import os, sys, threading, time
    from pathlib import Path
    from ltxcore.blob_store import BlobStore, Options
    from ltxcore.blob_store._process.forks import AutoResetEvent

    class Interruption:
        "Raises at the moment with this number, and knows where that was."

        def __init__(self, number):
            self.left, self.where = number, None

        def __call__(self, frame, event, _):
            if event in ("call", "c_return"):
                self.left -= 1
                if self.left == 0:
                    self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {event}"
                    raise KeyboardInterrupt
"""

WRITES = """

    room, verb = Path(sys.argv[1]), sys.argv[2]
    VERBS = {
        "put": lambda store: store.put("main", b"m"),
        "flush": lambda store: store.flush(),
        "stream": lambda store: write(store),
    }

    def write(store):
        with store.open("main", "wb") as file:
            file.write(bytes(50))

    def opened():
        store = BlobStore(room / f"{time.monotonic_ns()}.db", options=Options(durability="cache", chunk_size=20))
        store.put("old", b"o")
        return store

    def once(store, number):
        "One interruption while another thread and a future wait; what is wrong after it, and whether there was one."
        writer, told, problems = store._engine.writer, threading.Event(), []
        store.get("old")
        writer._lead.acquire()
        def put():
            try:
                store.put("other", b"%d" % number)
            except BaseException as error:
                problems.append(f"another thread was told {error!r}")
            told.set()
        threading.Thread(target=put, daemon=True).start()
        while not writer.depth():
            time.sleep(0.0005)
        # Nobody is woken for it, so that it is still waiting when the main thread leads.
        writer._wake, wake = AutoResetEvent(), writer._wake
        future = store.put_nowait("future", b"%d" % number)
        writer._wake = wake
        writer._lead.release()
        interruption = Interruption(number)
        try:
            sys.setprofile(interruption)
            VERBS[verb](store)
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        if not told.wait(3):
            problems.append("another thread hangs")
        try:
            future.result(3)
        except BaseException as error:
            problems.append(f"a future: {error!r}")
        after = threading.Event()
        def go_on():
            store.put("after", b"%d" % number)
            after.set()
        threading.Thread(target=go_on, daemon=True).start()
        if not after.wait(3):
            problems.append("the next write hangs")
        else:
            try:
                store.put("main again", b"x")
            except BaseException as error:
                problems.append(f"the next write of the main thread: {error!r}")
        if not problems:
            for name in ("other", "future", "after"):
                if store.get(name) != b"%d" % number:
                    problems.append(f"{name} was acknowledged and is lost")
        return interruption.where, problems

    store, number, bad, misses = opened(), 1, [], 0
    while misses < 3:
        where, problems = once(store, number)
        if problems:
            bad.append(f"{number}, {where}: {problems}")
            store = opened()
        # Somebody else may have led, and then few moments come.
        misses = misses + 1 if where is None else 0
        number += where is not None
    if not bad:
        bad += store.check().problems
        store.close()
    print(number, *bad, sep="\\n", flush=True)
    os._exit(bool(bad))
"""


READS = """
    VERBS = {
        "get": lambda store: store.get("long"),
        "range": lambda store: store.read_range("long", 30, 30),
        "open": lambda store: read(store),
    }

    def read(store):
        with store.open("long") as file:
            assert file.read() == LONG

    def others(store, told):
        with store.open("long") as file:
            assert (file.read(), store.get("short")) == (LONG, b"s")
        told.set()

    LONG = bytes(range(100))
    options = Options(durability="cache", chunk_size=20, readers=2, busy_timeout=1)
    place, verb = sys.argv[2].split()
    in_file = place == "file"
    store = BlobStore(Path(sys.argv[1]) / "s.db", options=options) if in_file else BlobStore.memory(options=options)
    number, bad, misses = 1, [], 0
    store["long"], store["short"] = LONG, b"s"
    while misses < 3 and not bad:
        interruption = Interruption(number)
        try:
            sys.setprofile(interruption)
            VERBS[verb](store)
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        told = threading.Event()
        threading.Thread(target=others, args=[store, told]).start()
        if not told.wait(3):
            bad.append(f"{number}, {interruption.where}: a reader is lost")
        misses = misses + 1 if interruption.where is None else 0
        number += interruption.where is not None
    if not bad:
        store.close()
        if store.stats().open_readers:
            bad.append("some are still open")
    print(number, *bad, sep="\\n", flush=True)
    os._exit(bool(bad))
"""


CASES = dict.fromkeys(("put", "flush", "stream"), WRITES) | {
    f"{place} {verb}": READS for place in ("file", "memory") for verb in ("get", "range", "open")
}


@pytest.mark.parametrize("case", CASES)
def test_an_interruption_at_any_moment_concerns_nobody_else(case: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", textwrap.dedent(BEGIN + CASES[case]), str(tmp_path), case]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=110, cwd=ROOT, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) > 10, "the moments did not come"
