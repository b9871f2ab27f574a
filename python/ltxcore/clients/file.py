"""A directory as a replica: the native file client, in the form of every other client."""

from __future__ import annotations

import io
import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from ltxcore import _ltxcore
from ltxcore._process.arguments import local_path
from ltxcore._process.files import whole_file
from ltxcore._process.times import from_millis
from ltxcore._process.urls import shown
from ltxcore.clients._client import ReplicaClient
from ltxcore.clients._urls import url_parameters
from ltxcore.errors import ConfigError, LTXFileNotFoundError, ReplicaError, ReplicaPermissionError
from ltxcore.ltx import SNAPSHOT_LEVEL, TXID, FileInfo, format_filename
from ltxcore.stores import Capabilities

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["FileClient"]


class FileClient(ReplicaClient):
    """LTX files below one directory, ``<path>/ltx/<level>/<first>-<last>.ltx``, as Litestream lays them out.

    Files appear whole or not at all: they are written beside their place, synced, renamed, and the directory is
    synced. At level 0 a TXID is taken once; see :meth:`write_ltx_file`.

    Raises:
        ConfigError: the path is empty, which would mean the current directory, or it is a URL.
    """

    type: ClassVar[str] = "file"
    # Times are kept, too, but a directory may have been copied without them.
    capabilities = Capabilities(creates_if_absent=True, is_local=True)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # As it is now: the process may change its directory later.
        self.path = local_path(path, "replica", "url").absolute()
        self._directory = os.fspath(self.path / "ltx")
        # Which directories of levels there were when it last changed, and what it was like then.
        self._levels: tuple[object, list[str]] = (None, [])
        self._mount_point: str | None = None
        # What restore and compaction use directly, without calling Python.
        self._native = _ltxcore.FileClient(os.fspath(self.path))

    def __repr__(self) -> str:
        return f"FileClient({os.fspath(self.path)!r})"

    @property
    def identity(self) -> str:
        """See :attr:`ReplicaClient.identity`: the directory, without links."""
        return os.path.realpath(self.path)

    def ltx_files(
        self, level: int, *, seek: TXID = TXID(0), use_metadata: bool = False
    ) -> Iterator[FileInfo]:
        """See :meth:`ReplicaClient.ltx_files`. The header's time is kept as the file's modification time."""
        return map(file_info, self._native.ltx_files(level, seek, use_metadata))

    def open_ltx_file(
        self, level: int, min_txid: TXID, max_txid: TXID, *, offset: int = 0, size: int | None = None
    ) -> BinaryIO:
        """See :meth:`ReplicaClient.open_ltx_file`. A reader of limited ``size`` is held in memory."""
        if size is not None:
            return io.BytesIO(self.read_ltx_file(level, min_txid, max_txid, offset=offset, size=size))
        path = self._path(level, min_txid, max_txid)
        try:
            file = open(path, "rb")  # noqa: SIM115 - handed to the caller
        except FileNotFoundError as error:
            raise LTXFileNotFoundError(
                f"no such LTX file: {path}",
                op="open",
                path=os.fspath(path),
                level=level,
                min_txid=min_txid,
                max_txid=max_txid,
            ) from error
        file.seek(offset)
        return file

    def read_ltx_file(
        self, level: int, min_txid: TXID, max_txid: TXID, *, offset: int = 0, size: int | None = None
    ) -> bytes:
        """See :meth:`ReplicaClient.read_ltx_file`."""
        return self._native.read_ltx_file(level, min_txid, max_txid, offset, size)

    def write_ltx_file(self, level: int, min_txid: TXID, max_txid: TXID, data: BinaryIO) -> FileInfo:
        """See :meth:`ReplicaClient.write_ltx_file`."""
        return file_info(self._native.write_ltx_file(level, min_txid, max_txid, data))

    def write_ltx_path(
        self, level: int, min_txid: TXID, max_txid: TXID, path: str | os.PathLike[str]
    ) -> FileInfo:
        """See :meth:`ReplicaClient.write_ltx_path`. Nothing is read through Python."""
        return file_info(self._native.write_ltx_path(level, min_txid, max_txid, os.fspath(path)))

    def locate(self, level: int, min_txid: TXID, max_txid: TXID) -> Path:
        """See :meth:`ReplicaClient.locate`."""
        return self._path(level, min_txid, max_txid)

    @property
    def level_folders(self) -> tuple[str, ...]:
        """See :attr:`ReplicaClient.level_folders`."""
        return tuple(f"ltx/{level}" for level in range(SNAPSHOT_LEVEL + 1))

    def write_object(self, name: str, data: bytes) -> None:
        """See :meth:`ReplicaClient.write_object`. It is durable, and readable for all, as a web server may be another user.

        Raises:
            OSError: the file cannot be written.
        """
        with whole_file(self.path / name) as file:
            file.write(data)

    def _path(self, level: int, min_txid: TXID, max_txid: TXID) -> Path:
        return self.path / "ltx" / str(level) / format_filename(min_txid, max_txid)

    def delete_ltx_files(self, files: Iterable[FileInfo]) -> None:
        """See :meth:`ReplicaClient.delete_ltx_files`."""
        self._native.delete_ltx_files([(file.level, file.min_txid, file.max_txid) for file in files])

    def delete_all(self) -> None:
        """Delete the directory of the LTX files and all that is in it."""
        self._native.delete_all()

    def init(self) -> None:
        """Create the directory where it is missing, so that one that cannot be written is noticed now.

        Raises:
            ReplicaError: it cannot be created.
        """
        if self._mount_point is not None:
            self.change_token()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _refused("init", "create the directory", os.fspath(self.path), error) from error
        self._native.init()
        self._mount_point = _mount_point(self.path)

    def change_token(self) -> object:
        """See :meth:`ReplicaClient.change_token`: which directories there are, and when each last changed.

        Raises:
            ReplicaError: the file system that :meth:`init` found there is not mounted any more. What is written to the
                directory below would be hidden when it comes back.
        """
        mount_point = self._mount_point
        if mount_point is not None and not os.path.ismount(mount_point):
            raise ReplicaError(
                f"the file system of the replica {self.path} is not mounted: {mount_point}",
                op="list",
                path=os.fspath(self.path),
                hint=f"mount {mount_point} again",
            )
        directory = _directory_token(self._directory)
        changed, levels = self._levels
        if directory != changed:
            paths = (os.path.join(self._directory, str(level)) for level in range(SNAPSHOT_LEVEL + 1))
            levels = [path for path in paths if os.path.isdir(path)]
            self._levels = (directory, levels)
        return (directory, *map(_directory_token, levels))


