"""`python -m tests.helpers.hazards STATE ACTION DB REPLICA [VFS]`: a connection holds a lock, and something else happens in its
process.

It says `ready` once the lock is held, acts when it reads a line, says `done`, and lets go at the next line.
"""

import contextlib
import faulthandler
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ltxcore
import ltxcore.vfs
from ltxcore import _ltxcore
from ltxcore.errors import DatabaseError, OutputExistsError

Connect = Callable[[], sqlite3.Connection]
# Whatever is open when the test looks; nothing of it may be closed by the garbage collector.
kept: list[Any] = []


def shared(connect: Connect) -> None:
    c = connect()
    c.execute("BEGIN")
    c.execute("SELECT count(*) FROM t").fetchone()


def reserved(connect: Connect) -> None:
    c = connect()
    c.execute("BEGIN IMMEDIATE")
    c.execute("INSERT INTO t VALUES (2)")


def pending(connect: Connect) -> None:
    """A commit that waits for a reader: no newcomer may read."""
    shared(connect)
    reserved(connect)
    try:
        kept[-1].execute("COMMIT")
    except sqlite3.OperationalError as error:
        assert "locked" in str(error)
    else:
        raise AssertionError("the commit should wait for the reader")


def exclusive(connect: Connect) -> None:
    c = connect()
    c.execute("BEGIN EXCLUSIVE")
    c.execute("INSERT INTO t VALUES (2)")


def wal_idle(connect: Connect) -> None:
    c = connect()
    c.execute("INSERT INTO t VALUES (2)")


ROLLBACK_STATES = (shared, reserved, pending, exclusive)
WAL_STATES = {"wal_read": shared, "wal_write": reserved, "wal_idle": wal_idle}
STATES: dict[str, Callable[[Connect], None]] = {
    state.__name__: state for state in ROLLBACK_STATES
} | WAL_STATES


def prepare(state: str, path: Path) -> None:
    c = sqlite3.connect(path, isolation_level=None)
    c.execute(f"PRAGMA journal_mode = {'wal' if state in WAL_STATES else 'delete'}")
    c.execute("CREATE TABLE t (x)")
    c.execute("INSERT INTO t VALUES (1)")
    c.close()


def database(path: Path) -> ltxcore.DB:
    url = path.with_name(path.name + "-replica").as_uri()
    return ltxcore.DB(path, replica=url, monitor_interval=0.02, busy_timeout=0.02)


def db_open(path: Path, _replica: Path) -> None:
    kept.append(database(path))
    with contextlib.suppress(
        DatabaseError
    ):  # in rollback mode it waits in vain for its turn to switch to WAL
        kept[-1].open()


def db_open_close(path: Path, _replica: Path) -> None:
    db = database(path)
    # In rollback mode it waits in vain for its turn to switch to WAL, and says so when it is closed.
    with contextlib.suppress(DatabaseError):
        db.open()
        db.sync()
    with contextlib.suppress(DatabaseError):
        db.close(timeout=0)


def restore_refused(path: Path, replica: Path) -> None:
    try:
        ltxcore.restore(replica, path)
    except OutputExistsError:
        return
    raise AssertionError("restored over a database that is there")


def restore_other(path: Path, replica: Path) -> None:
    ltxcore.restore(replica, path.with_name("other"), integrity_check="full")


def doctor(path: Path, _replica: Path) -> None:
    from click.testing import CliRunner

    from ltxcore.cli import app

    done = CliRunner().invoke(app, ["doctor", str(path)], prog_name="ltxcore")
    assert "page size" in done.output, done.output


def probe(path: Path, _replica: Path) -> None:
    assert "ofd" in ltxcore.vfs.probe(path.parent).lock_modes


def os_vfs(path: Path, _replica: Path) -> None:
    c = ltxcore.OSVFS().register().connect(path, timeout=0)
    with contextlib.suppress(sqlite3.OperationalError):
        c.execute("SELECT count(*) FROM t").fetchone()
    with contextlib.suppress(sqlite3.OperationalError):
        c.execute("BEGIN IMMEDIATE")
    c.close()


def engine_check(path: Path, _replica: Path) -> None:
    with contextlib.suppress(DatabaseError, OSError):
        _ltxcore.integrity_check(str(path), "full")


def evict(path: Path, replica: Path) -> None:
    """The descriptor of the database goes to the pool, which then has to close the oldest it has."""
    vfs = ltxcore.OSVFS().register()
    os_vfs(path, replica)
    for number in range(80):
        with contextlib.closing(vfs.connect(path.with_name(f"more-{number}"))) as c:
            c.execute("PRAGMA user_version = 1")
    open_files = [link.resolve().name for link in Path("/proc/self/fd").iterdir()]
    assert "more-0" not in open_files, "nothing was evicted, so that nothing is shown"


def naked_close(path: Path, _replica: Path) -> None:
    """What must not be done. `-shm` first: SQLite has its locks there in WAL mode."""
    for file in (path.with_name(path.name + "-shm"), path):
        if file.exists():
            file.open("rb").close()


ACTIONS: dict[str, Callable[[Path, Path], None]] = {
    action.__name__: action
    for action in (
        db_open,
        db_open_close,
        restore_refused,
        restore_other,
        doctor,
        probe,
        os_vfs,
        engine_check,
        evict,
        naked_close,
    )
}


def main(state: str, action: str, path: Path, replica: Path, vfs: str = "unix") -> None:
    prepare(state, path)
    if vfs != "unix":
        ltxcore.OSVFS(name=vfs).register()

    def connect() -> sqlite3.Connection:
        made = sqlite3.connect(f"{path.as_uri()}?vfs={vfs}", uri=True, isolation_level=None, timeout=0)
        kept.append(made)
        return made

    STATES[state](connect)
    print("ready", flush=True)
    sys.stdin.readline()
    ACTIONS[action](path, replica)
    print("done", flush=True)
    sys.stdin.readline()
    # The holder goes on as if nothing had happened: it commits, and what it wrote is there for everybody.
    holder = kept[1] if state == "pending" else kept[0]
    if state == "pending":
        kept[0].execute("COMMIT")
    if holder.in_transaction:
        holder.execute("COMMIT")
    print(holder.execute("SELECT count(*) FROM t").fetchone()[0], flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), *sys.argv[5:])
