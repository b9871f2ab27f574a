"""restore_plan(), restore_points(): what can be rebuilt from a replica, and from which files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ltxcore import _ltxcore
from ltxcore._process.times import argument_error, from_millis, millis_bound, parse_time
from ltxcore._restore.older import naming_older
from ltxcore.clients import as_client
from ltxcore.clients.file import FileClient, file_info, native
from ltxcore.errors import FormatError
from ltxcore.ltx import TXID, FileInfo

if TYPE_CHECKING:
    from datetime import datetime

    from ltxcore.clients import ReplicaClient, Source


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """The files that a restore would read.

    * ``files``: the files in the order of their use.
    * ``clamped``: the requested time is after the newest transaction, so the newest state would be restored.
    """

    files: tuple[FileInfo, ...]
    clamped: bool

    @property
    def txid(self) -> TXID:
        """The transaction that would be restored."""
        return self.files[-1].max_txid

    @property
    def size(self) -> int:
        """Size of all files together, in bytes."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True, order=True)
class RestorePoint:
    """A state that can be restored: the database after transaction ``txid``, which was committed at ``created_at``.

    Restore it with ``txid=point.txid``. ``timestamp=point.created_at`` restores a state from *before* that time.
    """

    txid: TXID
    created_at: datetime


def restore_plan(
    source: Source, *, txid: int | str | None = None, timestamp: datetime | str | None = None
) -> RestorePlan:
    """Find out which LTX files :func:`restore` would read. Nothing but names, sizes and times is looked at.

    For files of Litestream 0.3 there is :func:`ltxcore.legacy.restore_plan`.

    Args:
        source: the replica: its client, its URL, or the path of its directory.
        txid: as for :func:`restore`.
        timestamp: as for :func:`restore`.

    Raises:
        NoSnapshotError: the replica is empty, or holds nothing from before ``timestamp``.
        TXIDNotAvailableError: no chain of files ends at ``txid``.
        RestoreError: transactions are missing from the replica.
        ReplicaError: the storage cannot be listed.
        ConfigError: arguments that make no sense, such as both a TXID and a time.
    """
    number = wanted_txid(txid)
    before = time_bound(number, timestamp)
    client = as_client(source)
    with naming_older(client, "ltxcore.legacy.restore_plan() plans for them"):
        plan = _ltxcore.restore_plan(native(client), number, before)
    return RestorePlan(tuple(map(file_info, plan.files)), plan.clamped)


def restore_points(source: Source) -> list[RestorePoint]:
    """Every state that can be restored from the LTX files of a replica, oldest first. An empty replica has none.

    Args:
        source: the replica: its client, its URL, or the path of its directory.

    Raises:
        NoSnapshotError: the directory of the replica does not exist.
        ReplicaError: the storage cannot be listed.
    """
    client = as_client(source)
    points = _ltxcore.restore_points(native(client))
    if not points and type(client) is FileClient and not client.path.exists():
        _ltxcore.restore_plan(
            native(client)
        )  # says so: a path with a mistake should not look like an empty replica
    return [RestorePoint(TXID(txid), from_millis(created_ms)) for txid, created_ms in points]


def planned_txid(client: ReplicaClient, before: int) -> TXID:
    """The transaction that a time selects."""
    return file_info(_ltxcore.restore_plan(native(client), None, before).files[-1]).max_txid


def time_bound(txid: TXID | None, timestamp: datetime | str | None) -> int | None:
    """The first millisecond that is not wanted any more.

    Raises:
        ConfigError: a TXID is asked for as well, or it is no time.
    """
    if txid is not None and timestamp is not None:
        raise argument_error("timestamp", "either a TXID or a time can be restored, not both")
    return None if timestamp is None else millis_bound(parse_time(timestamp))


def wanted_txid(value: int | str | None) -> TXID | None:
    if value is None:
        return None
    try:
        return TXID.parse(value) if isinstance(value, str) else TXID(value)
    except FormatError as error:
        raise argument_error("txid", str(error), error.hint) from error
