"""verify(): read everything that a v0.3 replica holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ltxcore import _ltxcore
from ltxcore._process.arguments import check_parallelism
from ltxcore._process.restoring import counting
from ltxcore.clients import as_client
from ltxcore.errors import NoSnapshotError, ObjectNotFoundError
from ltxcore.legacy._damage import Damage, damage
from ltxcore.legacy._history import generations_of, history
from ltxcore.legacy._listing import are_gone, files_of
from ltxcore.legacy._place import GENERATIONS, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from ltxcore._process.restoring import RestoreProgress
    from ltxcore.clients import Source
    from ltxcore.legacy._history import GenerationInfo
    from ltxcore.stores import ObjectStore

#: How often the replica is listed and read, if files are deleted there meanwhile.
_LISTINGS = 5


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What :func:`verify` has found.

    * ``generations``, ``snapshots``, ``segments``: how many there are.
    * ``bytes_read``: size of all files together, in bytes.
    * ``states``: the number of states that can be restored, if nothing is wrong.
    * ``damages``: the files that are damaged or missing.
    """

    generations: int
    snapshots: int
    segments: int
    bytes_read: int
    states: int
    damages: tuple[Damage, ...]

    @property
    def is_ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damages


def verify(
    source: Source,
    *,
    parallelism: int = 8,
    progress: Callable[[RestoreProgress], None] | None = None,
) -> VerifyReport:
    """Read every snapshot and every WAL segment of a replica in the layout of Litestream 0.3, and say what is wrong.

    Of each file the checksum is verified; of a snapshot also that it is a database of whole pages; of a segment also every
    frame, the checksum that runs through its WAL file, and that it ends with a transaction. Segments and WAL files that are
    missing between others are found. Nothing is written, and memory does not grow with the replica.

    The loss of the last segments of a WAL file that has a successor cannot be found: nothing says where a WAL file ended. Nor
    can the loss of the newest files, of the oldest ones, and of whole generations.

    Args:
        source: the replica: a client, an object store, a URL, or the path of a directory.
        parallelism: the number of files to read at once: 1 to 12.
        progress: a function that is called while files are read, in the calling thread. Raise an exception in it to stop.

    Returns:
        What was found. What is wrong with files is in the report, and is not raised.

    Raises:
        NoSnapshotError: there is no generation. :func:`ltxcore.verify` reads LTX files.
        ReplicaError: the storage failed.
        ConfigError: an argument has an impossible value, or the client is not one of a directory or an object store.
    """
    check_parallelism(parallelism)
    client = as_client(source)
    store, prefix = place_of(client)
    found = history(client)
    for _ in range(_LISTINGS - 1):
        try:
            report = _verified(found, store, prefix, parallelism, progress)
        except ObjectNotFoundError:
            now = history(client)
            if not are_gone(found, now):
                raise
        else:
            if report.is_ok:
                return report
            now = history(client)
            if len(_unexplained(report, found, now)) == len(report.damages):
                return report
        found = now
    # It is deleted faster than it can be read.
    report = _verified(found, store, prefix, parallelism, progress)
    return replace(report, damages=_unexplained(report, found, history(client)))


def _unexplained(
    report: VerifyReport, found: _ltxcore.LegacyHistory, now: _ltxcore.LegacyHistory
) -> tuple[Damage, ...]:
    """What is damaged, and not just deleted since it was listed."""
    listed, gone = files_of(found), are_gone(found, now)
    return tuple(each for each in report.damages if not _is_explained(each, listed, gone))


def _is_explained(found: Damage, listed: Container[str], gone: set[str]) -> bool:
    """Whether files that are gone since they were listed explain it: the file, or ones of its generation if it is missing."""
    folder = "/".join(found.path.split("/")[:2]) + "/"
    return found.path in gone or (found.path not in listed and any(path.startswith(folder) for path in gone))


def _verified(
    found: _ltxcore.LegacyHistory,
    store: ObjectStore,
    prefix: str,
    parallelism: int,
    progress: Callable[[RestoreProgress], None] | None,
) -> VerifyReport:
    generations = generations_of(found)
    if not generations:
        raise NoSnapshotError(
            "no generations of Litestream 0.3",
            hint="ltxcore.verify() reads the files of Litestream 0.5, and LTX files of ltxcore",
        )
    states, rows = _ltxcore.legacy_verify(
        found, store, prefix, parallelism=parallelism, progress=counting(progress)
    )
    return VerifyReport(
        generations=len(generations),
        snapshots=sum(len(each.snapshots) for each in generations),
        segments=sum(len(each.segments) for each in generations),
        bytes_read=sum(each.size for each in generations),
        states=states,
        damages=(*map(damage, rows), *_without_snapshots(generations)),
    )


def _without_snapshots(generations: list[GenerationInfo]) -> Iterator[Damage]:
    """Generations that have lost all snapshots: nothing leads to their segments."""
    for each in generations:
        if not each.snapshots:
            yield Damage(
                f"{GENERATIONS}{each.generation}/snapshots/",
                "no snapshot is left, so none of the segments can be restored",
                len(each.segments),
                each.created_at,
                each.updated_at,
            )
