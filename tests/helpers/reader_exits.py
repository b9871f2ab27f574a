"""How a process ends while Rust calls Python in other threads, or would.

Run as a script: ``python -m tests.helpers.reader_exits WAY``. It ends with 0 unless something crashed.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sqlite3
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ltxcore
from ltxcore import ltx
from ltxcore._process import runtime
from ltxcore.clients.file import FileClient

from tests.helpers.readers import ROWS, SIZE, Slow, connect, content, count


class SlowClient(FileClient):
    """A client in Python, so that Rust calls it."""

    def open_ltx_file(self, *args: Any, **kwargs: Any) -> Any:
        time.sleep(0.0005)
        return super().open_ltx_file(*args, **kwargs)


def daemons(work: Callable[[], None]) -> None:
    """Three threads that never end, for a moment."""

    def forever() -> None:
        while True:
            work()

    for _ in range(3):
        threading.Thread(target=forever, daemon=True).start()
    time.sleep(0.1)


def snapshot(folder: Path) -> Path:
    path = folder / "ltx" / "9" / ltx.format_filename(1, 1)
    path.parent.mkdir(parents=True)
    (folder / "app.db").write_bytes(content())
    with path.open("wb") as file:
        ltx.encode_database(folder / "app.db", file)
    return path


def reading() -> None:
    connections = threading.local()
    reader = ltxcore.ReaderVFS(Slow(content()))

    def work() -> None:
        connections.one = getattr(connections, "one", None) or connect(reader)
        count(connections.one)

    daemons(work)


def decoding() -> None:
    path = snapshot(Path(tempfile.mkdtemp(dir=os.environ["READERS_DIR"])))
    encoded = path.read_bytes()

    def work() -> None:
        with ltx.open(Slow(encoded)) as file:
            for _ in file:
                pass

    daemons(work)


def encoding() -> None:
    folder = Path(tempfile.mkdtemp(dir=os.environ["READERS_DIR"]))
    snapshot(folder)
    daemons(lambda: ltx.encode_database(folder / "app.db", Slow()) and None)  # type: ignore[func-returns-value]


def restoring() -> None:
    folder = Path(tempfile.mkdtemp(dir=os.environ["READERS_DIR"]))
    snapshot(folder)
    client = SlowClient(folder)

    def work() -> None:
        ltxcore.restore(
            client,
            folder / f"{threading.get_ident()}.db",
            overwrite=True,
            progress=lambda _: time.sleep(0.0005),
        )

    daemons(work)


def raising() -> None:
    """Errors that are made while threads end."""
    client = FileClient(Path(os.environ["READERS_DIR"]))

    def work() -> None:
        with contextlib.suppress(ltxcore.Error):
            client.read_ltx_file(0, ltx.TXID(1), ltx.TXID(1))

    daemons(work)


class Blocked(io.BytesIO):
    """Blocks in a read."""

    def __init__(self, database: bytes, block: Callable[[], None]) -> None:
        super().__init__(database)
        self.block = block

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 8192:
            self.block()
        return super().read(size)


class WakesLate:
    """Lets a blocked thread go on while the interpreter takes itself apart, and gives it time to ask for it."""

    def __init__(self, end: int) -> None:
        self.end, self.write, self.sleep = end, os.write, time.sleep

    def __del__(self) -> None:
        self.write(self.end, b"x")
        self.sleep(0.3)


def end_before_it_ends(work: Callable[[Callable[[], None]], object]) -> None:
    """What is blocked takes longer than the exit waits, and comes back while the interpreter ends.

    Args:
        work: is called in another thread, with what blocks there.
    """
    runtime.CALLS_TIMEOUT = 0.05
    read, write = os.pipe()
    begun = threading.Event()

    def block() -> None:
        begun.set()
        os.read(read, 1)

    # Kept by a module, so that it goes when modules go.
    sys.modules["late"] = late = types.ModuleType("late")
    late.wakes = WakesLate(write)
    threading.Thread(target=work, args=(block,), daemon=True).start()
    assert begun.wait(10)


def blocked() -> None:
    end_before_it_ends(lambda block: count(connect(ltxcore.ReaderVFS(Blocked(content(), block)))))


class Unusual(SlowClient):
    """Blocks where no method of a client is called: in a generator, a property, a text."""

    def __init__(self, block: Callable[[], None], where: str) -> None:
        super().__init__(Path(os.environ["READERS_DIR"]))
        self.block, self.where = block, where

    def at(self, where: str) -> None:
        if where == self.where:
            self.block()

    def ltx_files(self, *args: Any, **kwargs: Any) -> Any:
        files = super().ltx_files(*args, **kwargs)

        def listing() -> Any:
            self.at("listing")
            yield from files

        return self.fails() if self.where in ("transient", "text") else listing()

    def fails(self) -> Any:
        client = self

        class Failure(Exception):
            @property
            def transient(self) -> bool:
                client.at("transient")
                return False

            def __str__(self) -> str:
                client.at("text")
                return "on purpose"

        raise Failure

    def __getattribute__(self, name: str) -> Any:
        if name == "ltx_files":
            self.at("method")
        return super().__getattribute__(name)

    def __repr__(self) -> str:
        self.at("name")
        return "unusual"


def blocked_at(where: str) -> Callable[[], None]:
    # An empty replica is named in the error about it.
    return lambda: end_before_it_ends(lambda block: ltxcore.restore_plan(Unusual(block, where)))


def handlers() -> None:
    """Handlers that run after ours read in the main thread, and wait for a thread that tries to."""
    connection = connect(ltxcore.ReaderVFS(io.BytesIO(content())))
    reader = ltxcore.ReaderVFS(io.BytesIO(content()))
    refused: list[str] = []

    exiting = threading.Event()

    def read() -> None:
        exiting.wait()
        try:
            count(connect(reader))
        except sqlite3.OperationalError:
            refused.append(str(reader.take_error()))

    worker = threading.Thread(target=read, daemon=True)
    worker.start()

    def handler() -> None:
        exiting.set()
        worker.join()
        print(count(connection), refused)

    atexit.unregister(runtime._close_all)
    # The last one that is registered runs first.
    atexit.register(handler)
    atexit.register(runtime._close_all)


def unclosed() -> None:
    """Everything is left open."""
    global kept
    reader = ltxcore.ReaderVFS(io.BytesIO(content()))
    kept = [reader, connect(reader), ltxcore.ReaderVFS(Slow(content())).connect(check_same_thread=False)]
    count(kept[1])


def forked() -> int:
    """A child that was forked inside a read, while other threads were in theirs, waits for none of them when it ends."""
    encoded = snapshot(Path(tempfile.mkdtemp(dir=os.environ["READERS_DIR"]))).read_bytes()

    def decode(file: io.BytesIO) -> int:
        with ltx.open(file) as source:
            return len(list(source))

    daemons(lambda: decode(Slow(encoded)) and None)  # type: ignore[func-returns-value]

    class Forks(io.BytesIO):
        child = -1

        def read(self, size: int | None = -1) -> bytes:
            if self.child == -1:
                type(self).child = os.fork()
            return super().read(size)

    pages = decode(Forks(encoded))
    if Forks.child == 0:
        runtime.CALLS_TIMEOUT = 1000.0
        sys.exit(0 if pages > ROWS * SIZE // 4096 else 1)
    return os.waitpid(Forks.child, 0)[1]


WAYS: dict[str, Callable[[], Any]] = {
    "reading": reading,
    "decoding": decoding,
    "encoding": encoding,
    "restoring": restoring,
    "raising": raising,
    "blocked": blocked,
    **{f"blocked_{where}": blocked_at(where) for where in ("listing", "transient", "text", "method", "name")},
    "unclosed": unclosed,
    "forked": forked,
    "handlers": handlers,
}


if __name__ == "__main__":
    outcome = WAYS[sys.argv[1]]()
    if outcome is not None:
        print(outcome)
