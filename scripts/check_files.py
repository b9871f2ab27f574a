"""Fail on a source file that is not ASCII, too long, or names the machine it was written on."""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = (".ci", "benches", "docs", "examples", "fuzz", "python", "rust", "scripts", "tests")
SUFFIXES = {".c", ".h", ".md", ".py", ".pyi", ".rs", ".toml", ".yml"}
SKIPPED = {"target", "vectors", "__pycache__"}
MAX_LINES = 400
# Longer, and still one topic.
LONGER = {
    "python/ltxcore/blob_store/_files/reading.py",
    "python/ltxcore/blob_store/_process/connections.py",
    "python/ltxcore/blob_store/_sql/transaction.py",
    "python/ltxcore/blob_store/_store.py",
}
# Paths that exist on one machine only; written in two halves so that this file passes its own check.
MACHINE_PATHS = ("/ho" + "me/", "/ro" + "ot/", "/wo" + "rk/")


def sources() -> Iterator[Path]:
    """Every file that a person wrote."""
    yield from (path for path in ROOT.iterdir() if path.suffix in SUFFIXES)
    yield ROOT / "Makefile"
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and not SKIPPED.intersection(path.relative_to(ROOT).parts):
                yield path


def faults(path: Path) -> Iterator[str]:
    """What is wrong with one file."""
    name, lines = path.relative_to(ROOT), path.read_bytes().splitlines()
    if path.suffix in {".rs", ".py"} and len(lines) > MAX_LINES and str(name) not in LONGER:
        yield f"{name}: {len(lines)} lines, more than {MAX_LINES}; split it"
    for number, line in enumerate(lines, 1):
        if not line.isascii():
            yield f"{name}:{number}: not ASCII"
        if any(found.encode() in line for found in MACHINE_PATHS):
            yield f"{name}:{number}: a path of one machine"


def main() -> None:
    """Print every fault; exit 1 if there is one."""
    found = [fault for path in sources() for fault in faults(path)]
    print(*found, sep="\n", end="\n" * bool(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
