"""gunicorn with a preloaded site (`django_site.py`), clients that write to it, and somebody who kills its workers."""

import contextlib
import dataclasses
import http.client
import itertools
import os
import random
import signal
import socket
import sqlite3
import sys
import threading
import time
from pathlib import Path

import ltxcore

from tests.helpers.process import ROOT, Child, ended, until

CLIENTS = 6
#: Between two kills, in seconds.
SHORTEST, LONGEST = 0.1, 1.0


@dataclasses.dataclass
class Report:
    acknowledged: int = 0
    #: Requests whose worker was killed meanwhile: committed or not.
    cut_off: int = 0
    kills: int = 0
    workers: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)


class Connection(http.client.HTTPConnection):
    """To a socket with a path."""

    def __init__(self, path: Path) -> None:
        super().__init__("site", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self.path))


class Soak:
    """One server, from its start to its orderly end."""

    def __init__(self, room: Path, vfs: str, opens: str, seed: int) -> None:
        self.room, self.random = room, random.Random(seed)
        self.path, self.replica, self.socket = room / "app.db", room / "replica", room / "s"
        self.settings = {"SITE_DATABASE": str(self.path), "SITE_VFS": vfs, "SITE_OPENS": opens}
        self.report = Report()
        self.stop = threading.Event()
        self.keys: set[str] = set()

    def server(self) -> Child:
        module = "tests.helpers.django_site"
        gunicorn = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "gunicorn"]
        argv = [*gunicorn, "-c", f"python:{module}", "-b", f"unix:{self.socket}", f"{module}:application"]
        # `env`, since a Child has the environment of the tests.
        variables = [f"{name}={value}" for name, value in self.settings.items()]
        return Child(["env", "-C", str(ROOT), *variables, *argv], self.room / "log")

    def client(self, name: str) -> None:
        try:
            for number in itertools.count():
                if self.stop.is_set():
                    break
                self.request(f"{name}-{number}")
        except BaseException as error:
            self.report.problems.append(f"{name}: {error!r}")

    def request(self, key: str) -> None:
        connection = Connection(self.socket)
        with contextlib.closing(connection):
            try:
                connection.request("GET", f"/add/{key}")
                answer = connection.getresponse()
                text = answer.read().decode()
            except (OSError, http.client.HTTPException):
                self.report.cut_off += 1
                return
        if answer.status != 200:
            self.report.problems.append(f"{key}: {answer.status} {text[:200]}")
            self.stop.set()
        self.keys.add(key)

    def workers(self, server: Child) -> list[int]:
        """Children of the master."""
        text = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
        return [int(word) for word in text.split()]

    def kill_one(self, server: Child) -> None:
        if pids := self.workers(server):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.random.choice(pids), signal.SIGKILL)
                self.report.kills += 1

    def run(self, seconds: float) -> Report:
        with contextlib.closing(sqlite3.connect(self.path)) as c:
            c.execute("PRAGMA journal_mode = wal")
            c.execute("CREATE TABLE done (key TEXT PRIMARY KEY, worker INTEGER)")
        server = self.server()
        with ended(server):
            until(self.socket.exists, timeout=60, what="the server listens")
            clients = [threading.Thread(target=self.client, args=[f"{n}"]) for n in range(CLIENTS)]
            for client in clients:
                client.start()
            end = time.monotonic() + seconds
            while time.monotonic() < end and not self.stop.wait(self.random.uniform(SHORTEST, LONGEST)):
                self.kill_one(server)
                if not server.alive():
                    self.report.problems.append("the server has ended")
                    break
            self.stop.set()
            for client in clients:
                client.join(120)
            code = server.terminate(120)
            if code:
                self.report.problems.append(f"the server ended with {code}")
        self.check()
        if self.report.problems:
            self.report.problems.append(server.tail())
        return self.report

    def check(self) -> None:
        """What was acknowledged is in the database, and the replica holds the same."""
        restored = self.room / "restored"
        ltxcore.restore(self.replica, restored, integrity_check="full")
        mine, theirs = rows(self.path), rows(restored)
        self.report.acknowledged, self.report.workers = len(self.keys), len(set(mine.values()))
        if missing := self.keys - mine.keys():
            self.report.problems.append(f"{len(missing)} acknowledged rows are not in the database")
        if mine != theirs:
            self.report.problems.append(f"{len(mine.items() ^ theirs.items())} rows differ in the replica")


def rows(path: Path) -> dict[str, int]:
    with contextlib.closing(sqlite3.connect(path)) as c:
        return dict(c.execute("SELECT key, worker FROM done"))


def run(room: Path, *, seconds: float, vfs: str, opens: str, seed: int) -> Report:
    return Soak(room, vfs, opens, seed).run(seconds)
