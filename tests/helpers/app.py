"""The application: plain stdlib `sqlite3`, in the test's own process (the replicator is in another)."""

import hashlib
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

BUSY_TIMEOUT = 3.0


class App:
    """One database with a table of numbered rows, one commit a row unless told otherwise."""

    def __init__(
        self, path: Path, *, page_size: int = 4096, auto_vacuum: str = "NONE", autocheckpoint: int = 1000
    ) -> None:
        self.path, self.autocheckpoint = path, autocheckpoint
        self.connect()
        self.execute(f"PRAGMA page_size = {page_size}")
        self.execute(f"PRAGMA auto_vacuum = {auto_vacuum}")
        self.execute("PRAGMA journal_mode = wal")
        self.execute("CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, body TEXT)")

    def connect(self) -> None:
        self.connection = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_TIMEOUT)
        self.execute(f"PRAGMA wal_autocheckpoint = {self.autocheckpoint}")
        self.execute("PRAGMA synchronous = NORMAL")

    def execute(self, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, arguments).fetchall()

    def insert(self, count: int, *, size: int = 100, commits: bool = True) -> None:
        """`count` rows; `commits=False` puts them into one transaction."""
        if not commits:
            self.execute("BEGIN")
        for _ in range(count):
            self.execute("INSERT INTO entry (body) VALUES (hex(randomblob(?)))", size // 2)
        if not commits:
            self.execute("COMMIT")

    def rows(self) -> int:
        return int(self.execute("SELECT count(*) FROM entry")[0][0])

    def page_count(self) -> int:
        return int(self.execute("PRAGMA page_count")[0][0])

    def checkpoint(self, mode: str) -> tuple[int, int, int]:
        busy, in_wal, done = self.execute(f"PRAGMA wal_checkpoint({mode})")[0]
        return int(busy), int(in_wal), int(done)

    @property
    def wal(self) -> Path:
        return self.path.with_name(self.path.name + "-wal")

    @property
    def shm(self) -> Path:
        return self.path.with_name(self.path.name + "-shm")

    def close(self) -> None:
        self.connection.close()

    def reopen(self) -> None:
        self.close()
        self.connect()

    def __enter__(self) -> "App":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def reference(path: Path, scratch: Path) -> Path:
    """What plain SQLite makes of the database now: a copy of it and its WAL, checkpointed. Call it between commits.

    A checkpoint of the replicator may begin the WAL anew in between, and then the two do not belong together: again.
    """
    copy = scratch / "reference"
    for _ in range(100):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        copy_if_there(f"{path}-wal", f"{copy}-wal-before")
        copy_if_there(path, copy)
        copy_if_there(f"{path}-wal", f"{copy}-wal")
        if content(Path(f"{copy}-wal-before")) == content(Path(f"{copy}-wal")):
            break
    else:
        raise AssertionError(f"the WAL of {path} does not hold still")
    connection = sqlite3.connect(copy, isolation_level=None)
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0, "nobody else can have the copy open"
    finally:
        connection.close()
    return copy


def copy_if_there(source: str | Path, target: str | Path) -> None:
    """`cp` does it: opening and closing the file in this process would drop the application's POSIX locks."""
    if Path(source).exists():
        subprocess.run(["cp", "--sparse=always", source, target], check=True)


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def digest(path: Path) -> str:
    """SHA-256 of a file that no SQLite in this process has open."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reference_digest(path: Path, scratch: Path) -> str:
    return digest(reference(path, scratch))


def row_count(path: Path) -> int:
    """Rows of a restored database, after SQLite's own check of it."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        assert verdict == "ok", f"integrity_check of {path.name}: {verdict}"
        return int(connection.execute("SELECT count(*) FROM entry").fetchone()[0])
    finally:
        connection.close()
