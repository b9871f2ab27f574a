"""Replicas on web servers, to be read by their URL: a public bucket, a CDN, or a server of static files."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from ltxcore.clients._client import ReplicaClient
from ltxcore.clients._listing import NAME, decode
from ltxcore.clients._transfer import again
from ltxcore.clients.http._address import parse
from ltxcore.clients.http._index import Index
from ltxcore.clients.http._store import HTTPStore
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import ObjectNotFoundError
from ltxcore.ltx import SNAPSHOT_LEVEL, TXID, FileInfo
from ltxcore.stores import HTTPOptions

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["HTTPClient", "from_url"]


class HTTPClient(ObjectReplicaClient):
    """A replica on a web server. It can be read, and not written.

    Which files there are is read from the listing ``ltx.json`` beside the folders of the levels, which
    :meth:`Replica.write_listing <ltxcore.Replica.write_listing>` writes. If there is none, it is read from the pages that the
    server makes of directories.

    Args:
        url: the URL of the replica, such as ``"https://example.org/backups/app"``. A user and a password in it are sent as
            basic authentication. What stands behind a ``?`` is sent with each request. Neither is shown in messages or
            ``repr()``.
        headers: headers to send with each request, such as ``Authorization``. They are not sent to another server, should
            this one redirect.
        options: how to connect.

    Raises:
        ConfigError: this is no URL of a web server, or one that was signed for a single object.
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, options: HTTPOptions | None = None
    ) -> None:
        self.store: HTTPStore
        super().__init__(HTTPStore(parse(url, headers), options or HTTPOptions()))
        self._index = Index(self.store)
        # As the last listing had them.
        self._folders: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"HTTPClient({self.store.address.url!r})"

    def object_place(self) -> None:
        """See :meth:`ReplicaClient.object_place`. A web server does not list what else there is."""

    @property
    def level_folders(self) -> tuple[str, ...]:
        """See :attr:`ReplicaClient.level_folders`. The first time, the server is asked for them."""
        if self._folders is None:
            self._list_files(())
        return self._folders or ()

    def ltx_files(
        self, level: int, *, seek: TXID = TXID(0), use_metadata: bool = False
    ) -> Iterator[FileInfo]:
        """See :meth:`ReplicaClient.ltx_files`.

        Raises:
            NoSnapshotError: there is neither a listing nor a directory page with LTX files.
            FormatError: the listing is none.
        """
        return iter([file for file in self._list_files((level,)) if file.min_txid >= seek])

    def all_ltx_files(self, *, use_metadata: bool = False) -> Iterator[FileInfo]:
        """See :meth:`ReplicaClient.all_ltx_files`."""
        return iter(self._list_files(range(SNAPSHOT_LEVEL + 1)))

    def write_ltx_file(self, level: int, min_txid: TXID, max_txid: TXID, data: BinaryIO) -> FileInfo:
        """Nothing is ever written.

        Raises:
            ReplicaReadOnlyError: always.
        """
        self.store.refuse("write")

    def write_ltx_path(
        self, level: int, min_txid: TXID, max_txid: TXID, path: str | os.PathLike[str]
    ) -> FileInfo:
        """As :meth:`write_ltx_file`."""
        self.store.refuse("write")

    def copy_ltx_file(self, file: FileInfo, source: ReplicaClient) -> FileInfo:
        """As :meth:`write_ltx_file`."""
        self.store.refuse("write")

    def write_object(self, name: str, data: bytes) -> None:
        """As :meth:`write_ltx_file`."""
        self.store.refuse("write")

    def delete_ltx_files(self, files: Iterable[FileInfo]) -> None:
        """Nothing is ever deleted.

        Raises:
            ReplicaReadOnlyError: always.
        """
        self.store.refuse("delete")

    def delete_all(self) -> None:
        """As :meth:`delete_ltx_files`."""
        self.store.refuse("delete")

    def _folder(self, level: int) -> str:
        return f"{self.level_folders[level]}/"

    def _list_files(self, levels: Iterable[int]) -> list[FileInfo]:
        """The files of some levels, from the lowest up, each level listed after the one below."""
        try:
            data = again(lambda: self.store.page(NAME))
        except ObjectNotFoundError:
            self._folders, found = self._index.folders()
            return [
                file
                for level in sorted(set(levels) & set(found))
                for file in self._index.files(self._folders[level], level)
            ]
        listing = decode(data, self.store.address.shown(NAME))
        self._folders = listing.folders
        return [file for file in listing.files if file.level in levels]


def from_url(
    url: str, *, headers: Mapping[str, str] | None = None, options: HTTPOptions | None = None
) -> HTTPClient:
    """The client for a URL such as ``https://example.org/backups/app``; see :class:`HTTPClient`.

    Raises:
        ConfigError: see :class:`HTTPClient`.
    """
    return HTTPClient(url, headers=headers, options=options)
