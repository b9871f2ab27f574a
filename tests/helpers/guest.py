"""What another Python does with the package: run as a script by its path, with the path of a directory to work in."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import ltxcore


def over_the_os_vfs(folder: Path) -> str:
    """Two connections over our VFS beside one over SQLite's own."""
    vfs = ltxcore.OSVFS().register()
    path = folder / "guest.db"
    ours, theirs = vfs.connect(path, timeout=0), sqlite3.connect(path, timeout=0)
    ours.execute("PRAGMA journal_mode = wal")
    ours.execute("CREATE TABLE t (a)")
    ours.execute("INSERT INTO t VALUES (1)")
    try:
        theirs.execute("INSERT INTO t VALUES (2)")
    except sqlite3.OperationalError as error:
        refused = str(error)
    ours.commit()
    theirs.execute("INSERT INTO t VALUES (3)")
    theirs.commit()
    assert ours.execute("SELECT sum(a) FROM t").fetchone() == (4,)
    assert ours.execute("PRAGMA ltx_lock").fetchone() == ("ofd",)
    ours.close()
    theirs.close()
    return refused


def replicated_in_process(folder: Path) -> int:
    """Rows that come back from a replica that was made beside a connection of this process."""
    connection = sqlite3.connect(folder / "app.db", isolation_level=None)
    connection.execute("CREATE TABLE t (a)")
    with ltxcore.DB(folder / "app.db", replica=(folder / "replica").as_uri()) as db:
        for number in range(50):
            connection.execute("INSERT INTO t VALUES (?)", (number,))
        db.wait(timeout=20)
    connection.close()
    ltxcore.restore(folder / "replica", folder / "restored.db", integrity_check="full")
    restored = sqlite3.connect(folder / "restored.db")
    (rows,) = restored.execute("SELECT count(*) FROM t").fetchone()
    restored.close()
    return int(rows)


def main() -> None:
    """Print what happened as JSON."""
    folder = Path(sys.argv[1])
    library = ltxcore.sqlite_library()
    connection = sqlite3.connect(":memory:")
    (source_id,) = connection.execute("SELECT sqlite_source_id()").fetchone()
    connection.close()
    facts = {
        "version": ".".join(map(str, sys.version_info[:2])),
        "found_by": library.found_by,
        "right_library": library.source_id == source_id,
        "loads_extensions": hasattr(sqlite3.Connection, "enable_load_extension"),
        "refused": over_the_os_vfs(folder),
        "rows": replicated_in_process(folder),
        "from_memory": ltxcore.ReaderVFS((folder / "restored.db").read_bytes())
        .connect()
        .execute("SELECT count(*) FROM t")
        .fetchone()[0],
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
