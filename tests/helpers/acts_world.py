"""One replicated database with an application and a replicator, each a process, and what must be true of them.

Every act is a method that writes itself down, and does nothing where it is not possible; so any sequence can be played again, and
any shorter one too. The rules:

* When `wait` or `close` returns, a restore from the replica is the database: the same rows, and sound.
* The database is what the application committed, or what the operator put there. `acts_model.Model` knows.
* An act that disturbs (a file lost, replaced, put back) may make replication answer with errors of ours, for `HEAL` seconds at
  most. An act that leaves a `remedy` behind may do so until the operator does that.
* Where the replica was damaged under a running replicator, `wait` may be wrong for `NOTICE` seconds: that can only be found by looking.
"""

import contextlib
import dataclasses
import functools
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.helpers import acts_files, replicators
from tests.helpers.acts_files import Saved
from tests.helpers.acts_model import SCHEMA, Content, Model
from tests.helpers.acts_processes import APPLICATION, REPLICATOR, Clock, Pool, Worker
from tests.helpers.process import ChildError
from tests.helpers.replicators import RestoreRefused

HEAL = 20.0
NOTICE = 5.0
#: How long one `wait` may take.
WAIT = 10.0
#: How long an application tries again whose files were just replaced.
PATIENCE = 15.0


class Fault(AssertionError):
    """The promise was broken."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a world is born with."""

    page_size: int = 4096
    auto_vacuum: str = "NONE"
    autocheckpoint: int = 1000
    asks_for_wal: bool = True  # the application itself, each time that it connects
    sync_interval: float = 0.0
    monitor_interval: float = 0.02
    l0_retention: float = 300.0
    min_checkpoint_page_n: int = 1000
    clock: bool = False  # the replicator's time of day can be moved

    def __repr__(self) -> str:
        """Only what is not usual."""
        given = ((field.name, getattr(self, field.name), field.default) for field in dataclasses.fields(self))
        return f"Setting({', '.join(f'{name}={value!r}' for name, value, usual in given if value != usual)})"


@dataclasses.dataclass
class Tally:
    """What all worlds of a run did together."""

    worlds: int = 0
    acts: Counter[str] = dataclasses.field(default_factory=Counter)
    kept: int = 0  # promises that a restore has shown to be true
    errors: int = 0  # answered while something had been disturbed
    not_bytes: int = 0  # restores with the same content, but not the same bytes
    slowest: float = 0.0  # from an act to the first promise after it


TALLY = Tally()


def act(when: Callable[[Any], bool] = lambda _world: True) -> Callable[..., Any]:
    """Writes the call down and plays it, if `when` says that it is possible now."""

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def played(world: "World", *arguments: Any) -> Any:
            if world.playing:
                return method(world, *arguments) if when(world) else None
            world.script.append((method.__name__, arguments))
            if not when(world):
                return None
            TALLY.acts[method.__name__] += 1
            with world.played():
                return method(world, *arguments)

        played.when = when  # type: ignore[attr-defined]
        return played

    return decorate


