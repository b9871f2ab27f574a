"""A database in which a mixture of two transactions can be seen: many pages, the same number in every row."""

import sqlite3
from contextlib import closing
from pathlib import Path

READ = "SELECT group_concat(DISTINCT x) FROM t"


def make(db: Path) -> None:
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("CREATE TABLE t (x, filler)")
        connection.executemany("INSERT INTO t VALUES (0, ?)", [(bytes(1000),)] * 200)
