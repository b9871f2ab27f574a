"""Where checks run: the built programs, directories, the user, and what is under test."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance import outcome
from tests.conformance.scratch import Scratch, ScratchError
from tests.conformance.subject import STOCK_VFS, Subject

ORDINARY_USER = "nobody"
MEMORY_DISK = Path("/dev/shm")


@dataclass(slots=True)
class Site:
    """One run of the harness."""

    scratch: Scratch
    so: Path | None
    extra: dict[str, str] = field(default_factory=dict)
    quick: bool = False
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def subject(self, vfs: str, *, is_mixed: bool = False) -> Subject:
        """A VFS of the shared object under test."""
        return Subject(vfs, self.so, is_mixed, extra=self.extra)

    @property
    def stock(self) -> Subject:
        """What SQLite has itself."""
        return Subject(STOCK_VFS)

    def directory(self, *, in_memory: bool = False) -> Path:
        """A new one for one run, which an ordinary user may write to.

        The Tcl suite runs in memory where that is possible: testfixture is built so that the stock VFS does not sync,
        and any other would be measured against the disk.
        """
        usable = in_memory and os.access(MEMORY_DISK, os.W_OK)
        root = MEMORY_DISK / f"conformance-{os.getpid()}" if usable else self.scratch.root / "run"
        made = outcome.empty_directory(root / str(next(self._numbers)))
        made.chmod(0o777)
        return made

    def clean(self) -> None:
        """Remove what the runs left."""
        for path in (MEMORY_DISK / f"conformance-{os.getpid()}", self.scratch.root / "run"):
            shutil.rmtree(path, ignore_errors=True)

    def ordinary_user(self) -> Sequence[str]:
        """Before a command that must not run as root, for whom no permission is denied."""
        if os.geteuid() != 0:
            return ()
        user = pwd.getpwnam(ORDINARY_USER)
        ids = ("--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups")
        command = ["setpriv", *ids]
        wanted = [self.scratch.bin, *([self.so] if self.so else [])]
        for path in wanted:
            if subprocess.run([*command, "test", "-r", path], check=False).returncode != 0:
                raise ScratchError(f"{ORDINARY_USER} cannot read {path}: choose another --scratch")
        return command
