"""Fail on a source file that is not ASCII or names the machine it was written on; warn of one that is long.

Two files that are one topic are worse than one of 500 lines: a long file is named in the table, with the reason why it is
one, or split.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = (".ci", "benches", "docs", "examples", "fuzz", "python", "rust", "scripts", "tests")
SUFFIXES = {".c", ".h", ".md", ".py", ".pyi", ".rs", ".toml", ".yml"}
SKIPPED = {"target", "vectors", "__pycache__"}
MAX_LINES = 400
# Files that are longer because they are one topic: path and reason.
LONG: dict[str, str] = {
    "python/ltxcore/blob_store/_files/reading.py": "file objects that read, and what they share",
    "python/ltxcore/blob_store/_process/connections.py": "the pool of connections",
    "python/ltxcore/blob_store/_sql/transaction.py": "what a transaction may do",
    "python/ltxcore/blob_store/_store.py": "the public class: signatures and docstrings",
    "python/ltxcore/clients/s3/_store.py": "the public class: signatures and docstrings",
    "python/ltxcore/db/_copier.py": "what is copied into a replica, and how",
    "python/ltxcore/db/_db.py": "the public class: signatures and docstrings",
    "python/ltxcore/db/_uploader.py": "the thread that uploads, and everybody who waits for it",
    "python/ltxcore/errors.py": "every exception",
    "rust/replica/src/restore.rs": "the steps of a restore",
    "rust/replica/src/error.rs": "every error, and what is said of it",
    "tests/process/test_s3_servers.py": "a table of three servers",
    "tests/unit/test_threads_survive.py": "what can happen to a thread",
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


def warnings(path: Path) -> Iterator[str]:
    """What one file should be looked at for."""
    name, length = path.relative_to(ROOT).as_posix(), len(path.read_bytes().splitlines())
    if path.suffix in {".rs", ".py"} and length > MAX_LINES and name not in LONG:
        yield f"warning: {name}: {length} lines, more than {MAX_LINES}; split it, or say in {Path(__file__).name} why not"


def faults(path: Path) -> Iterator[str]:
    """What is wrong with one file."""
    name, lines = path.relative_to(ROOT), path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        if not line.isascii():
            yield f"{name}:{number}: not ASCII"
        if any(found.encode() in line for found in MACHINE_PATHS):
            yield f"{name}:{number}: a path of one machine"


def main() -> None:
    """Print every warning and every fault; exit 1 if there is a fault."""
    paths = list(sources())
    found = [fault for path in paths for fault in faults(path)]
    found += [
        f"{name}: is not there, but in the table of long files"
        for name in LONG
        if not (ROOT / name).is_file()
    ]
    for line in [*(warning for path in paths for warning in warnings(path)), *found]:
        print(line)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
