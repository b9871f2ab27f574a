"""Install a built wheel into an environment of its own and run tests against it, with the sources out of reach.

Usage: check_wheel.py DIST TEST_FOLDER...
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENTRY_POINTS = {"PyInit__ltxcore", "sqlite3_ltxcore_init"}


def run(*command: object, cwd: Path | None = None) -> str:
    """Run a command; what it prints."""
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def check_symbols(wheel: Path, folder: Path) -> None:
    """The shared object shows its entry points and nothing else, and needs no SQLite of the host."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [entry for entry in archive.namelist() if entry.endswith(".so")]
        library = archive.extract(name, folder)
    exported = {line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines()}
    if stray := {symbol for symbol in exported if symbol.startswith("sqlite3_")} - ENTRY_POINTS:
        sys.exit(f"{name} exports {', '.join(sorted(stray)[:5])} and so would stand in for the host's SQLite")
    if "libsqlite3" in run("readelf", "-d", library):
        sys.exit(f"{name} links the SQLite of the machine that built it")


def main(dist: Path, folders: list[str]) -> None:
    """Check the one wheel in a directory."""
    (wheel,) = dist.glob("*.whl")
    with tempfile.TemporaryDirectory(prefix="ltxcore-wheel-") as name:
        here = Path(name)
        if sys.platform == "linux":
            check_symbols(wheel, here)
        venv.create(here / "venv", with_pip=True)
        python = here / "venv" / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", f"{wheel.resolve()}[dev]")
        for each in ("pyproject.toml", "tests"):
            source = ROOT / each
            (shutil.copytree if source.is_dir() else shutil.copy)(source, here / each)
        os.environ.pop("PYTHONPATH", None)
        marks = "not slow and not network and not interop"
        command = [str(python), "-m", "pytest", "-q", "-m", marks, *folders]
        sys.exit(subprocess.run(command, cwd=here, check=False).returncode)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
