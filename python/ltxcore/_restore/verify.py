"""verify(): read everything that a replica holds, and say whether it can be restored."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ltxcore import _ltxcore
from ltxcore._process.awaiting import awaitable, cancellation
from ltxcore._process.restoring import IntegrityCheck, cancellable, check_options, counting
from ltxcore._restore.older import naming_older
from ltxcore._restore.restore import restore_prepared
from ltxcore.clients import as_client
from ltxcore.clients.file import file_info, native
from ltxcore.errors import DatabaseError, DiskFullError, FormatError, RestoreError
from ltxcore.ltx import TXID, FileInfo, format_filename

if TYPE_CHECKING:
    from collections.abc import Callable

    from ltxcore._process.restoring import RestoreProgress
    from ltxcore.clients import ReplicaClient, Source

#: A name of a file: level, first and last TXID.
_Name = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file that is damaged, or could not be read, and the error that says why."""

    file: FileInfo
    error: BaseException


@dataclass(frozen=True, slots=True)
class LevelGap:
    """A level that lacks the transactions between ``after`` and the first one of the file ``before``.

    Other levels may have them; where they do not, it is an obstacle, too.
    """

    level: int
    after: TXID
    before: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What :func:`verify` has found.

    * ``outcome``: ``"ok"``: everything is sound, and the newest state can be restored. ``"bad"``: a file is damaged, or
      transactions are missing. ``"inconclusive"``: nothing bad was found, but not all files could be read.
    * ``txid``: the last transaction that a restore of the newest state comes to.
    * ``obstacle``: what keeps it from coming further; ``None`` if nothing does.
    * ``files``, ``bytes_read``: the LTX files that were read, and their size together in bytes.
    * ``damaged``, ``unread``: files that are damaged, and files that could not be read, which may be sound.
    * ``gaps``: levels that lack transactions.
    """

    outcome: Literal["ok", "bad", "inconclusive"]
    txid: TXID
    obstacle: BaseException | None
    files: int
    bytes_read: int
    damaged: tuple[FileProblem, ...]
    unread: tuple[FileProblem, ...]
    gaps: tuple[LevelGap, ...]


def verify(
    source: Source,
    *,
    parallelism: int = 8,
    integrity_check: IntegrityCheck = "none",
    progress: Callable[[RestoreProgress], None] | None = None,
) -> VerifyReport:
    """Read every LTX file of a replica, and say whether it is sound. :func:`ltxcore.legacy.verify` does that for v0.3 files.

    Of each file, every byte is read: the checksum, the page index, and whether it holds the transactions of its name. The files
    that a restore of the newest state needs have to be there without a gap, and to be sound. Memory does not grow with the
    replica. It may be in use: files that are merged and deleted meanwhile are no problem.

    Args:
        source: the replica: a client, a URL, or the path of a directory.
        parallelism: the number of files to read at once: 1 to 12.
        integrity_check: also restore the newest state to a temporary file, and check it with ``PRAGMA quick_check``
            (``"quick"``) or ``PRAGMA integrity_check`` (``"full"``). This takes as much space as the database, in the directory
            that ``TMPDIR`` names.
        progress: a function that is called about twenty times a second, in the calling thread. Raise an exception in it to
            stop.

    Returns:
        What was found. Problems of files are in the report, and are not raised.

    Raises:
        NoSnapshotError: the replica does not exist or is empty.
        ReplicaError: the storage cannot be listed.
        DiskFullError: there is no space for the temporary database.
        ConfigError: an argument has an impossible value.
    """
    client = as_client(source)
    check_options(parallelism, integrity_check, "keep")
    if (check := cancellation()) is not None:
        progress = cancellable(check, progress)
    with naming_older(client, "ltxcore.legacy.verify() reads them"):
        found = _ltxcore.verify(native(client), parallelism=parallelism, progress=counting(progress))
    damaged, unread = _problems(found.damaged), _problems(found.unread)
    obstacle = _obstacle(found, (*damaged, *unread))
    if obstacle is None and integrity_check != "none":
        obstacle = _try_restore(client, integrity_check)
    lost = {_name(problem.file) for problem in unread}
    is_unread = found.obstacle_file in lost
    is_bad = bool(damaged) or (obstacle is not None and not is_unread)
    return VerifyReport(
        outcome="bad" if is_bad else "inconclusive" if unread else "ok",
        txid=TXID(found.txid),
        obstacle=obstacle,
        files=found.files,
        bytes_read=found.bytes,
        damaged=damaged,
        unread=unread,
        gaps=tuple(
            LevelGap(level, TXID(after), format_filename(first, last))
            for after, (level, first, last) in found.holes
        ),
    )


verify_async = awaitable(verify)


def _problems(rows: list[tuple[tuple[int, int, int, int, int], BaseException]]) -> tuple[FileProblem, ...]:
    return tuple(FileProblem(file_info(row), error) for row, error in rows)


def _obstacle(found: _ltxcore.Verified, problems: tuple[FileProblem, ...]) -> BaseException | None:
    """The error that a restore would end with."""
    if found.obstacle_file is None:
        return found.obstacle
    return next(each.error for each in problems if _name(each.file) == found.obstacle_file)


def _name(file: FileInfo) -> _Name:
    return file.level, file.min_txid, file.max_txid


def _try_restore(client: ReplicaClient, integrity_check: IntegrityCheck) -> BaseException | None:
    """Restore the newest state to where nobody finds it; what is wrong with it."""
    with tempfile.TemporaryDirectory(prefix="ltxcore-verify-") as folder:
        try:
            restore_prepared(client, Path(folder, "db"), integrity_check=integrity_check)
        except DiskFullError:
            raise
        except (FormatError, RestoreError, DatabaseError) as error:
            return error
    return None
