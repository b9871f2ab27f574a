"""What every restore has in common, from whatever files: how it is checked, watched and called off."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from ltxcore import _ltxcore
from ltxcore._process.arguments import check_parallelism, local_path
from ltxcore._process.times import argument_error
from ltxcore.errors import IntegrityCheckError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

IntegrityCheck = Literal["none", "quick", "full"]
JournalMode = Literal["keep", "delete"]


@dataclass(frozen=True, slots=True)
class RestoreProgress:
    """The progress of a restore: ``done`` of ``total`` bytes of files, and the number of files that were verified."""

    done: int
    total: int
    files_done: int
    files_total: int


def check_options(parallelism: int, integrity_check: str, journal_mode: str) -> None:
    """Refuse values that no restore can have.

    Raises:
        ConfigError: one of them is.
    """
    check_parallelism(parallelism)
    if integrity_check not in ("none", "quick", "full"):
        raise argument_error(
            "integrity_check", f"integrity_check is none, quick or full: {integrity_check!r}"
        )
    if journal_mode not in ("keep", "delete"):
        raise argument_error("journal_mode", f"journal_mode is keep or delete: {journal_mode!r}")


def output_path(output: str | os.PathLike[str]) -> Path:
    """Where a database goes.

    Raises:
        ConfigError: it is empty, which would mean the current directory, or a URL.
    """
    return local_path(output, "output", "output")


def counting(
    progress: Callable[[RestoreProgress], None] | None,
) -> Callable[[int, int, int, int], None] | None:
    """The callback that the native side calls with the four numbers."""
    return None if progress is None else lambda *counts: progress(RestoreProgress(*counts))


def cancellable(check: Callable[[], None], call: Callable[[T], None] | None) -> Callable[[T], None]:
    """A callback that raises if ``check`` does, and else does what ``call`` does."""

    def checked(at: T) -> None:
        check()
        if call is not None:
            call(at)

    return checked


def verifier(path: Path, mode: IntegrityCheck) -> Callable[[Path], None] | None:
    """What lets SQLite check a new database before it gets its name ``path``; ``None`` if it is not to be checked."""

    def verify(new: Path) -> None:
        _check(new, path, mode)

    return None if mode == "none" else verify


def _check(new: Path, path: Path, mode: str) -> None:
    try:
        report = _ltxcore.integrity_check(os.fspath(new), mode)
    finally:
        for suffix in ("-wal", "-shm"):
            Path(f"{new}{suffix}").unlink(missing_ok=True)
    if report is None:
        return
    error = IntegrityCheckError(
        f"the restored database is damaged: {report}",
        op="restore",
        path=os.fspath(path),
        hint="restore without the check to look at it, or restore an earlier state",
    )
    error.report = report
    raise error
