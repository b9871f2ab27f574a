"""Connections over the OS VFS and a fork: locks end with their owner, an inherited connection does nothing, nobody hangs."""

from pathlib import Path

import pytest

from tests.helpers.forks import run_forking

pytestmark = pytest.mark.process


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("lock", ["ofd", "posix", "flock", "dotfile", "excl"])
def test_the_lock_of_a_killed_process_goes_though_its_child_lives(
    tmp_path: Path, lock: str, journal: str
) -> None:
    """As with SQLite's own VFS. Locks of open files lived on with the descriptors that the child had inherited."""
    run_forking(
        tmp_path,
        """
        lock, journal = sys.argv[2:]
        reader, writer = os.pipe()

        def connect():
            uri = vfs.uri(database, lock=lock)
            return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0)

        def own():
            connection = connect()
            connection.execute(f"PRAGMA journal_mode = {journal}")
            connection.execute("CREATE TABLE t (x)")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t VALUES (1)")
            fork(lambda: (os.write(writer, b"%d\\n" % os.getpid()), time.sleep(60)))
            time.sleep(60)

        owner = fork(own)
        child = int(os.read(reader, 20))
        other = connect()
        assert "locked" in error_of(lambda: other.execute("INSERT INTO t VALUES (2)"))
        os.kill(owner, signal.SIGKILL)
        os.waitpid(owner, 0)
        other.execute("INSERT INTO t VALUES (3)")
        assert other.execute("SELECT x FROM t").fetchall() == [(3,)]
        os.kill(child, 0)
        """,
        lock,
        journal,
    )


def test_a_pragma_of_an_inherited_connection_says_what_is_wrong(tmp_path: Path) -> None:
    """SQLite has no other text than "disk I/O error" for what a VFS refuses, but for PRAGMAs."""
    run_forking(
        tmp_path,
        """
        connection = vfs.connect(database, isolation_level=None)
        connection.execute("CREATE TABLE t (x)")

        def work():
            assert error_of(lambda: connection.execute("SELECT * FROM t")) == "disk I/O error"
            for pragma in ("ltx_lock", "quick_check", "user_version"):
                said = error_of(lambda: connection.execute(f"PRAGMA {pragma}"))
                assert said.startswith("this connection was opened before a fork"), said
            os._exit(0)

        ended(fork(work))
        assert connection.execute("PRAGMA ltx_lock").fetchone() == ("ofd",)
        """,
    )


def test_the_log_is_told_once_what_is_wrong_with_an_inherited_connection(tmp_path: Path) -> None:
    run_forking(
        tmp_path,
        """
        import apsw

        lines = []
        apsw.config(apsw.SQLITE_CONFIG_LOG, lambda code, line: lines.append((code, line)))
        vfs.register(apsw)
        connection = apsw.Connection(str(database), vfs="ltx-os")
        connection.execute("CREATE TABLE t (x)")

        def work():
            for _ in range(3):
                try:
                    connection.execute("SELECT * FROM t").fetchall()
                except apsw.IOError:
                    pass
            told = [(code, line) for code, line in lines if "before a fork, by the parent process" in line]
            assert len(told) == 1 and told[0][0] == apsw.SQLITE_IOERR, lines
            assert told[0][1].startswith("ltx-os: x") and f"({database})" in told[0][1], told
            os._exit(0)

        ended(fork(work))
        assert lines == []
        """,
    )


STATEMENTS = [
    "ROLLBACK",
    "COMMIT",
    "BEGIN IMMEDIATE",
    "SELECT count(*) FROM t",
    "INSERT INTO t SELECT randomblob(900) FROM t LIMIT 500",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA journal_mode = off",
    "PRAGMA integrity_check",
    "VACUUM",
    "fetch",
    "close",
]


