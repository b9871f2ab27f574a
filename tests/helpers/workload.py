"""Random work on a database, as data: hypothesis draws it, an application plays it, a failure can be printed and replayed."""

import dataclasses
from typing import Any

from hypothesis import strategies as st

from tests.helpers.app import App

PAGE_SIZES = (512, 1024, 4096, 8192, 65536)
AUTO_VACUUM = ("NONE", "FULL", "INCREMENTAL")
MODES = ("PASSIVE", "FULL", "RESTART", "TRUNCATE")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a database is born with."""

    page_size: int = 4096
    auto_vacuum: str = "NONE"
    autocheckpoint: int = 1000

    def app(self, path: Any) -> App:
        return App(
            path,
            page_size=self.page_size,
            auto_vacuum=self.auto_vacuum,
            autocheckpoint=self.autocheckpoint,
        )


@dataclasses.dataclass(frozen=True)
class Step:
    """One thing that the application does; `n` means what the kind makes of it."""

    kind: str
    n: int = 0
    mode: str = ""


def play(app: App, step: Step) -> None:
    KINDS[step.kind](app, step)


def insert(app: App, step: Step) -> None:
    app.insert(step.n % 40 + 1, size=2 + step.n * 7 % 3000, commits=step.n % 2 == 0)


def insert_many(app: App, step: Step) -> None:
    app.insert(step.n % 600 + 1, size=50, commits=False)


def update(app: App, step: Step) -> None:
    app.execute("UPDATE entry SET body = body || ? WHERE id % ? = 0", "x" * (step.n % 50), step.n % 9 + 1)


def delete(app: App, step: Step) -> None:
    app.execute("DELETE FROM entry WHERE id % ? = 0", step.n % 5 + 1)


def blob(app: App, step: Step) -> None:
    app.execute("INSERT INTO entry (body) VALUES (randomblob(?))", step.n * 251 % 300_000)


def schema(app: App, step: Step) -> None:
    name = f"extra_{step.n % 4}"
    if app.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", name):
        app.execute(f"DROP TABLE {name}")
        return
    app.execute(f"CREATE TABLE {name} (a INTEGER PRIMARY KEY, b, c) {('', 'WITHOUT ROWID')[step.n % 2]}")
    app.execute(f"CREATE INDEX {name}_b ON {name} (b)")
    app.execute(f"INSERT INTO {name} SELECT id, id % 7, body FROM entry LIMIT ?", step.n % 100)


def rolled_back(app: App, step: Step) -> None:
    """A transaction too large for the cache, so that frames without a commit reach the WAL."""
    app.execute("PRAGMA cache_size = 10")
    app.execute("BEGIN")
    for _ in range(step.n % 60 + 1):
        app.execute("INSERT INTO entry (body) VALUES (randomblob(3000))")
    app.execute("ROLLBACK")
    app.execute("PRAGMA cache_size = -2000")


def vacuum(app: App, _step: Step) -> None:
    app.execute("VACUUM")


def incremental_vacuum(app: App, step: Step) -> None:
    app.execute(f"PRAGMA incremental_vacuum({step.n % 20})")


def checkpoint(app: App, step: Step) -> None:
    app.execute("PRAGMA busy_timeout = 200")
    app.checkpoint(step.mode)
    app.execute("PRAGMA busy_timeout = 3000")


def reopen(app: App, _step: Step) -> None:
    app.reopen()


def version(app: App, step: Step) -> None:
    app.execute(f"PRAGMA user_version = {step.n}")


KINDS = {
    "insert": insert,
    "insert_many": insert_many,
    "update": update,
    "delete": delete,
    "blob": blob,
    "schema": schema,
    "rolled_back": rolled_back,
    "vacuum": vacuum,
    "incremental_vacuum": incremental_vacuum,
    "checkpoint": checkpoint,
    "reopen": reopen,
    "version": version,
}

settings = st.builds(
    Setting, st.sampled_from(PAGE_SIZES), st.sampled_from(AUTO_VACUUM), st.sampled_from((0, 20, 1000))
)
steps = st.builds(Step, st.sampled_from(sorted(KINDS)), st.integers(0, 2000), st.sampled_from(MODES))


def events(*extra: str) -> st.SearchStrategy[list[Step]]:
    """Steps with things in between that the tests themselves do, such as `sync` and `restart`."""
    between = st.builds(Step, st.sampled_from(extra), st.integers(0, 2000))
    return st.lists(st.one_of(steps, steps, between), min_size=4, max_size=14)
