"""Who has which byte of a file, seen from a process that has none: `fcntl` on a descriptor of its own.

Only for processes without SQLite connections to the file: to close it drops every lock of the process.
"""

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

FLOCK = struct.Struct("hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid
OFD_SETLK = 37
SLOTS = {
    120: "WRITE",
    121: "CKPT",
    122: "RECOVER",
    123: "READ0",
    124: "READ1",
    125: "READ2",
    126: "READ3",
    127: "READ4",
    128: "DMS",
}
BYTE_OF = {name: byte for byte, name in SLOTS.items()}
OF_A_DESCRIPTION = -1  # the process id that the kernel gives for a lock that belongs to no process


def shm_locks(path: Path) -> dict[str, tuple[str, int]]:
    """Slot: (`R` or `W`, process id), of every slot that somebody has."""
    found = {}
    descriptor = os.open(path, os.O_RDWR)
    try:
        for byte, name in SLOTS.items():
            question = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
            kind, _, _, _, pid = FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, question))
            if kind != fcntl.F_UNLCK:
                found[name] = ("R" if kind == fcntl.F_RDLCK else "W", pid)
    finally:
        os.close(descriptor)
    return found


def letters(path: Path) -> str:
    """As `READ1:R DMS:R`."""
    return " ".join(f"{name}:{kind}" for name, (kind, _) in shm_locks(path).items())


@contextlib.contextmanager
def holding(path: Path, slot: str) -> Iterator[None]:
    """Has a slot of a `-shm` file alone, for as long as it lasts."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.fcntl(descriptor, OFD_SETLK, FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, BYTE_OF[slot], 1, 0))
        yield
    finally:
        os.close(descriptor)
