"""Every CPython from 3.11 on that this machine has: its SQLite is found, and shares databases with ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ltxcore

from tests.helpers import guest

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]


def interpreters() -> dict[str, Path]:
    """Interpreters by their version and place, each once."""
    folders = [*Path.home().glob(".pyenv/versions/*/bin"), Path("/usr/bin"), Path("/usr/local/bin")]
    named = [folder / f"python3.{minor}" for folder in folders for minor in range(11, 15)]
    found = {path.resolve(): path for path in named if path.exists()}
    here = Path(sys.executable).resolve()
    found.setdefault(here, here)
    return {str(path): path for path in sorted(found.values())}


def works(python: Path) -> bool:
    """Whether an interpreter has the `sqlite3` module; Debian splits it off at times."""
    done = subprocess.run([python, "-I", "-c", "import sqlite3"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.parametrize("python", interpreters().values(), ids=interpreters())
def test_the_package_in_this_python(python: Path, tmp_path: Path) -> None:
    if not works(python):
        pytest.skip("this interpreter has no sqlite3 module")
    # The package alone, without what is installed for the interpreter that runs the tests.
    package = tmp_path / "site" / "ltxcore"
    shutil.copytree(Path(ltxcore.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [python, "-s", guest.__file__, tmp_path], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts.pop("version")
    assert facts.pop("loads_extensions") in (True, False)
    assert facts == {
        "found_by": "symbols",
        "right_library": True,
        "refused": "database is locked",
        "rows": 50,
        "from_memory": 50,
    }
