"""A descriptor is closed with the last connection that uses it, and kept only if closing it would take a lock away."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.helpers.process import ROOT, environment
from tests.helpers.profiles import marks, sized

pytestmark = [pytest.mark.process, *marks(60, 180)]

TIMES = sized(500, 2000)

BEGIN = """
import os, resource, shutil, sqlite3, sys
import ltxcore
from pathlib import Path

room = Path(sys.argv[1])
vfs = ltxcore.OSVFS().register()

def count():
    return len(os.listdir("/proc/self/fd")) - 1  # listing takes one

def over_vfs(path, journal="wal"):
    c = vfs.connect(path, isolation_level=None)
    c.execute(f"PRAGMA journal_mode = {journal}")
    c.execute("PRAGMA synchronous = OFF")
    c.execute("CREATE TABLE IF NOT EXISTS t (x)")
    c.close()

def read_only(path):
    path.touch()
    c = sqlite3.connect(vfs.uri(path, mode="ro"), uri=True)
    c.execute("SELECT * FROM sqlite_schema").fetchall()
    c.close()

def over_db(path):
    if not path.exists():
        shutil.copy(room / "template", path)
    with ltxcore.DB(path) as db:
        db.sync()

over_vfs(room / "template")
"""


def descriptors(tmp_path: Path, script: str) -> tuple[int, int]:
    """How many more a process has after a script than before, and at most meanwhile."""
    text = BEGIN + "before = most = count()\n" + textwrap.dedent(script) + "\nprint(before, most, count())"
    argv = [sys.executable, "-c", text, str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    before, most, after = map(int, done.stdout.split())
    return after - before, most - before


@pytest.mark.parametrize(
    "use", ["over_vfs(path)", "over_vfs(path, 'delete')", "read_only(path)", "over_db(path)"]
)
def test_different_databases(use: str, tmp_path: Path) -> None:
    kept, most = descriptors(
        tmp_path,
        f"""
        for number in range({TIMES}):
            path = room / f"db-{{number}}"
            {use}
            most = max(most, count())
        """,
    )
    assert kept <= 4
    assert most <= 16


@pytest.mark.parametrize("use", ["over_vfs(path)", "over_db(path)"])
def test_the_same_database(use: str, tmp_path: Path) -> None:
    kept, _ = descriptors(
        tmp_path,
        f"""
        path = room / "db"
        for number in range({TIMES}):
            {use}
        """,
    )
    assert kept <= 8


def test_threads_beside_another_library_leave_none(tmp_path: Path) -> None:
    """A close also looks at a descriptor that had to stay: whoever opened that file just then got a second one, for ever."""
    kept, _ = descriptors(
        tmp_path,
        f"""
        import threading

        def work(number):
            stock = sqlite3.connect(room / f"db-{{number}}", check_same_thread=False)
            others.append(stock)
            for _ in range({TIMES}):
                over_vfs(room / f"db-{{number}}")

        others = []
        threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for stock in others:
            stock.close()
        # Each takes along what had to stay of one file.
        for _ in range(20):
            over_vfs(room / "db")
        """,
    )
    assert kept <= 0


@pytest.mark.parametrize(("journal", "each"), [("delete", 0), ("wal", 1)])
def test_many_connections_at_once(journal: str, each: int, tmp_path: Path) -> None:
    """They share the descriptors that carry locks; the WAL is each one's own."""
    kept, most = descriptors(
        tmp_path,
        f"""
        path = room / "db"
        over_vfs(path, "{journal}")
        connections = [vfs.connect(path, isolation_level=None) for _ in range(200)]
        for connection in connections:
            connection.execute("SELECT * FROM t").fetchall()
        most = count()
        for connection in connections:
            connection.close()
        """,
    )
    assert most <= 200 * each + 8
    assert kept <= 0


