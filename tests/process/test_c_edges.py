"""The edges between C and Python with everything on that notices a wrong use of memory; `make memcheck` has valgrind, too."""

import os
import subprocess
from pathlib import Path

import pytest

import ltxcore

from tests.helpers.process import ROOT, environment
from tests.process.test_vfs_exits import interpreters, label

pytestmark = pytest.mark.process

#: Python's own checks; blocks are filled when they are made and when they are freed; their borders are looked at.
CHECKS = {"PYTHONDEVMODE": "1", "MALLOC_PERTURB_": "165", "MALLOC_CHECK_": "3"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("python", interpreters(), ids=label)
def test_a_short_workload(python: str, tmp_path: Path) -> None:
    path = os.pathsep.join([str(ROOT), str(Path(ltxcore.__file__).parents[1])])
    env = environment(PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1", TMPDIR=str(tmp_path), **CHECKS)
    # What is left to be collected with others that refer to it is worth a warning.
    argv = [python, "-W", "ignore::ResourceWarning", "-m", "tests.helpers.c_edges"]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
