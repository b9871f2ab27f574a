"""Python code that SQLite and Rust call: nested, at interpreter exit, at Ctrl-C. Nothing crashes or hangs.

On every CPython that is there, as in ``test_vfs_exits``.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ltxcore

from tests.helpers import reader_exits, readers
from tests.helpers.process import ROOT, environment
from tests.process.test_vfs_exits import interpreters, label

pytestmark = pytest.mark.process

#: What the ways print; others print nothing.
ANSWERS = {
    **dict.fromkeys(
        ("nested", "nested_blobs", "nested_close", "nested_signals", "nested_signals_same_source", "threads"),
        str(readers.ROWS),
    ),
    "forked": "0",
    "handlers": f"{readers.ROWS} ['the interpreter is shutting down']",
    "interrupted": "disk I/O error KeyboardInterrupt KeyboardInterrupt",
    "shared_errors": "ended",
    "shared_source": "ended",
}


def run(module: str, way: str, python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    package = str(Path(ltxcore.__file__).parents[1])
    path = os.pathsep.join([str(ROOT), package])
    env = environment(PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1", READERS_DIR=str(folder))
    # A fork beside threads, and what nobody closed, are worth a warning.
    argv = [
        python,
        "-W",
        "ignore::DeprecationWarning",
        "-W",
        "ignore::ResourceWarning",
        "-m",
        f"tests.helpers.{module}",
        way,
    ]
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


WAYS = [("readers", way) for way in readers.WAYS if way != "uncaught"]
EXITS = [("reader_exits", way) for way in reader_exits.WAYS]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("python", interpreters(), ids=label)
@pytest.mark.parametrize("module,way", [*WAYS, *EXITS])
def test_way(module: str, way: str, python: str, tmp_path: Path) -> None:
    done = run(module, way, python, tmp_path)
    # Daemon threads that are refused at exit say so, each in its own words.
    assert (done.returncode, done.stdout.strip()) == (0, ANSWERS.get(way, "")), done.stderr


def test_an_interrupt_that_nothing_catches_ends_the_program(tmp_path: Path) -> None:
    done = run("readers", "uncaught", sys.executable, tmp_path)
    assert done.returncode == 1
    assert "OperationalError: disk I/O error" in done.stderr