def _directory_token(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _refused("list", "look at", path, error) from error
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _refused(op: str, what: str, path: str, error: OSError) -> ReplicaError:
    kind = ReplicaPermissionError if isinstance(error, PermissionError) else ReplicaError
    hint = None
    if kind is ReplicaPermissionError:
        hint = "run as a user who may use this directory, or give this user access to it"
    elif isinstance(error, FileExistsError | NotADirectoryError):
        hint = "a file is in the way; name a directory"
    return kind(f"cannot {what} {path}: {error.strerror}", op=op, path=path, hint=hint)


def _mount_point(path: Path) -> str | None:
    """The directory at or above ``path`` where its file system is mounted; ``None`` where it cannot go away."""
    at = os.path.realpath(path)
    while not os.path.ismount(at):
        at = os.path.dirname(at)
    return at if at != os.path.dirname(at) else None


def native(client: ReplicaClient) -> ReplicaClient | _ltxcore.FileClient:
    """What the native side should use for a client: a directory is read and written without calling Python."""
    # A subclass may have overridden anything, so only the class itself is bypassed.
    return client._native if type(client) is FileClient else client


def from_url(url: str) -> FileClient:
    """The client of a ``file://`` URL. The path is taken as it stands: percent signs stand for themselves.

    Raises:
        ConfigError: no path is given, or one that does not begin with a slash, or a parameter.
    """
    path = url.partition("://")[2].partition("?")[0]
    if not path.strip("/"):
        raise _config_error(
            f"file replica path required: {shown(url)}", path=path, hint="write file:///path of the directory"
        )
    if not path.startswith("/"):
        # What comes before the path is a host, and who writes this means a directory that is there from here. If it is a user
        # with a password, that is not shown.
        local = path.rpartition("@")[2]
        raise _config_error(
            f"a file URL has no host: {shown(url)}",
            path=local,
            hint=f"write file:///{local} for the path /{local}, as Litestream reads it; write a relative path without file://",
        )
    url_parameters(url)
    return FileClient("/" + posixpath.normpath(path).lstrip("/"))


def _config_error(message: str, *, path: str = "", hint: str | None = None) -> ConfigError:
    error = ConfigError(message, op="open", path=path, hint=hint)
    error.key = "url"
    return error


def file_info(row: tuple[int, int, int, int, int]) -> FileInfo:
    """A file as the native side reports it: level, first and last TXID, size in bytes, milliseconds."""
    level, min_txid, max_txid, size, created_ms = row
    return FileInfo(level, TXID(min_txid), TXID(max_txid), size, from_millis(created_ms))