@pytest.mark.parametrize("state", ["idle", "reading", "writing", "spilled"])
@pytest.mark.parametrize("journal", ["delete", "persist", "wal"])
def test_an_inherited_connection_changes_nothing(tmp_path: Path, journal: str, state: str) -> None:
    """SQLite rolls a transaction back in the memory that it shares with others, before it asks for anything: a child that
    did so changed the index of its parent's WAL. Asking for memory-mapped reads makes no difference."""
    run_forking(
        tmp_path,
        """
        import hashlib

        journal, state, *statements = sys.argv[2:]

        def files():
            # By another process: to open and close them here would be what the OS VFS is there to survive.
            script = 'cd "$1" && sha256sum app.db*'
            done = subprocess.run(["sh", "-c", script, "sh", str(room)], capture_output=True, text=True)
            assert done.returncode == 0
            return done.stdout

        def use(statement):
            def work():
                if statement == "close":
                    connection.close()
                elif statement == "fetch":
                    assert len(cursor.fetchall()) < 5
                else:
                    connection.execute(statement).fetchall()
            return error_of(work)

        connection = vfs.connect(database, isolation_level=None, timeout=0)
        connection.execute("PRAGMA mmap_size = 268435456")
        connection.execute("PRAGMA cache_size = 10")
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (randomblob(?))", [(900,)] * 300)
        cursor = connection.execute("SELECT x FROM t")
        if state == "idle":
            cursor.fetchall()
        cursor.fetchone()
        if state in ("writing", "spilled"):
            cursor.fetchall()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE t SET x = randomblob(950)" + (" WHERE rowid = 1" if state == "writing" else ""))
        before = files()
        harmless = {"ROLLBACK", "COMMIT", "close", "fetch"}

        def work():
            for statement in (statements[number], *statements):
                error = use(statement)
                assert error or statement in harmless, statement
            os._exit(0)

        for number in range(len(statements)):
            ended(fork(work))
            assert files() == before, statements[number]
        cursor.fetchall()
        if connection.in_transaction:
            connection.execute("COMMIT")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (300,)
        """,
        journal,
        state,
        *STATEMENTS,
    )


def test_no_child_keeps_the_lock_under_which_descriptors_are_closed(tmp_path: Path) -> None:
    """The pool closes surplus descriptors under a lock on the whole file. A child that was forked meanwhile had it too, and
    the database was locked for everybody until that child ended."""
    run_forking(
        tmp_path,
        """
        stop = threading.Event()

        def work(thread):
            number = 0
            while not stop.is_set():
                with contextlib.closing(vfs.connect(room / f"{thread}-{number % 60}.db", timeout=0)) as connection:
                    with contextlib.suppress(sqlite3.OperationalError):  # what is looked for below
                        connection.execute("SELECT * FROM sqlite_schema").fetchall()
                number += 1

        names = [room / f"{thread}-{number}.db" for thread in range(4) for number in range(60)]
        for name in names:
            name.touch()
        threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        alive = Alive()
        for _ in range(200):
            time.sleep(0.004)
            alive.fork()
        stop.set()
        for thread in threads:
            thread.join()
        for name in names:
            with contextlib.closing(plain(name)) as connection:
                connection.execute("CREATE TABLE t (x)")
        alive.close()
        """,
    )


def test_no_child_finds_a_mutex_of_the_pool_held(tmp_path: Path) -> None:
    """The threads use a SQLite library that the child does not use, so that only mutexes of the OS VFS could make it hang."""
    run_forking(
        tmp_path,
        """
        import pysqlite3

        vfs.register(pysqlite3)
        stop = threading.Event()

        def work(thread):
            number = 0
            while not stop.is_set():
                uri = vfs.uri(room / f"{thread}-{number % 50}.db", lock="ofd" if number % 2 else "excl")
                with contextlib.closing(pysqlite3.connect(uri, uri=True)) as connection:
                    connection.execute("SELECT * FROM sqlite_schema").fetchall()
                number += 1

        def child():
            signal.alarm(5)
            for lock in ("ofd", "excl", "posix"):
                with contextlib.closing(sqlite3.connect(vfs.uri(room / "own", lock=lock), uri=True)) as connection:
                    connection.execute("PRAGMA user_version").fetchone()
            ltxcore.OSVFS().register()

        threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(200):
            time.sleep(0.003)
            ended(fork(child))
        stop.set()
        for thread in threads:
            thread.join()
        """,
    )


def test_no_child_finds_a_mutex_of_our_sqlite_held(tmp_path: Path) -> None:
    """A DB uses a SQLite of its own all the time. A child of a fork at the wrong moment could not open any DB."""
    run_forking(
        tmp_path,
        """
        from ltxcore import _ltxcore

        make()
        with contextlib.closing(plain()) as connection:
            connection.executemany("INSERT INTO t VALUES (?)", [(bytes(500),)] * 100)
        make(room / "own.db")
        stop = threading.Event()

        def work():
            while not stop.is_set():
                _ltxcore.integrity_check(str(database), "quick")

        def child():
            signal.alarm(10)
            with db(room / "own.db") as own:
                own.sync()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(50):
            time.sleep(0.003)
            ended(fork(child))
        stop.set()
        for thread in threads:
            thread.join()
        """,
    )
