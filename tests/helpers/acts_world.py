"""One replicated database with an application and a replicator, each a process, and what must be true of them.

Every act is a method that writes itself down, and does nothing where it is not possible; so any sequence can be played again,
and any shorter one too. The rules:

* When `wait` or `close` returns, a restore from the replica is the database: the same rows, and sound.
* The database is what the application committed, or what the operator put there. `acts_model.Model` knows.
* After an act that disturbs (a file lost, replaced, put back) replication may answer with errors of ours, but not for longer
  than `HEAL` seconds at a time. Where an act left a `remedy` behind, not for longer after the operator did that.
* Where the replica was damaged under a running replicator, `wait` may be wrong for `NOTICE` seconds: only looking tells.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers import acts_files, replicators
from tests.helpers.acts_application import Application
from tests.helpers.acts_base import TALLY, Fault, Setting, act
from tests.helpers.acts_processes import APPLICATION, REPLICATOR, Clock, Pool, Worker
from tests.helpers.process import ChildError
from tests.helpers.replicators import RestoreRefused

HEAL = 20.0
NOTICE = 5.0
#: How long one `wait` may take.
WAIT = 10.0


class World(Application):
    """The application, the replicator, and the truth about them."""

    def __init__(self, root: Path, setting: Setting) -> None:
        super().__init__(root, setting)
        self.root, self.replica, self.meta = root, root / "replica", root / ".db-litestream"
        self.scratch = root / "scratch"
        self.scratch.mkdir()
        self.clock = Clock(root) if setting.clock else None
        self.driver: Worker | None = None
        self.running = False
        self.children: list[int] = []
        self.notice_until = 0.0
        TALLY.worlds += 1
        self._connect()

    def end(self) -> None:
        """Leave no process, whatever happened."""
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        for kind, worker in ((APPLICATION, self.app), (REPLICATOR, self.driver)):
            if worker is None:
                continue
            if self.failed or self.clock or self.running or self.connected or not worker.alive():
                worker.kill()
            else:
                Pool.give_back(kind, worker)

    def log(self) -> str:
        return f"the replicator's log:\n{self.driver.tail(1500)}" if self.driver is not None else ""

    # --- what is true ------------------------------------------------------------------------------------------------

    def look(self, *, for_good: bool = False) -> Path:
        """A copy of the database, which is what it has to be. No connection is opened, so nothing is changed by looking."""
        copy = self.scratch / "source"
        acts_files.copy_database(self.db, copy)
        acts_files.as_one_file(copy)
        seen = acts_files.content_of(copy)
        if not self.recognise(seen, for_good=for_good):
            raise Fault(f"the source has changed: {self.unlike(seen)}")
        return copy

    def restored(self) -> Path:
        output = self.scratch / "restored"
        output.unlink(missing_ok=True)
        replicators.restore(self.replica, output, kind="ltxcore")
        return output

    def untruth(self) -> str:
        """What is wrong with a restore, in one line; "" if it is the database."""
        source = self.look(for_good=True)
        try:
            output = self.restored()
        except RestoreRefused as error:
            return f"nothing can be restored: {error}"
        if source.read_bytes() == output.read_bytes():
            return ""
        TALLY.not_bytes += 1
        found = acts_files.content_of(output)
        if found.verdict != "ok":
            return f"the restored database is damaged: {found.verdict}"
        return acts_files.difference(source, output)

    def disturb(self, pause: float = 0.0) -> None:
        """An operator was here. The database is what is expected all the same, also after a while."""
        self.mark()
        time.sleep(pause)
        self.look()

    def damage_replica(self, pause: float) -> None:
        self.promise = None
        if self.running:
            self.notice_until = time.monotonic() + NOTICE + pause
        self.disturb(pause)

    def believe(self) -> None:
        """A promise was shown to be true."""
        TALLY.kept += 1
        if self.disturbed:
            TALLY.slowest = max(TALLY.slowest, time.monotonic() - self.disturbed)
        self.promise = self.model.tick
        self.disturbed = self.notice_until = 0.0

    # --- the replicator ----------------------------------------------------------------------------------------------

    @act(lambda world: not world.running and not world.split)
    def start(self) -> None:
        if self.driver is None or not self.driver.alive():
            log = self.root / "replicator.log"
            self.driver = self.clock.worker(log) if self.clock else Pool.take(REPLICATOR)
        self.insist(self._open_once)
        self.running, self.notice_until = True, 0.0

    def _open_once(self) -> tuple[str, bool]:
        names = ("monitor_interval", "l0_retention", "min_checkpoint_page_n")
        options = {name: getattr(self.setting, name) for name in names}
        interval = self.setting.sync_interval
        return self._asked(
            "open",
            path=str(self.db),
            replica=f"file://{self.replica}",
            sync_interval=interval,
            layout=self.setting.layout,
            options=options,
        )

    @act(lambda world: world.running)
    def wait(self) -> None:
        self.insist(self._wait_once)
        self.believe()

    def _wait_once(self) -> tuple[str, bool]:
        problem, said = self._asked("wait", within=WAIT)
        if problem:
            return problem, said
        untruth = self.untruth()
        if untruth and time.monotonic() > self.notice_until:
            raise Fault(f"wait() returned, and {untruth} ({self._how_long()})")
        if untruth and not self.held:
            self.commit("touch", 1)  # the application goes on
        return untruth, False

    def _how_long(self) -> str:
        """Whether what is wrong with a restore is still wrong a little later."""
        time.sleep(1.0)
        with contextlib.suppress(ChildError, Fault):
            self._asked("wait", within=WAIT)
            return "and stays so" if self.untruth() else "but not for long"
        return "then there were errors"

    @act(lambda world: world.running and not world.split)
    def close(self) -> None:
        """Says that everything is in the replica, or fails; closed it is in any case."""
        problem, _ = self._asked("close")
        self.running = False
        if problem or time.monotonic() < self.notice_until:
            return
        untruth = self.untruth()
        if untruth:
            raise Fault(f"close() returned, and {untruth}")
        self.believe()

    @act(lambda world: world.running and not world.split)
    def kill(self, during: str, seconds: float) -> None:
        """kill -9, in the middle of a command or when all is quiet."""
        assert self.driver is not None
        arguments = {"wait": {"within": WAIT}, "compact": {"level": 1}}.get(during, {})
        self.driver.ask_and_kill(during, seconds, **arguments)
        self.running = False

    @act(lambda world: world.running)
    def sync(self) -> None:
        """Into local files; nobody waits for the upload."""
        self._asked("sync")

    @act(lambda world: world.running)
    def snapshot(self) -> None:
        self._asked("snapshot")

    @act(lambda world: world.running)
    def compact(self, level: int) -> None:
        self._asked("compact", level=level)

    @act(lambda world: world.running)
    def checkpoint_replicator(self, mode: str) -> None:
        self._asked("checkpoint", mode=mode)

    @act(lambda world: world.promise is not None)
    def restore(self) -> None:
        """At any time, whoever runs: what was promised is there, and may be followed by more."""
        output = self.restored()
        found = acts_files.content_of(output)
        assert self.promise is not None
        if found.verdict != "ok" or found.tick < self.promise:
            raise Fault(
                f"{self.promise} transactions were promised, a restore gives {found.verdict}, {found.tick}"
            )
        if found.tick == self.model.tick and found != self.model.content:
            raise Fault(f"a restore of all {found.tick} transactions has another content")

    def _asked(self, command: str, **arguments: Any) -> tuple[str, bool]:
        """What the replicator answered instead of doing it, and whether it said so with an error; ("", False) if it did it."""
        assert self.driver is not None
        try:
            self.driver.ask(command, timeout=WAIT + 30, **arguments)
        except ChildError as error:
            if "Error" not in error.kinds or "InternalError" in error.kinds:
                raise Fault(f"not an error of ours: {error}") from error
            if not (self.scarred or self.remedies):
                raise Fault(f"refused, though nothing had happened: {error}") from error
            TALLY.errors += 1
            return str(error), True
        return "", False

    def insist(self, attempt: Callable[[], tuple[str, bool]]) -> None:
        """Until it works: by itself, or after the operator did what the errors ask for."""
        deadline = time.monotonic() + HEAL
        while True:
            problem, said = attempt()
            if not problem:
                return
            if said and self.remedies:
                self._apply_remedies()
                deadline = time.monotonic() + HEAL
            if time.monotonic() > deadline:
                raise Fault(f"not healed within {HEAL:.0f} s: {problem}")
            time.sleep(0.1)

    def _apply_remedies(self) -> None:
        remedies, self.remedies = self.remedies, {}
        running = self.running
        for remedy in remedies.values():
            remedy()
        if running and remedies.keys() - {"held", "split"}:
            self.kill("", 0.0)
            self.start()

    @act()
    def rest(self, seconds: float) -> None:
        """Nobody does anything; the replicator does what it leaves for quiet times."""
        time.sleep(seconds)

    @act()
    def finish(self) -> None:
        """The end of every script: all is in the replica, and the database is the application's."""
        if self.held:
            self.finish_transaction("COMMIT")
        if self.split:
            self.close_app()
        self.start()
        self.wait()
        self.close()
        self.close_app()
        self.look()
