"""`python -m tests.helpers.sqlclient`: connections by name, over any VFS; every answer is an outcome, never an exception.

An outcome is `{"code": "OK", "rows": [...]}`, or the name of the extended result code. The tables of the tests compare codes,
so nothing in here knows which of them is right.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.helpers.process import Child, Talker, answer_lines, ended

MODES = ("ofd", "posix", "flock", "dotfile", "excl", "none")
NOBODY = 65534
OK, BUSY = "OK", "SQLITE_BUSY"


def uri(path: str | Path, vfs: str, **parameters: str | int) -> str:
    more = "".join(f"&{key}={value}" for key, value in parameters.items())
    return f"file:{path}?vfs={vfs}{more}"


class Client(Talker):
    """A process with connections, seen from the test."""

    def __init__(self, log: Path, *, under: Sequence[str] = ()) -> None:
        """`under` is a command that runs the client: strace, for example."""
        Child.__init__(self, [*under, sys.executable, "-m", "tests.helpers.sqlclient"], log, talk=True)

    def open(self, name: str, path: str | Path, vfs: str, **parameters: str | int) -> str:
        return self.ask("open", name=name, uri=uri(path, vfs, **parameters))["code"]

    def run(self, name: str, *script: str) -> str:
        """The code of the first statement that fails, or `OK`."""
        for sql in script:
            code = self.ask("run", name=name, sql=sql)["code"]
            if code != OK:
                return code
        return OK

    def send(self, name: str, sql: str) -> None:
        """Does not wait for what a statement says, as `answer` does. It runs in the main thread, unlike `start`."""
        self.write_line(json.dumps({"command": "run", "name": name, "sql": sql}))

    def answer(self) -> str:
        return json.loads(self.read_line(30))["result"]["code"]

    def rows(self, name: str, sql: str) -> Any:
        """What a statement returns, or the code that it fails with."""
        answer = self.ask("run", name=name, sql=sql)
        return answer["rows"] if answer["code"] == OK else answer["code"]

    def value(self, name: str, sql: str) -> Any:
        rows = self.rows(name, sql)
        return rows if isinstance(rows, str) else rows[0][0]

    def close(self, *names: str) -> None:
        self.ask("close", names=names)


@contextlib.contextmanager
def clients(folder: Path, count: int = 2, *, under: Sequence[str] = ()) -> Iterator[list[Client]]:
    made = [Client(folder / f"client{number}.log", under=under) for number in range(count)]
    with ended(*made):
        yield made
        for client in made:
            client.close_pipes()
            if client.alive():
                client.wait(20)


# --- the child's side ------------------------------------------------------------------------------------------------

LOG: list[str] = []


def _keep_the_log() -> None:
    """SQLite's error log can only be had before the library is first used, which importing `sqlite3` does."""
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
    callback = kind(lambda _unused, code, text: LOG.append(f"{code}: {text.decode(errors='replace')}"))
    _keep_the_log.callback = callback  # type: ignore[attr-defined]  # must live as long as the library
    with contextlib.suppress(OSError):  # then the one test that reads the log says so
        library = ctypes.CDLL("libsqlite3.so.0")
        library.sqlite3_config(ctypes.c_int(16), callback, None)


class Connections:
    def __init__(self) -> None:
        import sqlite3

        from ltxcore import OSVFS

        self.sqlite3 = sqlite3
        self.open_ones: dict[str, Any] = {}
        self.cursors: dict[str, Any] = {}
        self.later: dict[str, tuple[threading.Thread, dict[str, Any]]] = {}
        OSVFS().register()
        for mode in MODES:
            OSVFS(name=f"ltx-{mode}", lock=mode).register()  # type: ignore[arg-type]

    def handle(self, command: str, arguments: dict[str, Any]) -> Any:
        return getattr(self, f"do_{command}")(**arguments)

    def outcome(self, work: Any) -> dict[str, Any]:
        try:
            return {"code": OK, "rows": work()}
        except self.sqlite3.Error as error:
            return {"code": getattr(error, "sqlite_errorname", None) or str(error), "message": str(error)}

    def do_open(self, name: str, uri: str) -> dict[str, Any]:
        def work() -> None:
            # Its own lock timeout would hide who waits for whom; some connections are used from two threads.
            self.open_ones[name] = self.sqlite3.connect(
                os.fsencode(uri),
                uri=True,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )

        return self.outcome(work)

    def do_run(self, name: str, sql: str) -> dict[str, Any]:
        return self.outcome(lambda: self.open_ones[name].execute(sql).fetchall())

    def do_cursor(self, name: str, sql: str) -> dict[str, Any]:
        """Leaves a statement half done, so that its connection keeps SHARED whatever becomes of its transaction."""

        def work() -> Any:
            self.cursors[name] = self.open_ones[name].execute(sql)
            return [self.cursors[name].fetchone()]

        return self.outcome(work)

    def do_rest(self, name: str) -> dict[str, Any]:
        return self.outcome(lambda: self.cursors.pop(name).fetchall())

    def do_close(self, names: list[str]) -> None:
        for name in names or list(self.open_ones):
            self.cursors.pop(name, None)
            if name in self.open_ones:
                self.open_ones.pop(name).close()

    def do_start(self, name: str, sql: str) -> None:
        """Runs a statement in a thread; `finish` waits for what it says."""
        answer: dict[str, Any] = {}
        thread = threading.Thread(target=lambda: answer.update(self.do_run(name, sql)))
        self.later[name] = (thread, answer)
        thread.start()

    def do_finish(self, name: str) -> dict[str, Any]:
        thread, answer = self.later.pop(name)
        thread.join(30)
        return answer

    def do_log(self) -> list[str]:
        seen = list(LOG)
        LOG.clear()
        return seen

    def do_umask(self, mask: int) -> None:
        os.umask(mask)

    def do_drop(self) -> None:
        """Becomes somebody without privileges, if it has any."""
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    def do_descriptors(self) -> dict[int, str]:
        found = {}
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                found[int(number)] = os.readlink(f"/proc/self/fd/{number}")
        return found

    def do_without_standard_descriptors(self, uri: str) -> dict[int, str]:
        """What 0, 1 and 2 are after a database was opened and written by a process that had none of them."""
        kept = [os.dup(number) for number in range(3)]
        for number in range(3):
            os.close(number)
        self.do_open("low", uri)
        self.do_run("low", "PRAGMA journal_mode=WAL")
        self.do_run("low", "CREATE TABLE low (x)")
        found = self.do_descriptors()
        for number, copy in enumerate(kept):
            os.dup2(copy, number)
            os.close(copy)
        return found

    def do_mark(self, path: str) -> None:
        """Something that can be found in a trace."""
        with open(path, "wb") as file:
            file.truncate(1)

    def do_die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def do_break_lock(self, path: str) -> None:
        from ltxcore.vfs import break_lock

        break_lock(path)


if __name__ == "__main__":
    _keep_the_log()
    answer_lines(Connections().handle)
