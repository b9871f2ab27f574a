"""Which process is writing a long blob: told apart from every other that had or will have its number."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname


@dataclass(frozen=True, slots=True)
class Owner:
    """An open store of some process."""

    pid: int
    started: str
    host: str
    token: str

    @classmethod
    def this_process(cls) -> Owner:
        """A new owner in this process."""
        pid = os.getpid()
        return cls(pid, start_time(pid) or "", gethostname(), secrets.token_hex(8))

    @classmethod
    def parse(cls, text: str) -> Owner:
        """The reverse of ``str``; an owner that nobody can know to be gone if the text is not one."""
        fields = text.split("\t")
        if len(fields) != 4 or not fields[0].isdecimal():
            return cls(0, "", "", text)
        return cls(int(fields[0]), *fields[1:])

    def __str__(self) -> str:
        return f"{self.pid}\t{self.started}\t{self.host}\t{self.token}"

    def is_gone(self) -> bool:
        """Whether the process is known to have ended. Of another host nobody knows."""
        if self.host != gethostname() or self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return self.started != (start_time(self.pid) or "")


def start_time(pid: int) -> str | None:
    """When a process started, in ticks since boot; None where the system does not say (proc(5), ``/proc/pid/stat``)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()[19]
