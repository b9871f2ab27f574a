"""The application of a world of acts: what it commits is what the database has to hold."""

import contextlib
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from tests.helpers.acts_base import Fault, Recorded, Setting, act
from tests.helpers.acts_model import SCHEMA, Content, Model
from tests.helpers.acts_processes import APPLICATION, Pool, Worker
from tests.helpers.process import ChildError

#: How long an application tries again whose files were just replaced, in seconds.
PATIENCE = 15.0


class Application(Recorded):
    """Its process, its connection, and the model of its database."""

    def __init__(self, root: Path, setting: Setting) -> None:
        super().__init__(setting)
        self.db = root / "db"
        # The database may be any of these; which, the next look at it tells.
        self.models = [Model.born()]
        self.app: Worker | None = None
        self.connected = self.reads = False
        # There is no database yet, or the application could not finish making one.
        self.unborn = True
        # The wal-index was removed under the application.
        self.split = False
        # What is in a transaction that is still open.
        self.held: list[str] = []
        # What the last promise holds at least: that many transactions. None if it is not worth anything any more.
        self.promise: int | None = None
        # Since when something is as an operator made it, and no promise was shown to be true; and whether that was ever so.
        self.disturbed, self.scarred = 0.0, False
        # What the operator does when replication answers with errors.
        self.remedies: dict[str, Callable[[], None]] = {}

    @property
    def model(self) -> Model:
        return self.models[0]

    def mark(self) -> None:
        """Something is not as replication left it."""
        self.disturbed = self.disturbed or time.monotonic()
        self.scarred = True

    @act(lambda world: not world.held)
    def commit(self, kind: str, n: int) -> None:
        """One transaction or a few, by an application that starts if it has to."""
        self._connect()
        for statements in self.model.work(kind, n):
            self._patiently(partial(self._ask_app, "transact", statements=statements, tick=self.model.tick))
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
        self._patiently(
            lambda: self._run("busy_timeout = 200", f"wal_checkpoint({mode})", "busy_timeout = 10000")
        )

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
        """A reader of the application that goes on, or its end. In rollback mode it would keep the application from writing."""
        if on and self._ask_app("run", sql="PRAGMA journal_mode") != [["wal"]]:
            return
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
            self.mark()

    def _ask_app(self, command: str, **arguments: Any) -> Any:
        assert self.app is not None
        return self.app.ask(command, **arguments)

    def _run(self, *pragmas: str) -> None:
        for pragma in pragmas:
            self._ask_app("run", sql=f"PRAGMA {pragma}")

    def _start_app(self) -> None:
        if self.app is None or not self.app.alive():
            self.app = Pool.take(APPLICATION)

    def _connect(self) -> None:
        """The application starts; it finds what it left, or what the operator put there."""
        if not self.connected:
            self._patiently(self._connect_once)

    def _connect_once(self) -> None:
        self._start_app()
        setting, unborn = self.setting, self.unborn
        pragmas = (
            [f"page_size = {setting.page_size}", f"auto_vacuum = {setting.auto_vacuum}"] if unborn else []
        )
        pragmas += ["journal_mode = wal"] if unborn or setting.asks_for_wal else []
        pragmas += [f"wal_autocheckpoint = {setting.autocheckpoint}", "synchronous = NORMAL"]
        self._ask_app("connect", path=str(self.db), pragmas=pragmas, schema=SCHEMA if unborn else ())
        self.connected, self.unborn = True, False
        if self.disturbed or unborn:
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

    # --- what it must find ---------------------------------------------------------------------------------------------

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
