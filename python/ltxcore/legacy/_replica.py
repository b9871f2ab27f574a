"""A destination that is written in the layout of Litestream 0.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ltxcore._process.times import argument_error, seconds
from ltxcore.errors import ConfigError
from ltxcore.legacy._place import place_of
from ltxcore.replica import Replica as LTXReplica

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from datetime import timedelta

    from ltxcore._process.log import Logger
    from ltxcore.clients import Source
    from ltxcore.ltx import TXID, FileInfo
    from ltxcore.replica import HeldLease


class Replica(LTXReplica):
    """One destination of one database, written in the layout of Litestream 0.3: generations, snapshots and WAL segments.

    Pass it to :class:`ltxcore.DB` as ``replica``, or as one of its ``mirrors``. Litestream 0.3 and 0.5.17 restore from it. The
    defaults are those of Litestream 0.3.

    Args:
        client: a client of an object store, an object store, a URL, or the path of a directory.
        sync_interval: the minimum time between two uploads.
        snapshot_interval: store the whole database this often, if it has changed. Restores then read less. ``None``: only once
            every ``retention``.
        retention: the time that can be restored. Older snapshots are deleted, and WAL segments and generations that no
            restore of a time within ``retention`` reads.
        retention_check_interval: the time between two looks for what can be deleted.

    Durations are seconds or a ``timedelta``.

    Raises:
        ConfigError: a duration is 0 or less, or the client is not one of a directory or an object store.
    """

    def __init__(
        self,
        client: Source,
        *,
        sync_interval: float | timedelta = 1.0,
        snapshot_interval: float | timedelta | None = None,
        retention: float | timedelta = 86400.0,
        retention_check_interval: float | timedelta = 3600.0,
    ) -> None:
        super().__init__(client, sync_interval=sync_interval)
        place_of(self.client)
        self.snapshot_interval = (
            None if snapshot_interval is None else _positive(snapshot_interval, "snapshot_interval")
        )
        self.retention = _positive(retention, "retention")
        self.retention_check_interval = _positive(retention_check_interval, "retention_check_interval")

    def __repr__(self) -> str:
        return f"legacy.Replica({self.client!r})"

    def acquire_lease(self, *, logger: Logger | None = None) -> HeldLease:
        """Not possible: the v0.3 layout has no lease. Two writers have a generation each.

        Raises:
            ConfigError: always.
        """
        raise self._refused("lease", "the v0.3 layout has no lease")

    def newest_txid(self) -> TXID:
        """Not possible: the v0.3 layout has no TXIDs. ``DB.status()`` has the TXID of each destination.

        Raises:
            ConfigError: always.
        """
        raise self._no_ltx_files("list")

    def files(self, level: int | None = None) -> Iterator[FileInfo]:
        """Not possible: there are no LTX files. See :func:`ltxcore.legacy.snapshots` and :func:`ltxcore.legacy.wal_segments`.

        Raises:
            ConfigError: always.
        """
        raise self._no_ltx_files("list")

    def write_listing(self, path: str | os.PathLike[str] | None = None) -> NoReturn:
        """Not possible: there are no LTX files.

        Raises:
            ConfigError: always.
        """
        raise self._no_ltx_files("list")

    def compact(self, level: int) -> NoReturn:
        """Not possible: the v0.3 layout has no levels. A snapshot shortens a restore.

        Raises:
            ConfigError: always.
        """
        raise self._refused("compact", "the v0.3 layout has no levels to compact into")

    def _no_ltx_files(self, op: str) -> ConfigError:
        return self._refused(op, "a replica in the v0.3 layout has no LTX files")

    def _refused(self, op: str, why: str) -> ConfigError:
        error = argument_error(
            "replica", f"{why}: {self.client!r}", "use a replica in the LTX layout for that"
        )
        error.op = op
        return error


def _positive(duration: float | timedelta, name: str) -> float:
    value = seconds(duration, name)
    if value <= 0:
        raise argument_error(name, f"{name} must be greater than 0: {duration}")
    return value
