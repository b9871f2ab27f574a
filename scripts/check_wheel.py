"""Install a built wheel into an environment of its own and run tests against it, with the sources out of reach.

Usage: check_wheel.py [--newest] DIST TEST_FOLDER...

With --newest it is the newest Python that pyproject.toml names, if this machine has it, and none if that is this one.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
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


def newest() -> str | None:
    """The newest Python that we support, or None if there is no need or no way to run it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("ascii"))["project"]
    words = [
        line.rpartition(" ")[2].split(".") for line in project["classifiers"] if ":: Python :: 3." in line
    ]
    version = max((int(major), int(minor)) for major, minor in words)
    if version <= sys.version_info[:2]:
        return None
    name = ".".join(str(number) for number in version)
    # pyenv has a python3.13 for every version that it knows, which runs only if it is told so.
    os.environ["PYENV_VERSION"] = name
    try:
        return run(f"python{name}", "-c", "import sys; print(sys.executable)").strip()
    except (OSError, subprocess.CalledProcessError):
        print(f"there is no python{name} here, so the wheel is not tested with it", file=sys.stderr)
        return None
    finally:
        del os.environ["PYENV_VERSION"]


def main(dist: Path, folders: list[str], interpreter: str) -> None:
    """Check the one wheel in a directory."""
    (wheel,) = dist.glob("*.whl")
    with tempfile.TemporaryDirectory(prefix="ltxcore-wheel-") as name:
        here = Path(name)
        if sys.platform == "linux":
            check_symbols(wheel, here)
        run(interpreter, "-m", "venv", here / "venv")
        python = here / "venv" / "bin" / "python"
        # Compiling what nobody will import takes as long as everything else that pip does here.
        run(python, "-m", "pip", "install", "--quiet", "--no-compile", f"{wheel.resolve()}[dev]")
        for each in ("pyproject.toml", "tests"):
            source = ROOT / each
            (shutil.copytree if source.is_dir() else shutil.copy)(source, here / each)
        os.environ.pop("PYTHONPATH", None)
        marks = "not slow and not network and not interop"
        command = [str(python), "-m", "pytest", "-q", "-m", marks, *folders]
        sys.exit(subprocess.run(command, cwd=here, check=False).returncode)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--newest", action="store_true")
    parser.add_argument("dist", type=Path)
    parser.add_argument("folders", nargs="+")
    given = parser.parse_args()
    python = newest() if given.newest else sys.executable
    if python is not None:
        main(given.dist, given.folders, python)
