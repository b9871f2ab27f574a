"""What a process asked the kernel for: strace, and its lines as values."""

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.sqlclient import Client, clients

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

LOCK = re.compile(r"(F_\w+), \{l_type=F_(\w+), l_whence=SEEK_SET, l_start=(\d+), l_len=(\d+)")
CALL = re.compile(r"^(?:\d+ +)?(\w+)\(\d+<([^>]*)>(?:\(deleted\))?(?:, )?(.*?)\) += (-?\d+|\?)")
BYTES = {
    (0x40000000, 1): "PENDING",
    (0x40000001, 1): "RESERVED",
    (0x40000002, 510): "SHARED",
    (0x40000000, 2): "PENDING+RESERVED",
    (0, 0): "ALL",
    (128, 1): "DMS",
    (120, 9): "EVERY SLOT",
}
SLOTS = ("WRITE", "CKPT", "RECOVER", "READ0", "READ1", "READ2", "READ3", "READ4")


@dataclass(frozen=True)
class Call:
    name: str
    path: str
    arguments: str
    result: str

    @property
    def role(self) -> str:
        """`db`, `journal`, `wal`, `shm`, `super`; the same with a 2 for `two.db`; or `dir` for what has no such name."""
        match = re.fullmatch(r"(app|two)\.db(?:-(\w+))?", self.path.rsplit("/", 1)[-1])
        if match is None:
            return "dir"
        kind = match[2] or "db"
        return ("super" if kind.startswith("mj") else kind) + ("2" if match[1] == "two" else "")

    def lock(self) -> str:
        """`W RESERVED db` takes, `- RESERVED db` lets go, `? PENDING db` looks; `!` behind it: somebody is in the way."""
        found = LOCK.match(self.arguments)
        if found is None:
            return f"{self.arguments} {self.role}"
        command, kind, start, length = found[1], found[2], int(found[3]), int(found[4])
        what = BYTES.get((start, length)) or "+".join(SLOTS[start - 120 : start - 120 + length])
        letter = {"RDLCK": "R", "WRLCK": "W", "UNLCK": "-"}[kind]
        # Of a question strace prints the answer.
        is_question = command.endswith("GETLK")
        refused = kind != "UNLCK" if is_question else self.result != "0"
        return f"{'?' if is_question else letter} {what} {self.role}{' !' if refused else ''}"


def calls(trace: Path, folder: Path) -> list[Call]:
    """The calls on files in a folder, and on the folder itself, in their order."""
    found = []
    for line in trace.read_text(errors="replace").splitlines():
        match = CALL.match(line)
        if match and (match[2] == str(folder) or match[2].startswith(f"{folder}/")):
            found.append(Call(match[1], match[2], match[3], match[4]))
    return found


@contextlib.contextmanager
def traced(folder: Path, what: str, *more: str) -> Iterator[tuple[Client, Path]]:
    """A client under strace, and where its calls will be once it has ended."""
    trace = folder / "trace"
    under = ["strace", "--follow-forks", "--decode-fds=path", f"--trace={what}", *more, "-o", str(trace)]
    with clients(folder, 1, under=under) as (client,):
        yield client, trace
