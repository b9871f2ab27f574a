"""Where one act of `acts_compare` happens: a database, its application, its replicator, and what a restore has to give.

No connection of this process ever has the live database open: what it looks at are copies.
"""

import contextlib
import dataclasses
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.acts_files import beside, remove_sidecars, write_over
from tests.helpers.acts_subjects import Subject
from tests.helpers.process import ChildError, Talker
from tests.helpers.replicators import RestoreRefused

ROWS = 800
#: How long the operator looks away after an act, so that the replicator has time to do something wrong.
PAUSE = 1.0
SYNC_SECONDS = 4.0

Rows = dict[int, str]


class Damaged(Exception):
    """The source does not hold what the operator put there, and what the application committed."""


class AppFails(Exception):
    """The application cannot use the database, which may be damaged, or only be held by the replicator."""

    def __init__(self, message: str, accepted: tuple[Rows, ...]) -> None:
        super().__init__(message)
        self.accepted = accepted


class NotDriven(Exception):
    """The act cannot be done to this replicator."""


@dataclasses.dataclass
class Look:
    """A sync and, if it succeeded, a restore. `lost` is the number of rows, -1 if nothing can be restored."""

    refusal: str = ""
    lost: int = 0
    why: str = ""

    @property
    def good(self) -> bool:
        return not self.refusal and not self.lost


def body(number: int, mark: str) -> str:
    """About 300 characters, so that thirteen rows fill a page."""
    return f"{mark}{number:09d}" + f"{number * 2654435761 % 2**32:08x}" * 36


def rows_of(path: Path) -> Rows:
    """What one file, or a database with its WAL, holds; damage is an error."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict[:80])
        return dict(connection.execute("SELECT id, v FROM t"))


def apart(one: Rows, other: Rows) -> int:
    """In how many rows two databases differ."""
    return sum(one.get(key) != other.get(key) for key in one.keys() | other.keys())


class Place:
    def __init__(self, root: Path, db: Path, opened_as: Path) -> None:
        """`db` is the file; the application and the replicator know it as `opened_as`."""
        self.root, self.db, self.opened_as = root, db, opened_as
        self.replica = root / "replica"
        self.subject: Subject
        self.app: Talker | None = None
        self.rows: Rows = {}
        self.next_id = 1
        self.copies = 0
        #: What the start of a replicator, or a sync, failed with.
        self.said: list[str] = []
        #: Every look that was taken after the act, and what an act wants to know besides.
        self.seen: list[Look] = []
        self.besides: Callable[[], str] | None = None

    @property
    def meta(self) -> Path:
        return self.db.with_name(f".{self.db.name}-litestream")

    def end(self) -> None:
        self.subject.end()
        if self.app is not None:
            self.app.kill()

    # --- the application -----------------------------------------------------------------------------------------------

    def start_app(self, *accepted: Rows) -> None:
        """The application connects. `accepted` are the contents that it may find; without one, what it left."""
        self.app = Talker("tests.helpers.acts_app", self.root / "app.log")
        wanted = accepted or (self.rows,)
        schema = ["CREATE TABLE t(id INTEGER PRIMARY KEY, v)"]
        try:
            self.app.ask("connect", path=str(self.opened_as), pragmas=["journal_mode = wal"], schema=schema)
            found = dict(self.sql("SELECT id, v FROM t"))
        except ChildError as error:
            raise AppFails(str(error), wanted) from error
        if found not in wanted:
            raise Damaged(f"the application finds {min(apart(found, rows) for rows in wanted)} rows wrong")
        self.rows = found

    def sql(self, statement: str) -> Any:
        assert self.app is not None
        return self.app.ask("run", sql=statement, timeout=15)

    def stop_app(self, *, kill: bool = False) -> None:
        if self.app is not None:
            if not kill:
                self.app.ask("close")
            self.app.kill()
            self.app = None

    def insert(self, count: int = 1) -> None:
        """Commits rows, all in one transaction."""
        made = {number: body(number, "row") for number in range(self.next_id, self.next_id + count)}
        values = ", ".join(f"({number}, '{text}')" for number, text in made.items())
        self.sql(f"INSERT INTO t(id, v) VALUES {values}")
        self.rows = self.rows | made
        self.next_id += count

    def update(self, *numbers: int) -> None:
        made = {number: body(number, "new") for number in numbers}
        for number, text in made.items():
            self.sql(f"UPDATE t SET v = '{text}' WHERE id = {number}")
        self.rows = self.rows | made

    def checkpoint(self, mode: str = "FULL", *, patience: float = 2.0) -> bool:
        """Whether it was not refused within that time, which a replicator's read lock may do for ever."""
        self.sql("PRAGMA busy_timeout = 100")
        end = time.monotonic() + patience
        while busy := self.sql(f"PRAGMA wal_checkpoint({mode})")[0][0]:
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        self.sql("PRAGMA busy_timeout = 10000")
        return not busy

    # --- the replicator ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A replicator that cannot be started has said why."""
        try:
            self.subject.start()
        except (ChildError, AssertionError) as error:
            self.said.append(str(error))

    def sync(self, timeout: float = 10.0) -> int:
        """All is in the replica, the replicator says; its TXID."""
        return self.subject.sync(timeout)

    def commits(self, count: int) -> list[int]:
        """So many transactions, each in the replica before the next; their TXIDs."""
        made = []
        for _ in range(count):
            self.insert()
            made.append(self.sync())
        return made

    def look(self, *, then_kill: bool = False) -> None:
        """What one sync and one restore give now; the replicator may be killed between the two."""
        if not self.subject.is_running():
            self.start()
        try:
            self.sync(SYNC_SECONDS)
        except ChildError as error:
            self.seen.append(Look(refusal=str(error)))
            return
        if then_kill:
            self.subject.kill()
        try:
            self.seen.append(Look(lost=apart(self.rows, self.restored())))
        except RestoreRefused as error:
            self.seen.append(Look(lost=-1, why=str(error)))

    def restored(self, **target: Any) -> Rows:
        """What a restore gives; an error if it gives nothing."""
        self.copies += 1
        output = self.root / f"restored-{self.copies}.db"
        self.subject.restore(output, **target)
        try:
            return rows_of(output)
        except sqlite3.Error as error:
            raise RestoreRefused(f"the restored database: {error}", ("Damaged",)) from error

    # --- the operator --------------------------------------------------------------------------------------------------

    def copy_of_source(self) -> Path:
        """The database with its WAL, as a program would find it that knows nothing of the wal-index."""
        self.copies += 1
        target = self.root / f"copy-{self.copies}.db"
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                write_over(beside(self.db, suffix), beside(target, suffix))
        return target

    def backup(self, *, edited: str = "id % 7 = 0", form: str = "wal") -> Path:
        """Another state of the same database in one file of the same size."""
        target = self.copy_of_source()
        with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as connection:
            connection.execute(f"UPDATE t SET v = 'old' || substr(v, 4) WHERE {edited}")
            connection.execute(f"PRAGMA journal_mode = {form}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        remove_sidecars(target, "both")
        return target

    def under_this_wal(self, backup: Path) -> Rows:
        """What a backup is together with the WAL that is there now."""
        self.copies += 1
        target = self.root / f"under-{self.copies}.db"
        write_over(backup, target)
        with contextlib.suppress(FileNotFoundError):
            write_over(beside(self.db, "-wal"), beside(target, "-wal"))
        return rows_of(target)

    def look_away(self) -> None:
        time.sleep(PAUSE)
