"""Where locks of open files do not work, a DB beside the application's connections refuses; `ltxcore replicate` is a way out.

A shim makes these calls of libc fail, or those for all locks.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore

from tests.helpers.process import ROOT, environment

SHIM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>
static int call(int fd, int cmd, void *arg) {
  if (cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW || cmd == F_OFD_GETLK) { errno = EINVAL; return -1; }
  if (WITHOUT_ANY && (cmd == F_SETLK || cmd == F_SETLKW)) { errno = WITHOUT_ANY; return -1; }
  return syscall(SYS_fcntl, fd, cmd, arg);
}
#define FORWARD(NAME) int NAME(int fd, int cmd, ...) { \
  va_list rest; va_start(rest, cmd); void *arg = va_arg(rest, void *); va_end(rest); return call(fd, cmd, arg); }
FORWARD(fcntl)
FORWARD(fcntl64)
"""

APPLICATION = """
import sqlite3, subprocess, sys
import ltxcore
path, when = sys.argv[1:]
db = ltxcore.DB(path, replica="file://" + path + "-replica")
if when == "early":
    db.open()
connection = sqlite3.connect(path, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE t (v)")
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO t VALUES (1)")
try:
    db.open()
    db.sync()
except ltxcore.Error as error:
    print(error, *error.__notes__)
sys.stdout.flush()
input()
connection.execute("COMMIT")
connection.execute("INSERT INTO t VALUES (2)")
connection.close()
print("committed", flush=True)
try:
    db.close(timeout=0)
except ltxcore.Error:
    pass
"""

PROBE = """
import sqlite3, sys
try:
    sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError:
    print("held")
"""

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="the shim is for glibc and musl"),
]


def shim(directory: Path, without_any: str = "0") -> dict[str, str]:
    """The environment in which these locks do not work."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    (source := directory / "shim.c").write_text(SHIM)
    library = directory / "shim.so"
    argv = [compiler, "-shared", "-fPIC", f"-DWITHOUT_ANY={without_any}", "-o", str(library), str(source)]
    subprocess.run(argv, check=True, timeout=60)
    return environment() | {"LD_PRELOAD": str(library)}


@pytest.mark.parametrize("when", ["late", "early"])
def test_the_application_keeps_its_locks(tmp_path: Path, when: str) -> None:
    path, env = tmp_path / "app.db", shim(tmp_path)
    argv = [sys.executable, "-c", APPLICATION, str(path), when]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        said = child.stdout.readline()
        probe = [sys.executable, "-c", PROBE, str(path)]
        done = subprocess.run(probe, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.strip() == "held"
        rest, _ = child.communicate("\n", timeout=60)
    assert "open-file locks do not work" in said
    assert "ltxcore replicate" in said
    assert rest.strip() == "committed"


def replicate_once(path: Path, replica: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ltxcore", "replicate", "--once", str(path), replica.as_uri()]
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_process_of_its_own_replicates(tmp_path: Path) -> None:
    path, env = tmp_path / "app.db", shim(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (v)")
        for n in range(3):
            connection.execute("INSERT INTO t VALUES (?)", (n,))
            done = replicate_once(path, tmp_path / "replica", env)
            assert done.returncode == 0, done.stderr
    ltxcore.restore(tmp_path / "replica", tmp_path / "restored.db", integrity_check="full")
    with closing(sqlite3.connect(tmp_path / "restored.db")) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (3,)


IN_USE = """
import io, sqlite3, sys
from ltxcore import ltx, vfs
from ltxcore.errors import DatabaseBusyError
path, other, state = sys.argv[1:]
out = io.BytesIO()
ltx.encode_database(other, out)
layer = vfs.OSVFS(name="own", lock="flock").register()
stock = lambda path: sqlite3.connect(path, isolation_level=None)
connect = (lambda path: layer.connect(path, isolation_level=None)) if state == "flock" else stock
calls = [lambda: ltx.apply(io.BytesIO(out.getvalue()), path), lambda: vfs.write_checksums(path)]
for call in calls:
    call()
connection = connect(path)
if state == "wal":
    connection.execute("PRAGMA journal_mode = wal")
connection.execute("CREATE TABLE mine (v)")
connection.execute("BEGIN" if state == "reads" else "BEGIN IMMEDIATE")
connection.execute("SELECT * FROM mine" if state == "reads" else "INSERT INTO mine VALUES (1)")
for call in calls:
    try:
        call()
    except DatabaseBusyError:
        print("refused")
connection.execute("COMMIT")
print(*connection.execute("PRAGMA integrity_check").fetchone())
connection.close()
for call in calls:
    call()
connection = connect(path)
print(connection.execute("SELECT name FROM sqlite_schema").fetchall())
"""


# SQLite's own file layer needs the locks of a process; `flock` does not.
@pytest.mark.parametrize(
    ("state", "errno"),
    [("reads", "0"), ("writes", "0"), ("wal", "0"), ("flock", "0"), ("flock", "EINVAL"), ("flock", "ENOLCK")],
)
def test_a_database_that_this_process_has_open_is_not_replaced(
    tmp_path: Path, state: str, errno: str
) -> None:
    path, other = tmp_path / "app.db", tmp_path / "other.db"
    for each in (path, other):
        with closing(sqlite3.connect(each)) as connection:
            connection.execute("CREATE TABLE other (v)")
    argv = [sys.executable, "-c", IN_USE, str(path), str(other), state]
    env = shim(tmp_path, errno)
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["refused", "refused", "ok", "[('other',)]"], done.stderr


@pytest.mark.parametrize("errno", ["EINVAL", "ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def test_a_file_system_without_locks_is_named(tmp_path: Path, errno: str) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (v)")
    done = replicate_once(path, tmp_path / "replica", shim(tmp_path, errno))
    assert done.returncode != 0
    assert "no file locks" in done.stderr
