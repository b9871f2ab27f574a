"""A replica that is made step by step, file for file, without a replicator: what a follower has to cope with."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from ltxcore import TXID, FileClient, ltx

PAGE_SIZE = 512


class Source:
    """A database in rollback mode and its replica; every `commit` is the next L0 file, with the pages that changed.

    Each transaction moves one unit between two rows and adds a row, so that the sum of `account` stays 0 in every state.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self.replica = folder / "source.db", folder / "replica"
        self.client = FileClient(self.replica)
        self.txid = 0
        self.pages: list[bytes] = []
        self.sql(
            f"PRAGMA page_size = {PAGE_SIZE}",
            "CREATE TABLE account (id INTEGER PRIMARY KEY, value INTEGER, body BLOB)",
            "INSERT INTO account VALUES (1, 0, NULL), (2, 0, NULL)",
        )
        self.commit()

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    def move(self, rows: int = 3) -> None:
        """One transaction over many pages, and its file."""
        grow = "INSERT INTO account (value, body) VALUES (0, randomblob(300))"
        self.sql(
            "BEGIN",
            "UPDATE account SET value = value - 1 WHERE id = 1",
            *[grow] * rows,
            "UPDATE account SET body = randomblob(300) WHERE id > 2",
            "UPDATE account SET value = value + 1 WHERE id = 2",
            "COMMIT",
        )
        self.commit()

    def shrink(self) -> None:
        """Cut the database, and its file."""
        self.sql("DELETE FROM account WHERE id > 4", "VACUUM")
        self.commit()

    def commit(self, *, without_page_1: bool = False) -> None:
        data = self.path.read_bytes()
        pages = [data[at : at + PAGE_SIZE] for at in range(0, len(data), PAGE_SIZE)]
        old, self.pages = self.pages, pages
        self.txid += 1
        changed = [n for n, page in enumerate(pages) if n >= len(old) or page != old[n]]
        if without_page_1:
            changed.remove(0)
        staged = self.replica / "staged"
        staged.parent.mkdir(exist_ok=True)
        now = datetime.now(UTC)
        header = ltx.Header(
            page_size=PAGE_SIZE, commit=len(pages), min_txid=self.txid, max_txid=self.txid, timestamp=now
        )
        with open(staged, "wb") as file:
            encoder = ltx.Encoder(file, header)
            for n in changed:
                # As in a database in WAL mode, which is what replicas are made from.
                page = pages[n][:18] + b"\2\2" + pages[n][20:] if n == 0 else pages[n]
                encoder.write(n + 1, page)
            encoder.finish(ltx.Checksum(0))
        self.client.write_ltx_path(0, TXID(self.txid), TXID(self.txid), staged)
        staged.unlink()

    def file(self, level: int, low: int, high: int) -> Path:
        return self.replica / "ltx" / str(level) / ltx.format_filename(low, high)

    def merge(self, level: int, low: int, high: int, *, keep: bool = False) -> None:
        """Make L0 files one of another level, and delete them."""
        inputs = [self.file(0, txid, txid) for txid in range(low, high + 1)]
        target = self.file(level, low, high)
        target.parent.mkdir(exist_ok=True)
        with open(target, "wb") as out:
            ltx.compact(inputs, out)
        for each in inputs:
            if not keep:
                each.unlink()


def content(path: Path) -> list[tuple[object, ...]]:
    """Every row, after SQLite's own check."""
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT sum(value) FROM account").fetchone() == (0,)
        return connection.execute("SELECT * FROM account ORDER BY id").fetchall()
