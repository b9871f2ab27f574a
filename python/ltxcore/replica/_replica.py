"""Replica: one destination of one database, and what it holds."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ltxcore import _ltxcore
from ltxcore._process.arguments import local_path
from ltxcore._process.awaiting import to_thread
from ltxcore._process.files import whole_file
from ltxcore._process.times import argument_error, seconds
from ltxcore.clients import as_client
from ltxcore.clients._listing import NAME, encode
from ltxcore.clients.file import file_info, native
from ltxcore.errors import NoSnapshotError, ReplicaReadOnlyError
from ltxcore.ltx import SNAPSHOT_LEVEL, TXID, FileInfo
from ltxcore.replica._held_lease import RENEWAL_INTERVAL, HeldLease
from ltxcore.replica._inventory import Inventory
from ltxcore.replica._limit import LEAST, RequestLimit

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from datetime import datetime, timedelta

    from ltxcore._process.log import Logger
    from ltxcore.clients import ReplicaClient, Source


class Replica:
    """One destination of one database.

    Args:
        client: a client, an object store, a URL, or the path of a directory.
        sync_interval: the minimum time between two uploads, in seconds or as a ``timedelta``.
        max_requests_per_hour: send no more requests than this in any hour, at least 10; ``None`` for no limit. Uploads are then
            fewer and larger: under steady writing there is one local LTX file for each upload that the limit allows. What has
            to wait stays in local LTX files. Reads do not count. A final upload in ``close()``, and opening and repairing a
            replica, are not held back; later uploads wait until these requests are within the limit. A new ``Replica`` may send
            a tenth of the limit at once.
        lease: write only while this process holds the lease of the replica. :meth:`DB.open` acquires it, and :meth:`DB.close`
            gives it back. This takes a request every 10 seconds. See "Two writers" in ``docs/s3.md``.

    Raises:
        ConfigError: the limit is below 10, there is a lease as well, or the client does not count its requests, as that of a
            directory.
        ReplicaReadOnlyError: the replica can only be read, and there is a limit or a lease, which are for writing.
    """

    def __init__(
        self,
        client: Source,
        *,
        sync_interval: float | timedelta = 1.0,
        max_requests_per_hour: int | None = None,
        lease: bool = False,
    ) -> None:
        self.client = as_client(client)
        if lease or max_requests_per_hour is not None:
            self.check_writable()
        self.sync_interval = seconds(sync_interval, "sync_interval")
        #: What the uploads have to keep to.
        self.limit = _limit(self.client, max_requests_per_hour, lease)
        self.lease = lease
        self._held_lease: HeldLease | None = None
        self._compacting = threading.Lock()

    def __repr__(self) -> str:
        return f"Replica({self.client!r})"

    @property
    def max_requests_per_hour(self) -> int | None:
        """How many requests are sent in any hour at most; ``None`` if there is no limit."""
        return None if self.limit is None else self.limit.per_hour

    def acquire_lease(self, *, logger: Logger | None = None) -> HeldLease:
        """Acquire the lease of the replica. If this object holds it already, return it as it is.

        A ``DB`` whose replica has ``lease=True`` does so itself. Call this method for work before that, such as a restore that
        no other program should outdate. The ``DB`` then goes on with the same lease, and gives it back.

        Args:
            logger: the logger for warnings and errors; the default is the logger ``ltxcore``.

        Raises:
            ConfigError: the storage cannot hold a lease.
            ReplicaReadOnlyError: the replica can only be read.
            LeaseHeldError: another program holds it.
            FormatError: there is another object in its place.
            ReplicaError: the storage failed.
        """
        self.check_writable()
        held = self._held_lease
        if held is None or held.has_ended:
            held = HeldLease(self.client, logger or logging.getLogger("ltxcore"))
            held.acquire()
            self._held_lease = held
        return held

    def check_writable(self) -> None:
        """Find out whether anything may be written to the replica at all. No request is made.

        Raises:
            ReplicaReadOnlyError: the replica can only be read, as one on a web server.
        """
        if self.client.capabilities.is_read_only:
            raise ReplicaReadOnlyError(
                f"the replica can only be read: {self.client!r}",
                op="write",
                hint="replicate to the storage behind it: a directory, or s3://BUCKET/PATH with credentials",
            )

    def newest_txid(self) -> TXID:
        """The newest transaction that a restore contains; 0 if nothing can be restored. Lists all levels of the replica.

        Raises:
            ReplicaError: the storage cannot be listed.
        """
        return Inventory.of(self.client).reach()[0]

    def files(self, level: int | None = None) -> Iterator[FileInfo]:
        """The LTX files of one level, or of all levels from 0 up.

        Raises:
            ReplicaError: the storage cannot be listed.
        """
        return self.client.all_ltx_files() if level is None else self.client.ltx_files(level)

    def write_listing(self, path: str | os.PathLike[str] | None = None) -> int:
        """Write a list of the LTX files, for readers that cannot list the storage, such as those of a web server.

        The listing is the file ``ltx.json`` beside the folders of the levels. It names files that were there when it was
        written, so if you copy a replica to a server, list the copy, and upload its listing last. Write it again when files
        were added.

        Args:
            path: a local file to write it to. ``None``: into the replica itself, in place of an older listing.

        Returns:
            The number of LTX files.

        Raises:
            NoSnapshotError: the replica has no files.
            ConfigError: the replica is of a kind that has no folders, or is in S3 without a path.
            ReplicaReadOnlyError: ``path`` is ``None``, and the replica can only be read.
            ReplicaError: the storage failed.
        """
        if path is None:
            self.check_writable()
        folders = self.client.level_folders
        if folders is None:
            message = f"the files of {self.client!r} are not in folders that a listing could name"
            raise argument_error("client", message, "give a replica in S3 a path, such as s3://BUCKET/app")
        files = list(self.client.all_ltx_files(use_metadata=True))
        if not files:
            raise NoSnapshotError(
                f"the replica is empty: {self.client!r}", op="list", hint="replicate to it first"
            )
        data = encode(folders, files)
        if path is None:
            self.client.write_object(NAME, data)
        else:
            with whole_file(local_path(path, "listing", "path")) as file:
                file.write(data)
        return len(files)

    def time_bounds(self) -> tuple[datetime, datetime]:
        """The times of the oldest and of the newest file.

        Raises:
            NoSnapshotError: the replica is empty.
            ReplicaError: the storage cannot be listed.
        """
        times = [file.created_at for file in self.files()]
        if not times:
            raise NoSnapshotError(
                "the replica is empty",
                op="list",
                hint="check the path or URL: LTX files are below it, in ltx/0 to ltx/9, or in S3 in 0000 to 0009",
            )
        return min(times), max(times)

    def compact(self, level: int) -> FileInfo | None:
        """Merge the new files of the level below into one file of ``level``.

        Every input is verified before the merged file appears.

        Args:
            level: 1 to 8.

        Returns:
            The new file, or the last one of several; ``None`` if there was nothing to merge.

        Raises:
            ConfigError: the level is not 1 to 8.
            ReplicaReadOnlyError: the replica can only be read.
            FormatError: a file is damaged.
            ReplicaError: the storage failed.
            RestoreError: files are missing between the two levels.
        """
        if not 1 <= level < SNAPSHOT_LEVEL:
            raise argument_error("level", f"level must be from 1 to {SNAPSHOT_LEVEL - 1}: {level}")
        self.check_writable()
        with self._compacting:
            row = _ltxcore.compact_level(native(self.client), level)
        return None if row is None else file_info(row)

    async def compact_async(self, level: int) -> FileInfo | None:
        """:meth:`compact`, without blocking the event loop. Cancelling it does not end the work."""
        return await to_thread(self.compact, level)


def _limit(client: ReplicaClient, per_hour: int | None, lease: bool) -> RequestLimit | None:
    if per_hour is None:
        return None
    if per_hour < LEAST:
        raise argument_error("max_requests_per_hour", f"the limit must be at least {LEAST}: {per_hour}")
    if lease:
        raise argument_error(
            "max_requests_per_hour",
            "a replica with a lease cannot have a limit of requests",
            f"a lease takes {int(3600 / RENEWAL_INTERVAL)} requests an hour by itself: leave one of the two out",
        )
    if client.requests_sent() is None:
        raise argument_error(
            "max_requests_per_hour",
            f"{client!r} does not count its requests, so they cannot be limited",
            "leave the limit out, or override requests_sent() in the client",
        )
    return RequestLimit(per_hour, lambda: client.requests_sent() or {})
