"""A DB and a fork: the lock of a replicator ends with its owner, whatever children live on.

Seen before: a worker of multiprocessing kept the lock of the meta directory, so that its parent could not open the
database again, and nobody could after the parent was killed; and the WAL could not be reset for as long as it lived.
"""

from pathlib import Path

import pytest

import ltxcore

from tests.helpers.forks import run_forking

pytestmark = pytest.mark.process


def rows(replica: Path, out: Path) -> list[int]:
    """What a restore holds."""
    import sqlite3
    from contextlib import closing

    ltxcore.restore(replica, out)
    with closing(sqlite3.connect(out)) as connection:
        return [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x")]


def test_the_parent_opens_it_again_beside_a_living_worker(tmp_path: Path) -> None:
    run_forking(
        tmp_path,
        """
        make()
        alive = Alive()
        for _ in range(3):
            first = db().open()
            alive.fork()
            first.close()
            assert opens() == ""
        alive.close()
        """,
    )


@pytest.mark.parametrize("end", ["exit", "_exit", "kill"])
@pytest.mark.parametrize("generations", [1, 2])
def test_a_child_opens_its_own_when_the_parent_has_ended(tmp_path: Path, end: str, generations: int) -> None:
    run_forking(
        tmp_path,
        """
        ends = {"exit": sys.exit, "_exit": os._exit, "kill": lambda status: os.kill(os.getpid(), signal.SIGKILL)}
        make()
        reader, writer = os.pipe()

        def heir(generations):
            if generations > 1:
                fork(lambda: heir(generations - 1))
                return
            os.close(reader)
            until(lambda: os.getppid() != owner.value, timeout=20)
            os.write(writer, (opens() or "opened").encode())

        class owner:
            value = 0

        def own():
            owner.value = os.getpid()
            db().open().wait(timeout=15)
            fork(lambda: heir(int(sys.argv[3])))

        pid = fork(own, end=ends[sys.argv[2]])
        os.waitpid(pid, 0)
        os.close(writer)
        assert os.read(reader, 1000) == b"opened"
        """,
        end,
        generations,
    )


def test_a_child_is_refused_while_the_parent_replicates(tmp_path: Path) -> None:
    """One replicator for each database, and the child is the other one."""
    run_forking(
        tmp_path,
        """
        make()
        to_child, from_parent = os.pipe()
        to_parent, from_child = os.pipe()

        def work():
            assert "in use by another replicator" in opens()
            os.write(from_child, b"1")
            os.read(to_child, 1)
            assert opens() == ""

        with db() as first:
            pid = fork(work)
            os.read(to_parent, 1)
            with contextlib.closing(plain()) as connection:
                connection.execute("INSERT INTO t VALUES (1)")
            first.wait(timeout=15)
        os.write(from_parent, b"1")
        ended(pid)
        """,
    )
    assert rows(tmp_path / "app.db-replica", tmp_path / "out") == [1]


@pytest.mark.parametrize("worker", ["fork", "grandchild", "thread", "multiprocessing"])
def test_a_killed_parent_pins_no_wal_though_its_worker_lives(tmp_path: Path, worker: str) -> None:
    """The locks of the open files lived on in the descriptors that the worker had inherited, and in its mappings."""
    run_forking(
        tmp_path,
        """
        from tests.helpers import locks
        import multiprocessing

        make()
        reader, writer = os.pipe()

        def sleep():
            os.write(writer, b"%d\\n" % os.getpid())
            time.sleep(60)

        def own(worker):
            mine = db().open()
            mine.wait(timeout=15)
            if worker == "fork":
                fork(sleep)
            elif worker == "grandchild":
                fork(lambda: fork(sleep))
            elif worker == "thread":
                threading.Thread(target=lambda: fork(sleep)).start()
            else:
                multiprocessing.get_context("fork").Process(target=sleep).start()
            time.sleep(60)

        parent = fork(lambda: own(sys.argv[2]))
        child = int(os.read(reader, 20))
        assert locks.held(locks.shm(database))
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        assert locks.held(database) == locks.held(locks.shm(database)) == []
        connection = plain()
        connection.executemany("INSERT INTO t VALUES (?)", [(bytes(500),)] * 2000)
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
        assert opens() == ""
        os.kill(child, 0)
        """,
        worker,
    )


def test_a_daemon_takes_over_what_it_was_started_from(tmp_path: Path) -> None:
    """fork, setsid, fork: the first two processes end, and the third opens a DB of its own."""
    run_forking(
        tmp_path,
        """
        make()
        reader, writer = os.pipe()

        def daemon():
            os.close(reader)
            until(lambda: not opens())
            with contextlib.closing(plain()) as connection, db() as own:
                connection.execute("INSERT INTO t VALUES (2)")
                own.wait(timeout=15)
            os.write(writer, b"done")

        def middle():
            os.setsid()
            fork(daemon)

        def start():
            inherited = db().open()
            with contextlib.closing(plain()) as connection:
                connection.execute("INSERT INTO t VALUES (1)")
            fork(middle)

        # It ends as a program does, and closes its DB on the way.
        ended(fork(start, end=sys.exit))
        os.close(writer)
        assert os.read(reader, 10) == b"done"
        """,
    )
    assert rows(tmp_path / "app.db-replica", tmp_path / "out") == [1, 2]


@pytest.mark.parametrize("end", ["sys.exit", "os._exit"])
@pytest.mark.parametrize("where", ["inside", "outside"])
def test_a_child_that_ends_leaves_the_files_of_its_parent_alone(tmp_path: Path, end: str, where: str) -> None:
    """Inherited objects are dropped when a child ends as a program does; it may leave the parent's with block on its way."""
    run_forking(
        tmp_path,
        """
        make()
        end = {"sys.exit": sys.exit, "os._exit": os._exit}[sys.argv[2]]

        def names():
            return sorted(str(path) for path in room.rglob("*"))

        def inside():
            with db() as first:
                first.wait(timeout=15)
                before = names()
                if (pid := os.fork()) == 0:
                    end(0)
                ended(pid)
                check(first, before)

        def outside():
            held = [db().open()]
            held[0].wait(timeout=15)
            before = names()

            def work():
                held.clear()
                gc.collect()

            ended(fork(work, end=end))
            check(held[0], before)
            held[0].close()

        def check(first, before):
            assert names() == before
            assert is_replicated()
            with contextlib.closing(plain()) as connection:
                connection.execute("INSERT INTO t VALUES (1)")
            first.wait(timeout=15)

        {"inside": inside, "outside": outside}[sys.argv[3]]()
        """,
        end,
        where,
    )
    assert rows(tmp_path / "app.db-replica", tmp_path / "out") == [1]


def test_forks_while_threads_commit(tmp_path: Path) -> None:
    """Children replicate databases of their own meanwhile; nothing of the parent's is lost, and no lock is left with them.

    The threads use a SQLite library that the children do not: its mutexes may be locked there for ever.
    """
    run_forking(
        tmp_path,
        """
        import pysqlite3
        from tests.helpers import locks

        vfs.register(pysqlite3)

        make()
        stop = threading.Event()

        def commit(number):
            writer = pysqlite3.connect(vfs.uri(database), uri=True, isolation_level=None, timeout=20)
            with contextlib.closing(writer):
                for each in range(1, 100_000):
                    writer.execute("INSERT INTO t VALUES (?)", (number * 100_000 + each,))
                    if stop.is_set():
                        return

        def work(number):
            path = room / f"{number}.db"
            make(path)
            with db(path) as own, contextlib.closing(vfs.connect(path, isolation_level=None)) as connection:
                connection.execute("INSERT INTO t VALUES (1)")
                own.wait(timeout=15)
            assert error_of(lambda: first.sync()).startswith("opened by the parent")

        threads = [threading.Thread(target=commit, args=[number]) for number in range(3)]
        alive = Alive()
        with db() as first:
            for thread in threads:
                thread.start()
            for number in range(20):
                ended(fork(lambda: work(number)))
                alive.fork()
            stop.set()
            for thread in threads:
                thread.join()
            with contextlib.closing(plain()) as connection:
                expected = [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x")]
            first.wait(timeout=20)
        assert locks.held(database) == locks.held(locks.shm(database)) == []
        ltxcore.restore(database.with_name("app.db-replica"), room / "out")
        with contextlib.closing(plain(room / "out")) as connection:
            assert [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x")] == expected
        alive.close()
        """,
    )


def test_forks_leak_no_descriptors_in_the_parent(tmp_path: Path) -> None:
    run_forking(
        tmp_path,
        """
        make()

        def count():
            return len(os.listdir("/proc/self/fd"))

        def cycle():
            with db() as own:
                own.wait(timeout=15)
                ended(fork(lambda: None))

        cycle()
        before = count()
        for _ in range(20):
            cycle()
        # What a thread closes while another one forks is given back with the next.
        assert count() <= before + 1, (before, count())
        """,
    )
