"""Looking at a database that may be in use, by means that disturb nobody.

POSIX locks belong to a process and a file: whoever opens and closes a database file loses every lock that its
process held on it, SQLite's included. So the two files that must be read are read by a short-lived child process;
the rest is `stat`.
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from ltxcore import vfs
from ltxcore._ltxcore import SQLITE_MAGIC

READ_HEAD = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read(100))"
WAL_MAGIC = {0x377F0682, 0x377F0683}
MIB = 1 << 20


def database_facts(db: str) -> dict[str, Any]:
    """What can be seen of a database and the files beside it."""
    path = Path(db).resolve()
    header = head(path)
    facts: dict[str, Any] = {"database": str(path), "size": path.stat().st_size}
    facts |= header_facts(header)
    facts |= wal_facts(path, facts.get("page_size"))
    facts["shm"] = size(path, "-shm") is not None
    facts["rollback_journal"] = bool(size(path, "-journal"))
    return facts | directory_facts(path.parent)


def head(path: Path) -> bytes:
    """The first 100 bytes of a file, read by another process."""
    argv = [sys.executable, "-I", "-S", "-c", READ_HEAD, os.fspath(path)]
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode != 0:
        raise PermissionError(13, "cannot be read", os.fspath(path))
    return done.stdout


def header_facts(header: bytes) -> dict[str, Any]:
    """Fields of the database header; see "The Database Header" in SQLite's description of its file format."""
    if not header:
        return {"journal_mode": "empty file"}
    if len(header) < 100 or not header.startswith(SQLITE_MAGIC):
        return {"journal_mode": "not a SQLite database"}
    page_size, write_version = struct.unpack_from(">HB", header, 16)
    return {
        "page_size": 65536 if page_size == 1 else page_size,
        "page_count": struct.unpack_from(">I", header, 28)[0],
        "journal_mode": "wal" if write_version == 2 else "rollback",
    }


def wal_facts(path: Path, page_size: int | None) -> dict[str, Any]:
    """Size and generation of the write-ahead log; see "The WAL File Format"."""
    length = size(path, "-wal")
    if length is None:
        return {"wal": "none"}
    header = head(path.with_name(path.name + "-wal"))[:32]
    if len(header) < 32 or struct.unpack_from(">I", header)[0] not in WAL_MAGIC:
        return {"wal": "empty", "wal_size": length}
    sequence, salt1, salt2 = struct.unpack_from(">III", header, 12)
    frames = (length - 32) // (24 + page_size) if page_size else 0
    return {
        "wal": f"generation {sequence}, salts {salt1:08x} {salt2:08x}",
        "wal_size": length,
        "wal_frames_at_most": frames,
    }


def size(path: Path, suffix: str) -> int | None:
    """Length of a file beside the database, or None."""
    with contextlib.suppress(FileNotFoundError):
        return path.with_name(path.name + suffix).stat().st_size
    return None


def directory_facts(folder: Path) -> dict[str, Any]:
    """What the place of a database can do, tried with files of our own."""
    try:
        found = vfs.probe(folder)
    except OSError as error:
        return {"lock_modes": f"unknown: {error.strerror}"}
    facts = {
        "lock_modes": list(found.lock_modes),
        "shared_memory": found.shared_memory,
        "file_system": found.file_system or "of another kind",
    }
    return facts | ({"file_system_warning": found.warning} if found.warning else {})


def warnings(facts: dict[str, Any]) -> list[str]:
    """What to do about a database."""
    found = []
    mode = facts["journal_mode"]
    if mode == "not a SQLite database":
        found.append(
            f"{facts['database']} is not a SQLite database, or it is encrypted: it cannot be replicated."
        )
    if facts["rollback_journal"] and mode == "wal":
        found.append(
            "A rollback journal lies beside a database in WAL mode: open it once with sqlite3 to recover it."
        )
    if facts.get("wal_size", 0) > 64 * MIB:
        found.append(
            "The WAL is longer than 64 MiB: a reader that never ends, or a lack of checkpoints, keeps it growing."
        )
    if facts.get("file_system_warning"):
        found.append(f"The place of the database, {facts['file_system']}: {facts['file_system_warning']}.")
    if "ofd" not in facts["lock_modes"] and "unknown" not in facts["lock_modes"]:
        found.append(
            "Open-file locks do not work here: replicate from another process than the one that uses the database."
        )
    return found
