"""`getenv` beside `os.environ[...] = ...` in another thread is a crash, so nothing of ours calls it while it works."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.process import ROOT, environment

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and dladdr of glibc"),
]

# Notes the names that our shared object asks for. Calls of the interpreter and of other libraries are theirs.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static char seen[4096];

static char *ask(const char *function, const char *name, void *caller) {
    Dl_info info;
    size_t used = strlen(seen);
    if (dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "_ltxcore") && used < 4000)
        snprintf(seen + used, sizeof seen - used, "%s ", name);
    char *(*real)(const char *) = (char *(*)(const char *))dlsym(RTLD_NEXT, function);
    return real(name);
}

char *getenv(const char *name) { return ask("getenv", name, __builtin_return_address(0)); }
char *secure_getenv(const char *name) { return ask("secure_getenv", name, __builtin_return_address(0)); }
const char *seen_names(void) { return seen; }
"""

WORK = """
import ctypes, json, pathlib, sqlite3, sys, threading
import ltxcore
from ltxcore.blob_store import BlobStore

shim = ctypes.CDLL(None)
shim.seen_names.restype = ctypes.c_char_p

def seen():
    return shim.seen_names().decode().split()

room = pathlib.Path(sys.argv[1])
stages = {"import": len(seen())}
vfs = ltxcore.OSVFS().register(make_default=True)
stages["names"] = sorted(set(seen()))
done = len(seen())

def stage(name):
    global done
    stages[name] = seen()[done:]
    done = len(seen())

vfs.register()
ltxcore.OSVFS().register(make_default=True)
stage("registered once more")

def temporary(database):
    c = sqlite3.connect(database, isolation_level=None)
    c.execute("PRAGMA temp_store = file")
    c.execute("PRAGMA cache_size = 1")
    c.execute("CREATE TABLE t AS SELECT randomblob(20000) x")
    c.execute("CREATE TEMP TABLE u AS SELECT * FROM t")
    c.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
              " SELECT max(x) FROM (SELECT hex(i) x FROM n ORDER BY x)").fetchone()
    c.execute("VACUUM")
    c.execute("PRAGMA journal_mode = wal")
    c.execute("INSERT INTO t VALUES (1)")
    c.close()

for database in ("", room / "one.db"):
    thread = threading.Thread(target=temporary, args=(database,))
    thread.start()
    thread.join()
    for lock in ("dotfile", "flock", "excl"):
        uri = vfs.uri(room / f"{lock}.db", lock=lock)
        sqlite3.connect(uri, uri=True).execute("CREATE TABLE IF NOT EXISTS t (x)").connection.close()
stage("connections")
with ltxcore.DB(room / "one.db", replica=room / "replica") as db:
    sqlite3.connect(room / "one.db", isolation_level=None).execute("INSERT INTO t VALUES (2)")
    db.wait(timeout=30)
stage("DB")
ltxcore.restore(room / "replica", room / "two.db", integrity_check="full")
stage("restore")
with BlobStore(room / "blobs.db") as store:
    store.put("one", bytes(3_000_000))
    assert len(store.get("one")) == 3_000_000
stage("BlobStore")
try:
    vfs.connect(room)
except sqlite3.OperationalError:
    pass
ltxcore.vfs.probe(room)
stage("errors, probe")
print(json.dumps(stages))
"""


def test_the_environment_is_read_when_a_vfs_is_registered_and_never_again(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "shim.c").write_text(SHIM)
    shim = tmp_path / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", shim, tmp_path / "shim.c"], check=True, timeout=60)
    (room := tmp_path / "room").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WORK, room],
        env=environment(LD_PRELOAD=os.fspath(shim)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    stages = json.loads(done.stdout)
    assert stages.pop("import") > 0, "for the SQLite of the engine, before any other thread of ours runs"
    assert {"SQLITE_TMPDIR", "TMPDIR"} <= set(stages.pop("names"))
    assert stages == {name: [] for name in stages}, "read while other threads may be in setenv"


RACE = """
import os, sqlite3, threading
import ltxcore

ltxcore.OSVFS().register(make_default=True)
threads = []

def environment():
    for n in range(30_000):
        os.environ[f"VARIABLE_{n}"] = "x" * 100
        if n % 2000 == 1999:
            for name in [name for name in os.environ if name.startswith("VARIABLE_")]:
                del os.environ[name]

def temporary():
    while threads[0].is_alive():
        c = sqlite3.connect("", isolation_level=None)
        c.execute("PRAGMA temp_store = file")
        c.execute("PRAGMA cache_size = 1")
        c.execute("CREATE TABLE t AS SELECT randomblob(20000)")
        c.close()

threads.extend(threading.Thread(target=work) for work in (environment, temporary, temporary, temporary))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_temporary_files_while_the_environment_changes() -> None:
    """It was a segmentation fault."""
    done = subprocess.run(
        [sys.executable, "-c", RACE], env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")
