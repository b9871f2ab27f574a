"""A lock over the OS VFS, and a fork: the child shares the open file descriptions, so it must neither unlock nor write.

Seen with bare OFD locks: an unlock in the child released the parent's lock, and a lock outlived its owner as long as a
child had the descriptor.
"""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import locks
from tests.helpers.process import ROOT, Child, ended, environment

pytestmark = pytest.mark.process

BEGIN = """
import contextlib, faulthandler, multiprocessing, os, signal, sqlite3, sys
import ltxcore
from pathlib import Path

faulthandler.register(signal.SIGUSR1, all_threads=True)
path, journal = Path(sys.argv[1]), sys.argv[2]
vfs = ltxcore.OSVFS().register()

def connect():
    return vfs.connect(path, isolation_level=None, timeout=0)

def tell(word):
    print(word, flush=True)
    sys.stdin.readline()

def fork(work):
    # The child ends as a program does, with all its finalizers.
    if (pid := os.fork()) == 0:
        work()
        sys.exit(0)
    return pid

def ended(pid):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def error_of(call):
    try:
        call()
    except sqlite3.Error as error:
        return str(error)
    return "none"

connection = connect()
connection.execute(f"PRAGMA journal_mode = {journal}")
connection.execute("CREATE TABLE t (x)")
connection.execute("BEGIN EXCLUSIVE")
connection.execute("INSERT INTO t VALUES (1)")
"""


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[locks.Stranger]:
    made = locks.Stranger(tmp_path / "stranger.log")
    with ended(made):
        yield made


def program(tmp_path: Path, journal: str, script: str) -> Child:
    (tmp_path / "program.py").write_text(BEGIN + textwrap.dedent(script))
    argv = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "db"), journal]
    return Child(argv, tmp_path / "log", talk=True)


def go_on(child: Child, word: str) -> None:
    child.write_line("")
    assert child.read_line(20) == word


journals = pytest.mark.parametrize("journal", ["delete", "wal"])


@journals
def test_a_child_cannot_use_it_and_releases_nothing(
    journal: str, tmp_path: Path, stranger: locks.Stranger
) -> None:
    child = program(
        tmp_path,
        journal,
        """
        def use():
            errors = {error_of(lambda: connection.execute(sql)) for sql in (
                "INSERT INTO t SELECT randomblob(5000) FROM (VALUES (1), (2), (3))", "COMMIT")}
            os.write(write, repr(errors).encode())

        def use_and_close():
            use()
            os.write(write, error_of(connection.close).encode())

        errors, write = os.pipe()
        tell("locked")
        for work in (use_and_close, use, connection.close, lambda: None):
            ended(fork(work))
            tell("child ended")
        print(os.read(errors, 1000).decode(), flush=True)
        connection.execute("COMMIT")
        tell("committed")
        connection.close()
        """,
    )
    path = tmp_path / "db"
    with ended(child):
        assert child.read_line(20) == "locked"
        before = locks.held(path), locks.held(locks.shm(path)), stranger.refused(path)
        assert "write" in before[2]
        for _ in range(4):
            go_on(child, "child ended")
            assert (locks.held(path), locks.held(locks.shm(path)), stranger.refused(path)) == before
        child.write_line("")
        assert "disk I/O error" in child.read_line(20)
        assert child.read_line(20) == "committed"
        assert stranger.execute(path, "SELECT count(*) FROM t") == [[1]]
        assert stranger.execute(path, "PRAGMA integrity_check") == [["ok"]]
        child.write_line("")
        assert child.wait(20) == 0


