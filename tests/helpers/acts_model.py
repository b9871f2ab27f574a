"""What the database has to hold: the application's statements, played on a copy in memory that nobody replicates."""

import contextlib
import dataclasses
import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

Statement = str

SCHEMA: tuple[Statement, ...] = (
    "CREATE TABLE tick (id INTEGER PRIMARY KEY, n INTEGER)",
    "INSERT INTO tick VALUES (1, 0)",
    "CREATE TABLE entry (id INTEGER PRIMARY KEY, more INTEGER, body)",
    "CREATE INDEX entry_more ON entry (more)",
    "CREATE TABLE pair (a TEXT, b INTEGER, c, PRIMARY KEY (a, b)) WITHOUT ROWID",
)
#: Every transaction counts itself, so a restored database says how many of them it holds.
TICK: Statement = "UPDATE tick SET n = n + 1"
#: Beyond so many rows of `entry` the application deletes instead, so that databases stay small.
MOST_ROWS = 500

_NUMBERS = "WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < {})"
_NOW = "(SELECT n FROM tick)"


@dataclasses.dataclass(frozen=True)
class Content:
    """One database as SQLite sees it: what its check says, a digest of all rows and tables, its transactions."""

    verdict: str
    digest: str = ""
    tick: int = -1


def content(connection: sqlite3.Connection) -> Content:
    """Tables of Litestream do not count: it adds them to every database that it replicates."""
    try:
        verdict = connection.execute("PRAGMA integrity_check").fetchall()[0][0]
        if verdict != "ok":
            return Content(str(verdict).splitlines()[-1])
        found = hashlib.blake2b()
        for table, rows in tables(connection).items():
            found.update(repr((table, rows)).encode())
        tick = connection.execute("SELECT n FROM tick").fetchall()[0][0]
    except sqlite3.DatabaseError as error:
        return Content(str(error))
    return Content("ok", found.hexdigest(), tick)


def tables(connection: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, the schema, and the version that the application gives it."""
    own = "name NOT LIKE '!_litestream!_%' ESCAPE '!'"
    schema = connection.execute(
        f"SELECT type, name, sql FROM sqlite_schema WHERE {own} ORDER BY name"
    ).fetchall()
    found = {"sqlite_schema": schema, "user_version": connection.execute("PRAGMA user_version").fetchall()}
    for kind, name, _ in schema:
        if kind == "table":
            found[name] = connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()
    return found


class Model:
    """The same statements on a database in memory."""

    def __init__(self) -> None:
        # Collected in any thread.
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._known: Content | None = None

    @classmethod
    def born(cls) -> "Model":
        model = cls()
        for statement in SCHEMA:
            model.connection.execute(statement)
        return model

    @classmethod
    def of(cls, path: Path) -> "Model":
        """The database in one file, which nobody has open."""
        model = cls()
        with contextlib.closing(sqlite3.connect(path)) as source:
            source.backup(model.connection)
        return model

    def clone(self) -> "Model":
        model = Model()
        self.connection.backup(model.connection)
        return model

    @property
    def content(self) -> Content:
        if self._known is None:
            self._known = content(self.connection)
        return self._known

    @property
    def tick(self) -> int:
        return int(self.connection.execute("SELECT n FROM tick").fetchone()[0])

    @property
    def rows(self) -> int:
        return int(self.connection.execute("SELECT count(*) FROM entry").fetchone()[0])

    def transact(self, statements: Sequence[Statement]) -> None:
        self._known = None
        for statement in ("BEGIN", *statements, TICK, "COMMIT"):
            self.connection.execute(statement)

    def __del__(self) -> None:
        self.connection.close()

    def work(self, kind: str, n: int) -> list[list[Statement]]:
        """The transactions of one kind of work; `n` is whatever the kind makes of it."""
        if kind in ("insert", "many", "blob") and self.rows > MOST_ROWS:
            kind = "delete"
        return KINDS[kind](self, n)


def insert(_model: Model, n: int) -> list[list[Statement]]:
    """A few transactions of one row each."""
    row = (
        f"INSERT INTO entry (more, body) VALUES ({n % 7}, printf('%d-%0*d', {_NOW}, {n * 37 % 900 + 1}, {n}))"
    )
    return [[row]] * (n % 4 + 1)


def many(_model: Model, n: int) -> list[list[Statement]]:
    """One transaction of many rows."""
    body = f"printf('%d-%0*d', {_NOW}, {n * 53 % 500 + 1}, n)"
    return [
        [f"INSERT INTO entry (more, body) {_NUMBERS.format(n * 11 % 150 + 2)} SELECT n % 9, {body} FROM i"]
    ]


def blob(_model: Model, n: int) -> list[list[Statement]]:
    """A value of many pages."""
    value = f"CAST(printf('%0*d', {n * 997 % 40_000 + 5000}, {_NOW}) AS BLOB)"
    return [[f"INSERT INTO entry (more, body) VALUES ({n}, {value})"]]


def touch(_model: Model, n: int) -> list[list[Statement]]:
    """One row or two, where they are, in the same length: nearly every page stays as it was."""
    which = f"(SELECT id FROM entry ORDER BY id * {n * 2 + 1} % 101, id LIMIT {n % 2 + 1})"
    body = f"substr(printf('%d-', {_NOW}) || body, 1, length(body))"
    return [[f"UPDATE entry SET body = {body} WHERE id IN {which} AND typeof(body) = 'text'"]]


def update(_model: Model, n: int) -> list[list[Statement]]:
    """Many rows at once; some grow, some shrink, and the index moves."""
    body = f"CASE WHEN id % 2 THEN body || 'x{n}' ELSE substr(body, 1, 90) END"
    return [[f"UPDATE entry SET more = more + {_NOW}, body = {body} WHERE id % {n % 6 + 2} = 0"]]


def keys(_model: Model, n: int) -> list[list[Statement]]:
    """A table without rowids; every kind of value."""
    values = f"n % 5 || '-{n % 3}', n * {n + 1} % 17, CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN n / 3.0 ELSE {_NOW} END"
    return [[f"INSERT OR REPLACE INTO pair {_NUMBERS.format(n % 30 + 1)} SELECT {values} FROM i"]]


def delete(_model: Model, n: int) -> list[list[Statement]]:
    return [[f"DELETE FROM entry WHERE id % {n % 4 + 2} = {n % 2}"], ["DELETE FROM pair WHERE b % 2 = 0"]]


def empty(_model: Model, _n: int) -> list[list[Statement]]:
    return [["DELETE FROM entry"]]


def schema(model: Model, n: int) -> list[list[Statement]]:
    """A table of its own comes, or goes."""
    name = f"extra_{n % 3}"
    if model.connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (name,)).fetchone():
        return [[f"DROP TABLE {name}"]]
    made = f"CREATE TABLE {name} (a INTEGER PRIMARY KEY, b, c)"
    return [
        [
            made,
            f"CREATE INDEX {name}_b ON {name} (b)",
            f"INSERT INTO {name} SELECT * FROM entry LIMIT {n % 60}",
        ]
    ]


def version(_model: Model, n: int) -> list[list[Statement]]:
    return [[f"PRAGMA user_version = {n}"]]


KINDS = {
    "insert": insert,
    "many": many,
    "blob": blob,
    "touch": touch,
    "update": update,
    "keys": keys,
    "delete": delete,
    "empty": empty,
    "schema": schema,
    "version": version,
}
