"""File systems and kernels that do not know the locks of SQLite: that is said, and not "disk I/O error" at the first read."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.process import ROOT, environment

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform != "linux", reason="the commands of Linux"),
]

# Calls for locks fail as on a file system that has none; `KINDS` are the commands that are unknown.
SHIM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int call(int fd, int command, void *argument) {
    int is_ofd = command == F_OFD_SETLK || command == F_OFD_SETLKW || command == F_OFD_GETLK;
    int is_posix = command == F_SETLK || command == F_SETLKW || command == F_GETLK;
    if ((OFD && is_ofd) || (POSIX && is_posix)) { errno = ERROR; return -1; }
    return (int)syscall(SYS_fcntl, fd, command, argument);
}
int fcntl(int fd, int command, ...) {
    va_list a; va_start(a, command); void *argument = va_arg(a, void *); va_end(a);
    return call(fd, command, argument);
}
int fcntl64(int fd, int command, ...) {
    va_list a; va_start(a, command); void *argument = va_arg(a, void *); va_end(a);
    return call(fd, command, argument);
}
"""

OPEN = """
import sqlite3, sys
import ltxcore
from ltxcore.errors import FileLocksUnsupportedError

lock, path = sys.argv[1:]
vfs = ltxcore.OSVFS(name=f"test-{lock}", lock=lock).register()
try:
    connection = vfs.connect(path)
except FileLocksUnsupportedError as error:
    assert isinstance(error, sqlite3.OperationalError) and error.sqlite_errorname == "SQLITE_CANTOPEN"
    assert error.path == path and "probe" in error.hint
    print("refused:", error)
    assert ltxcore._ltxcore.take_refusal() is None
    # An error of another kind is not taken for the same.
    try:
        vfs.connect(path + "/none")
    except FileLocksUnsupportedError:
        raise
    except sqlite3.OperationalError:
        sys.exit()
connection.execute("CREATE TABLE t (x)")
print(*connection.execute("PRAGMA ltx_lock").fetchone())
"""

NEITHER, NO_OFD = (1, 1), (1, 0)
CASES = [
    (NEITHER, "auto", "no locks on ranges of bytes"),
    (NEITHER, "ofd", "lock=ofd does not work"),
    (NEITHER, "posix", "lock=posix does not work"),
    (NEITHER, "excl", "lock=excl does not work"),
    (NEITHER, "flock", "flock"),
    (NEITHER, "dotfile", "dotfile"),
    (NO_OFD, "auto", "posix"),
    (NO_OFD, "ofd", "lock=ofd does not work"),
    (NO_OFD, "posix", "posix"),
]


@pytest.mark.parametrize("error", ["EINVAL", "ENOLCK", "EOPNOTSUPP"])
@pytest.mark.parametrize(("missing", "lock", "expected"), CASES)
def test_what_is_not_there_is_said(
    tmp_path: Path, missing: tuple[int, int], lock: str, expected: str, error: str
) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "shim.c").write_text(SHIM)
    shim = tmp_path / "shim.so"
    macros = [f"-DOFD={missing[0]}", f"-DPOSIX={missing[1]}", f"-DERROR={error}"]
    subprocess.run(
        [compiler, "-shared", "-fPIC", *macros, "-o", shim, tmp_path / "shim.c"], check=True, timeout=60
    )
    path = tmp_path / "app.db"
    done = subprocess.run(
        [sys.executable, "-c", OPEN, lock, path],
        env=environment(LD_PRELOAD=str(shim)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    if "refused" in done.stdout:
        assert str(path) in done.stdout