@journals
def test_a_child_works_with_a_connection_of_its_own_and_outlives_the_lock(
    journal: str, tmp_path: Path, stranger: locks.Stranger
) -> None:
    child = program(
        tmp_path,
        journal,
        """
        to_child, from_parent = os.pipe(), os.pipe()

        def live():
            own = connect()
            assert "locked" in error_of(lambda: own.execute("BEGIN IMMEDIATE"))
            os.write(from_parent[1], b"1")
            os.read(to_child[0], 1)
            own.execute("INSERT INTO t VALUES (2)")
            own.close()
            os.write(from_parent[1], b"2")
            os.read(to_child[0], 1)

        pid = fork(live)
        os.read(from_parent[0], 1)
        tell("locked")
        connection.execute("COMMIT")
        tell("committed")
        os.write(to_child[1], b"1")
        os.read(from_parent[0], 1)
        connection.close()
        tell("closed")
        os.write(to_child[1], b"2")
        ended(pid)
        """,
    )
    path = tmp_path / "db"
    with ended(child):
        assert child.read_line(20) == "locked"
        assert "write" in stranger.refused(path)
        go_on(child, "committed")
        # The lock is gone although the child, which has the descriptor too, lives on.
        assert "write" not in stranger.refused(path)
        go_on(child, "closed")
        assert locks.held(path) == locks.held(locks.shm(path)) == []
        assert stranger.refused(path) == set()
        assert stranger.execute(path, "SELECT x FROM t ORDER BY x") == [[1], [2]]
        child.write_line("")
        assert child.wait(20) == 0


def test_eviction_leaves_no_lock_with_a_child(tmp_path: Path, stranger: locks.Stranger) -> None:
    """The pool closes what it evicts under a lock on all of the file. A child that was forked before has that description too:
    the lock stayed with it, and nobody could use the database until it ended."""
    child = program(
        tmp_path,
        "delete",
        """
        connection.execute("COMMIT")
        connection.close()
        to_child, from_parent = os.pipe()
        pid = fork(lambda: os.read(to_child, 1))
        for number in range(80):
            with contextlib.closing(vfs.connect(f"{path}-{number}")) as other:
                other.execute("PRAGMA user_version = 1")
        open_files = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
        assert Path(f"{path}-0") not in open_files
        tell("evicted")
        os.write(from_parent, b"1")
        ended(pid)
        """,
    )
    path = tmp_path / "db"
    with ended(child):
        assert child.read_line(20) == "evicted"
        assert locks.held(path) == []
        assert stranger.refused(path) == set()
        child.write_line("")
        assert child.wait(20) == 0


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    """Workers with connections of their own, started while the parent has one and a DB open."""
    (tmp_path / "work.py").write_text(
        textwrap.dedent(
            """
            import contextlib, multiprocessing, sqlite3, sys
            import ltxcore
            from pathlib import Path

            def insert(path, n):
                vfs = ltxcore.OSVFS().register()
                with contextlib.closing(vfs.connect(path, isolation_level=None, timeout=20)) as c:
                    c.execute("INSERT INTO t VALUES (?)", (n,))

            if __name__ == "__main__":
                path, method = Path(sys.argv[1]), sys.argv[2]
                c = ltxcore.OSVFS().register().connect(path, isolation_level=None)
                c.execute("PRAGMA journal_mode = wal")
                c.execute("CREATE TABLE t (x)")
                context = multiprocessing.get_context(method)
                with ltxcore.DB(path, replica=path.with_name("replica").as_uri()) as db:
                    workers = [context.Process(target=insert, args=(path, n)) for n in range(4)]
                    for worker in workers:
                        worker.start()
                    for worker in workers:
                        worker.join()
                    assert [worker.exitcode for worker in workers] == [0] * 4
                    c.execute("INSERT INTO t VALUES (4)")
                    db.wait(db.sync().txid, timeout=20)
                ltxcore.restore(path.with_name("replica"), path.with_name("out"))
                with contextlib.closing(sqlite3.connect(path.with_name("out"))) as out:
                    print(out.execute("SELECT count(*) FROM t").fetchone())
            """
        )
    )
    # Python 3.12 warns of any fork beside threads, with right; the engine's are not touched by the child.
    argv = [sys.executable, "-W", "ignore", str(tmp_path / "work.py"), str(tmp_path / "db"), method]
    done = subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=25)
    assert (done.stdout, done.stderr, done.returncode) == ("(5,)\n", "", 0)
