"""A directory as an object store: a file for each object, named by its key."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from ltxcore._process.files import sync_dir
from ltxcore._process.times import from_millis, to_millis
from ltxcore.errors import ObjectExistsError, ObjectNotFoundError, ReplicaError, ReplicaPermissionError
from ltxcore.stores import BLOCK_SIZE, Capabilities, ObjectInfo, ObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: What a file is called before it has its name. No key of a replica begins like that.
_STAGED = ".ltxcore-staged-"
#: A staged file that nobody has written to for so long is left from a process that has died.
_STALE = timedelta(hours=1)
#: How often a directory is made again that others remove.
_ATTEMPTS = 100
_ABSENT = (errno.ENOENT, errno.ENOTDIR)


class DirectoryStore(ObjectStore):
    """Objects as files below ``path``, which need not exist. Files appear whole and durable, or not at all."""

    type: ClassVar[str] = "file"
    # Times are kept, too, but a directory may have been copied without them.
    capabilities = Capabilities(creates_if_absent=True, is_local=True)

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"DirectoryStore({os.fspath(self.path)!r})"

    @property
    def identity(self) -> str:
        """See :attr:`ObjectStore.identity`: the directory, without links."""
        return os.path.realpath(self.path)

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        """See :meth:`ObjectStore.list`. Only the folder that the prefix names is looked through."""
        folder, top = prefix.rpartition("/")[0], os.path.join(self.path, "")
        keys = (key for key in self._keys(folder) if key.startswith(prefix) and key >= start)
        for key in sorted(keys, key=os.fsencode):
            # Cheaper than a Path, where there are thousands.
            found = _stat(f"{top}{key}")
            if found is not None:
                yield _info(key, found)

    def _keys(self, folder: str) -> Iterator[str]:
        """The keys below a folder, in no order."""
        top = self.path / folder

        def failed(error: OSError) -> None:
            if error.errno not in _ABSENT:
                raise _refused("list", error) from error

        for directory, folders, names in os.walk(top, onerror=failed):
            relative = os.path.relpath(directory, self.path)
            beginning = "" if relative == "." else f"{relative}/"
            folders.sort()
            for name in names:
                if not name.startswith(_STAGED):
                    yield f"{beginning}{name}"

    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """See :meth:`ObjectStore.read`."""
        with self.open(key, offset=offset) as file:
            return file.read(-1 if size is None else size)

    def open(self, key: str, *, offset: int = 0, size: int | None = None) -> BinaryIO:
        """See :meth:`ObjectStore.open`."""
        if size is not None:
            return super().open(key, offset=offset, size=size)
        try:
            file = open(self.path / key, "rb")  # noqa: SIM115 - handed to the caller
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            missing = ObjectNotFoundError(f"no such object: {self.path / key}", op="read")
            missing.key = key
            raise missing from error
        except OSError as error:
            raise _refused("read", error) from error
        file.seek(offset)
        return file

    def write(
        self, key: str, data: BinaryIO, *, if_absent: bool = False, time: datetime | None = None
    ) -> ObjectInfo:
        """See :meth:`ObjectStore.write`. The directories have no rights for others, and nor have the files."""
        path = self.path / key
        with _staged(path) as staged:
            _copy(data, staged, time)
            found = staged.stat()
            _publish(staged, path, key, if_absent=if_absent)
        return _info(key, found)

    def delete(self, keys: Iterable[str]) -> dict[str, Exception]:
        """See :meth:`ObjectStore.delete`. Folders that are empty then go, too."""
        failed: dict[str, Exception] = {}
        folders = set()
        for key in keys:
            try:
                (self.path / key).unlink(missing_ok=True)
            except NotADirectoryError:
                continue
            except OSError as error:
                failed[key] = _refused("delete", error)
            folders.add(key.rpartition("/")[0])
        for folder in folders:
            self._remove_empty(folder)
        return failed

    def _remove_empty(self, folder: str) -> None:
        while folder:
            try:
                (self.path / folder).rmdir()
            except OSError:
                return
            folder = folder.rpartition("/")[0]

    def locate(self, key: str) -> Path:
        """See :meth:`ObjectStore.locate`."""
        return self.path / key

    def init(self) -> None:
        """Create the directory where it is missing.

        Raises:
            ReplicaError: it cannot be created.
        """
        try:
            _make_folder(self.path)
        except OSError as error:
            raise _refused("create the directory", error) from error


def _stat(path: str) -> os.stat_result | None:
    """What is there, if it is a file: no pipe, which nobody may ever write to, and no link that leads nowhere."""
    try:
        found = os.stat(path)
    except OSError as error:
        if error.errno in (*_ABSENT, errno.ELOOP):
            return None
        raise _refused("list", error) from error
    return found if stat.S_ISREG(found.st_mode) else None


def _info(key: str, found: os.stat_result) -> ObjectInfo:
    microseconds = found.st_mtime_ns // 1000
    modified = from_millis(microseconds // 1000) + timedelta(microseconds=microseconds % 1000)
    return ObjectInfo(key, found.st_size, modified)


@contextlib.contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """A new file beside ``path``, which is gone afterwards unless it was renamed."""
    try:
        name = _new_file(path.parent)
    except OSError as error:
        raise _refused("write", error) from error
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _new_file(folder: Path) -> str:
    for _ in range(_ATTEMPTS):
        # It may be empty, and removed by somebody who has deleted its last file.
        with contextlib.suppress(FileNotFoundError):
            return _try_new_file(folder)
    return _try_new_file(folder)


def _try_new_file(folder: Path) -> str:
    _make_folder(folder)
    _remove_stale(folder)
    descriptor, name = tempfile.mkstemp(prefix=_STAGED, dir=folder)
    os.close(descriptor)
    return name


def _copy(data: BinaryIO, staged: Path, time: datetime | None) -> None:
    """Fill a file, and make it durable. What reading ``data`` raises goes through."""
    with open(staged, "wb", buffering=0) as file:
        while block := data.read(BLOCK_SIZE):
            try:
                _write(file, block)
            except OSError as error:
                raise _refused("write", error) from error
        try:
            if time is not None:
                nanoseconds = to_millis(time) * 1_000_000
                os.utime(file.fileno(), ns=(nanoseconds, nanoseconds))
            os.fsync(file.fileno())
        except OSError as error:
            raise _refused("write", error) from error


def _write(file: BinaryIO, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[file.write(rest) :]


def _publish(staged: Path, path: Path, key: str, *, if_absent: bool) -> None:
    try:
        if if_absent:
            os.link(staged, path)
        else:
            os.replace(staged, path)
        sync_dir(path.parent)
    except FileExistsError as error:
        taken = ObjectExistsError(f"there is such an object: {path}", op="write")
        taken.key = key
        raise taken from error
    except OSError as error:
        raise _refused("write", error) from error


def _make_folder(folder: Path) -> None:
    """Make a directory and those above it, durably."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    sync_dir(folder.parent)


def _remove_stale(folder: Path) -> None:
    oldest = (datetime.now(UTC) - _STALE).timestamp()
    for path in folder.glob(f"{_STAGED}*"):
        with contextlib.suppress(OSError):
            # Its other time may be that of the object already.
            if path.stat().st_ctime < oldest:
                path.unlink()


def _refused(what: str, error: OSError) -> ReplicaError:
    kind = ReplicaPermissionError if isinstance(error, PermissionError) else ReplicaError
    path = os.fspath(error.filename) if error.filename else ""
    hint = None
    if kind is ReplicaPermissionError:
        hint = "run as a user who may use this directory, or give this user access to it"
    refused = kind(f"cannot {what} {path}: {error.strerror}", op=what, path=path, hint=hint)
    refused.errno = error.errno
    return refused
