"""The interpreter ends with connections over the OS VFS open: no crash, and the database is what was committed.

On every CPython that is there: LTXCORE_TEST_PYTHONS (paths, separated as in PATH), else those of pyenv; the wheel is abi3.
"""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import ltxcore

from tests.helpers import vfs_exits
from tests.helpers.process import ROOT, environment

pytestmark = pytest.mark.process


def interpreters() -> list[str]:
    """This one, and every other CPython from 3.11 on."""
    named = os.environ.get("LTXCORE_TEST_PYTHONS")
    if named is not None:
        return [sys.executable, *filter(None, named.split(os.pathsep))]
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    names = [f"3.{minor}.*/bin/python3.{minor}" for minor in range(11, 15)]
    found = sorted(path for name in names for path in versions.glob(name))
    here = Path(sys.executable).resolve()
    return [sys.executable, *(str(path) for path in found if path.resolve() != here)]


def label(python: str) -> str:
    return "own" if python == sys.executable else Path(python).parents[1].name


@pytest.mark.parametrize("python", interpreters(), ids=label)
@pytest.mark.parametrize("way", vfs_exits.WAYS)
def test_exit(way: str, python: str, tmp_path: Path) -> None:
    path, replica = tmp_path / "db", tmp_path / "replica"
    # The package as it is imported here, without what else is installed beside it.
    package = str(Path(ltxcore.__file__).parents[1])
    env = environment(PYTHONPATH=os.pathsep.join([str(ROOT), package]), PYTHONDONTWRITEBYTECODE="1")
    # From 3.13 on a connection that nobody closed is worth a warning; here nobody closes any.
    argv = [python, "-W", "ignore::ResourceWarning", "-m", "tests.helpers.vfs_exits", way]
    done = subprocess.run(
        [*argv, str(path), str(replica)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=25
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = [1, 1] if way == "with_db" else [1]
    assert content(path) == rows
    if way == "with_db":
        ltxcore.restore(replica, tmp_path / "out")
        assert content(tmp_path / "out") == rows


def content(path: Path) -> list[int]:
    """What another connection finds there at once: a whole database, with nothing that was not committed."""
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [x for (x,) in connection.execute("SELECT x FROM t")]
