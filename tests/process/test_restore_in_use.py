"""Restoring over a database that programs have open, and one that belongs to somebody else.

`restore --force` beside an application that had the database open ended well, and what the application committed
afterwards was in a file without a name.
"""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import ltxcore
from ltxcore.errors import OutputInUseError

pytestmark = pytest.mark.process

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

#: Opens a database, runs statements, says so, and runs what it is told until its input ends.
APPLICATION = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
for sql in sys.argv[2:]:
    connection.execute(sql).fetchall()
print("ready", flush=True)
for sql in sys.stdin:
    try:
        connection.execute(sql).fetchall()
        print("done", flush=True)
    except sqlite3.OperationalError as error:
        print(error, flush=True)
connection.close()
"""


class Site:
    def __init__(self, folder: Path, mode: str) -> None:
        self.db, self.replica = folder / "app.db", folder / "replica"
        with closing(self.connect()) as connection:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("CREATE TABLE t (v)")
            connection.execute("INSERT INTO t VALUES ('replicated')")
            with ltxcore.DB(self.db, replica=self.replica) as db:
                db.wait(timeout=10)
            connection.execute("INSERT INTO t VALUES ('later')")
        with closing(self.connect()) as connection:
            connection.execute(f"PRAGMA journal_mode = {mode}")

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.db, isolation_level=None, timeout=0, check_same_thread=False)

    def rows(self) -> list[str]:
        with closing(self.connect()) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            return [value for (value,) in connection.execute("SELECT v FROM t")]

    def restore(self) -> None:
        ltxcore.restore(self.replica, self.db, overwrite=True)


@pytest.fixture(params=["wal", "delete"])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    return Site(tmp_path, request.param)


@pytest.fixture
def wal(tmp_path: Path) -> Site:
    return Site(tmp_path, "wal")


@contextmanager
def application(path: Path, *statements: str) -> Iterator["subprocess.Popen[str]"]:
    argv = [sys.executable, "-S", "-c", APPLICATION, str(path), *statements]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait(20)


def ask(process: "subprocess.Popen[str]", sql: str) -> str:
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdin.write(sql + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.mark.parametrize("sql", ["BEGIN; SELECT", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_transaction_of_another_process_is_in_the_way(site: Site, sql: str) -> None:
    begin, _, read = sql.partition("; ")
    with application(site.db, begin, *([f"{read} * FROM t"] if read else [])) as app:
        with pytest.raises(OutputInUseError) as caught:
            site.restore()
        assert caught.value.path == str(site.db)
        assert caught.value.hint is not None
        assert "stop every program" in caught.value.hint
        assert ask(app, "INSERT INTO t VALUES ('mine')") == "done"
        assert ask(app, "COMMIT") == "done"
    assert site.rows() == ["replicated", "later", "mine"]
    assert sorted(path.name for path in site.db.parent.iterdir() if "tmp" in path.name) == []
    site.restore()
    assert site.rows() == ["replicated"]


def test_an_idle_connection_in_wal_mode_is_in_the_way(wal: Site) -> None:
    with application(wal.db, "SELECT * FROM t") as app:
        with pytest.raises(OutputInUseError):
            wal.restore()
        assert ask(app, "INSERT INTO t VALUES ('mine')") == "done"
    assert wal.rows() == ["replicated", "later", "mine"]


def test_connections_of_this_process_are_seen_and_lose_no_lock(site: Site) -> None:
    """Closing a descriptor of the database would drop the lock of the transaction, and another process could write."""
    with closing(site.connect()) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES ('mine')")
        with pytest.raises(OutputInUseError):
            site.restore()
        with application(site.db) as app:
            assert "locked" in ask(app, "INSERT INTO t VALUES ('theirs')")
        connection.execute("COMMIT")
    assert site.rows() == ["replicated", "later", "mine"]


def test_a_replicated_database_is_in_use(wal: Site) -> None:
    with ltxcore.DB(wal.db, replica=wal.replica.with_name("other")) as db:
        db.wait(timeout=10)
        with pytest.raises(OutputInUseError):
            wal.restore()
        db.wait(timeout=10)


def test_a_database_that_is_being_followed_is_in_use(tmp_path: Path, wal: Site) -> None:
    output = tmp_path / "copy.db"
    with ltxcore.follow(wal.replica, output), pytest.raises(OutputInUseError):
        ltxcore.restore(wal.replica, output, overwrite=True)
    ltxcore.restore(wal.replica, output, overwrite=True)
    ltxcore.follow(wal.replica, output, overwrite=True).close()


def test_nobody_begins_a_transaction_while_files_change_their_names(site: Site) -> None:
    """An idle connection has no lock that could be seen, in rollback mode; its commits must not vanish all the same."""
    stop, mine = threading.Event(), []

    def write(app: "subprocess.Popen[str]") -> None:
        while not stop.is_set():
            answer = ask(app, f"INSERT INTO t VALUES ('{len(mine)}')")
            mine.append(answer)
            time.sleep(0.001)

    with application(site.db) as app:
        thread = threading.Thread(target=write, args=(app,))
        thread.start()
        for _ in range(3):
            try:
                site.restore()
                break
            except OutputInUseError:
                continue
        stop.set()
        thread.join()
        # From here on the connection is told, or it has never been without a lock.
        answer = ask(app, "INSERT INTO t VALUES ('last')")
    rows = site.rows()
    assert (answer == "done") == ("last" in rows), (answer, rows)
    assert all(answer == "done" or "locked" in answer or "readonly" in answer for answer in mine), mine


@pytest.mark.parametrize("first", ["SELECT * FROM t", "INSERT INTO t VALUES ('mine')"])
def test_a_connection_that_was_opened_before_and_is_used_later_harms_nobody(site: Site, first: str) -> None:
    """It has no lock yet. In WAL mode it would have written to the new database's WAL, with pages of the old one."""
    with application(site.db) as app:
        site.restore()
        inode = site.db.stat().st_ino
        ask(app, first)
        assert ask(app, "INSERT INTO t VALUES ('mine')") == "attempt to write a readonly database"
        assert site.rows() == ["replicated"]
        assert site.db.stat().st_ino == inode
    assert site.rows() == ["replicated"]