class World:
    """The application, the replicator, and the truth about them."""

    def __init__(self, root: Path, setting: Setting) -> None:
        self.root, self.setting = root, setting
        self.db, self.replica, self.meta = root / "db", root / "replica", root / ".db-litestream"
        self.scratch = root / "scratch"
        self.scratch.mkdir()
        self.script: list[tuple[str, tuple[Any, ...]]] = []
        self.playing = self.failed = False
        self.clock = Clock(root) if setting.clock else None
        # The database may be any of these; which, the next look at it tells.
        self.models = [Model.born()]
        self.saved: list[Saved] = []
        self.app: Worker | None = None
        self.connected = self.reads = self.running = self.split = False
        self.held: list[str] = []
        self.driver: Worker | None = None
        self.children: list[int] = []
        # What the last promise holds at least: that many transactions. None if the promise is not worth anything any more.
        self.promise: int | None = None
        self.disturbed, self.scarred = 0.0, False
        self.notice_until = 0.0
        self.remedies: dict[str, Callable[[], None]] = {}
        TALLY.worlds += 1
        self._connect()

    # --- a script of it ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def played(self) -> Any:
        """Whatever goes wrong inside comes with the script that leads there."""
        self.playing = True
        try:
            yield
        except Exception as error:
            self.failed = True
            error.add_note(self.as_script())
            if self.driver is not None and (said := self.driver.tail(1500)):
                error.add_note(f"the replicator's log:\n{said}")
            raise
        finally:
            self.playing = False

    def as_script(self) -> str:
        """What was done, as a program."""
        calls = [f"    w.{name}({', '.join(map(repr, arguments))})" for name, arguments in self.script]
        head = ["from tests.helpers.acts_operator import world", "from tests.helpers.acts_world import Setting", ""]
        return "\n".join([*head, f"with world({self.setting!r}) as w:", *calls])

    @property
    def model(self) -> Model:
        return self.models[0]

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

    # --- the application ---------------------------------------------------------------------------------------------

    @act(lambda world: not world.held)
    def commit(self, kind: str, n: int) -> None:
        """One transaction or a few, by an application that starts if it has to."""
        self._connect()
        for statements in self.model.work(kind, n):
            tick = self.model.tick
            self._patiently(lambda: self._ask_app("transact", statements=statements, tick=tick))
            self.model.transact(statements)

    @act(lambda world: not world.held)
    def begin(self, kind: str, n: int) -> None:
        """A transaction that stays open."""
        self._connect()
        statements, tick = self.model.work(kind, n)[0], self.model.tick
        self._patiently(lambda: self._ask_app("begin", statements=statements, tick=tick))
        self.held = statements
        self.remedies["held"] = lambda: self.finish_transaction("ROLLBACK")

    @act(lambda world: world.held)
    def finish_transaction(self, how: str) -> None:
        self.remedies.pop("held", None)
        statements, self.held = self.held, []
        self._ask_app("end", how=how)
        if how == "COMMIT":
            self.model.transact(statements)

    @act(lambda world: not world.held)
    def checkpoint(self, mode: str) -> None:
        """By the application. That somebody is in the way is no failure."""
        self._connect()
        self._patiently(lambda: self._run("busy_timeout = 200", f"wal_checkpoint({mode})", "busy_timeout = 10000"))

    @act(lambda world: not world.held and not world.reads)
    def vacuum(self) -> None:
        self._connect()
        self._patiently(lambda: self._ask_app("run", sql="VACUUM"))

    @act(lambda world: not world.held and not world.reads and not world.split)
    def repage(self, size: int) -> None:
        """Another page size, which SQLite refuses while somebody else is connected."""
        self._connect()
        with contextlib.suppress(ChildError):
            self._run("busy_timeout = 20", "journal_mode = delete", f"page_size = {size}")
            self._ask_app("run", sql="VACUUM")
        self._patiently(lambda: self._run("busy_timeout = 10000", "journal_mode = wal"))

    @act(lambda world: world.connected)
    def read(self, on: bool) -> None:
        """A reader of the application that goes on, or its end."""
        self._patiently(lambda: self._ask_app("read", on=on))
        self.reads = on

    @act(lambda world: world.connected)
    def close_app(self) -> None:
        """What is not committed is rolled back. SQLite removes the WAL if nobody else is connected."""
        self._ask_app("close")
        self._app_has_gone()

    @act(lambda world: world.connected)
    def kill_app(self) -> None:
        assert self.app is not None
        self.app.kill()
        self._app_has_gone()

    def _app_has_gone(self) -> None:
        self.connected = self.reads = False
        self.held = []
        self.remedies.pop("held", None)
        if self.split:
            self.split = False
            self.remedies.pop("split", None)
            self.disturb()

    def _ask_app(self, command: str, **arguments: Any) -> Any:
        assert self.app is not None
        return self.app.ask(command, **arguments)

    def _run(self, *pragmas: str) -> None:
        for pragma in pragmas:
            self._ask_app("run", sql=f"PRAGMA {pragma}")

    def _connect(self) -> None:
        """The application starts; it finds what it left, or what the operator put there."""
        if not self.connected:
            self._patiently(self._connect_once)

    def _connect_once(self) -> None:
        if self.app is None or not self.app.alive():
            self.app = Pool.take(APPLICATION)
        birth = not self.db.exists()
        setting = self.setting
        pragmas = [f"page_size = {setting.page_size}", f"auto_vacuum = {setting.auto_vacuum}"] if birth else []
        pragmas += ["journal_mode = wal"] if birth or setting.asks_for_wal else []
        pragmas += [f"wal_autocheckpoint = {setting.autocheckpoint}", "synchronous = NORMAL"]
        self._ask_app("connect", path=str(self.db), pragmas=pragmas, schema=SCHEMA if birth else ())
        self.connected = True
        if self.disturbed or birth:
            seen = Content(*self._ask_app("content"))
            if not self.recognise(seen):
                raise ChildError(f"the application finds {self.unlike(seen)}", kinds=("sqlite",))

    def _patiently(self, call: Callable[[], object]) -> None:
        """Right after an act of the operator an application may have to start again and again, but not for ever."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                call()
                return
            except ChildError as error:
                if not self.disturbed or self.split or time.monotonic() > deadline or not error.kinds:
                    raise Fault(f"the application cannot work: {error}") from error
                time.sleep(0.1)
                reads = self.reads
                with contextlib.suppress(ChildError):
                    self._ask_app("close")
                self.connected = self.reads = False
                if call != self._connect_once:
                    self._connect()
                    self.reads = reads and self._ask_app("read", on=True) is None

    # --- what is true ------------------------------------------------------------------------------------------------

    def recognise(self, seen: Content, *, for_good: bool = True) -> bool:
        """Whether that is what the database may hold."""
        same = [model for model in self.models if model.content == seen]
        if same and for_good:
            self.models = same[:1]
        return bool(same)

    def unlike(self, seen: Content) -> str:
        """What is wrong with something that is not recognised."""
        if seen.verdict != "ok":
            return f"a damaged database: {seen.verdict}"
        return f"{seen.tick} transactions, expected {' or '.join(str(model.tick) for model in self.models)}"

    def expect(self, models: Iterable[Model]) -> None:
        """From now on the database is another one."""
        self.models = list(models)
        self.promise = None

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
        """Something was done to the database or to what the replicator keeps; the database itself is as expected all the same."""
        self.disturbed = self.disturbed or time.monotonic()
        time.sleep(pause)
        self.look()

    def damage_replica(self, pause: float) -> None:
        self.promise, self.scarred = None, True
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
        return self._asked("open", path=str(self.db), replica=f"file://{self.replica}", sync_interval=interval, options=options)

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
            raise Fault(f"wait() returned, and {untruth}")
        if untruth and not self.held:
            self.commit("touch", 1)  # the application goes on
        return untruth, False

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
        self._asked("snapshot", tolerant=self.scarred)

    @act(lambda world: world.running)
    def compact(self, level: int) -> None:
        """What the replica lost may be what it needs."""
        self._asked("compact", tolerant=self.scarred, level=level)

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
            raise Fault(f"{self.promise} transactions were promised, a restore gives {found.verdict}, {found.tick}")
        if found.tick == self.model.tick and found != self.model.content:
            raise Fault(f"a restore of all {found.tick} transactions has another content")

    def _asked(self, command: str, *, tolerant: bool = False, **arguments: Any) -> tuple[str, bool]:
        """What the replicator answered instead of doing it, and whether it said so with an error; ("", False) if it did it."""
        assert self.driver is not None
        try:
            self.driver.ask(command, timeout=WAIT + 30, **arguments)
        except ChildError as error:
            if "Error" not in error.kinds or "InternalError" in error.kinds:
                raise Fault(f"not an error of ours: {error}") from error
            if not (self.disturbed or self.remedies or tolerant):
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