def test_a_deleted_database_gives_its_space_back(tmp_path: Path) -> None:
    kept, _ = descriptors(
        tmp_path,
        """
        connection = vfs.connect(room / "big")
        connection.execute("CREATE TABLE t AS SELECT zeroblob(1000000)")
        connection.commit()
        connection.close()
        (room / "big").unlink()
        for number in os.listdir("/proc/self/fd"):
            link = f"/proc/self/fd/{number}"
            assert not (os.path.islink(link) and os.readlink(link).endswith("(deleted)")), os.readlink(link)
        """,
    )
    assert kept <= 0


def test_at_the_limit_a_connection_can_still_write(tmp_path: Path) -> None:
    """Database, journal and directory take the three that are kept for that."""
    descriptors(
        tmp_path,
        """
        over_vfs(room / "old")
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        taken = []
        try:
            while True:
                taken.append(open("/dev/null"))
        except OSError:
            pass
        for _ in range(3):
            over_vfs(room / "new", "delete")
        taken.clear()
        """,
    )


def test_children_of_children_have_no_more_of_them(tmp_path: Path) -> None:
    descriptors(
        tmp_path,
        """
        def descend(generations):
            over_vfs(room / "db")
            found = count()
            if generations == 0:
                return found <= first
            child = os.fork()
            if child == 0:
                os._exit(0 if descend(generations - 1) else 1)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

        over_vfs(room / "db")
        first = count()
        assert descend(5)
        """,
    )


def test_numbers_that_the_application_took_over_are_left_alone(tmp_path: Path) -> None:
    """It closes what it does not know, as daemons do; the reserve was given up all the same, and its new files with it."""
    descriptors(
        tmp_path,
        """
        over_vfs(room / "db")
        os.closerange(3, 256)
        connection = vfs.connect(room / "db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = delete")
        mine = [os.open(room / "mine", os.O_RDWR | os.O_CREAT) for _ in range(12)]
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(mine) + 1, limits[1]))
        try:
            connection.execute("INSERT INTO t VALUES (1)")
        except sqlite3.OperationalError:
            pass
        identity = os.stat(room / "mine").st_ino
        assert all(os.fstat(number).st_ino == identity for number in mine)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        """,
    )


LOCKED = """
import sqlite3, sys
try:
    sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
"""


def test_a_low_number_costs_no_lock(tmp_path: Path) -> None:
    """A daemon without standard input: the database was opened as 0, and this number closed again."""
    descriptors(
        tmp_path,
        f"""
        import subprocess
        stock = sqlite3.connect(room / "db", isolation_level=None)
        stock.execute("CREATE TABLE t (x)")
        stock.execute("BEGIN IMMEDIATE")
        os.close(0)
        connection = vfs.connect(room / "db")
        connection.execute("SELECT * FROM t").fetchall()
        assert os.readlink("/proc/self/fd/0") == "/dev/null"
        argv = [sys.executable, "-c", {LOCKED!r}, str(room / "db")]
        assert b"locked" in subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL).stdout
        """,
    )


READER = """
import sqlite3, sys
path, stays = sys.argv[1], sys.argv[2] == "stays"
connection, locked = None, 0
for _ in range(int(sys.argv[3])):
    if connection is None or not stays:
        connection = sqlite3.connect(path, timeout=0)
    try:
        connection.execute("SELECT * FROM t").fetchall()
    except sqlite3.OperationalError:
        locked += 1
    if not stays:
        connection.close()
print(locked)
"""


@pytest.mark.parametrize("reader", ["stays", "comes and goes"])
def test_closing_locks_out_no_reader_of_another_process(reader: str, tmp_path: Path) -> None:
    """A lock on the whole file, under which it was closed, did: with a timeout of 0, 25 of 97,000."""
    descriptors(
        tmp_path,
        f"""
        import subprocess
        path = room / "db"
        over_vfs(path, "delete")
        argv = [sys.executable, "-c", {READER!r}, str(path), {reader!r}, "{sized(5_000, 100_000)}"]
        reader = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        while reader.poll() is None:
            connection = vfs.connect(path)
            connection.execute("SELECT * FROM t").fetchall()
            connection.close()
        assert reader.stdout.read() == "0\\n"
        """,
    )