def test_the_command_refuses_and_says_what_to_do(wal: Site) -> None:
    line = [sys.executable, "-m", "ltxcore", "restore", "-o", str(wal.db), str(wal.replica), "--force"]
    with application(wal.db, "SELECT * FROM t"):
        done = subprocess.run(line, capture_output=True, text=True, timeout=25)
        assert done.returncode == 1
        assert f"a program has {wal.db} open" in done.stderr
        assert "Hint: stop every program" in done.stderr
    subprocess.run(line, check=True, capture_output=True, timeout=25)
    assert wal.rows() == ["replicated"]


def test_two_restores_to_one_place_do_not_mix(site: Site) -> None:
    failed: list[BaseException] = []

    def again() -> None:
        for _ in range(10):
            try:
                site.restore()
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=again) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert site.rows() == ["replicated"]
    assert sorted(path.name for path in site.db.parent.iterdir() if "-tmp-" in path.name) == []


@needs_root
def test_owner_group_and_mode_are_kept(wal: Site) -> None:
    """root restored over the database of a service, which could not open it any more."""
    os.chown(wal.db, 61001, 61002)
    wal.db.chmod(0o640)
    wal.restore()
    found = wal.db.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (61001, 61002, 0o640)


@needs_root
def test_a_database_that_cannot_be_written_is_still_watched(open_folder: Path) -> None:
    """Who may write to the directory may replace a file that is only readable: its locks are looked at all the same."""
    site = Site(open_folder, "wal")
    for path in (site.replica, *site.replica.rglob("*")):
        path.chmod(0o755)
    site.db.chmod(0o444)
    restore = (
        "import os, sys, ltxcore; from pathlib import Path; os.setgid(61001); os.setuid(61001); "
        "ltxcore.restore(Path(sys.argv[1]), sys.argv[2], overwrite=True)"
    )
    line = [sys.executable, "-c", restore, str(site.replica), str(site.db)]
    with application(site.db, "SELECT * FROM t"):
        done = subprocess.run(line, capture_output=True, text=True, timeout=25)
        assert "OutputInUseError" in done.stderr, done.stderr
    done = subprocess.run(line, capture_output=True, text=True, timeout=25)
    assert done.returncode == 0, done.stderr
    assert site.rows() == ["replicated"]
