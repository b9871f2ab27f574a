"""A replica in an object store of any kind."""

from __future__ import annotations

import bisect
import contextlib
import io
import itertools
import re
from typing import TYPE_CHECKING, BinaryIO

from ltxcore._process.times import argument_error
from ltxcore.clients._client import ReplicaClient
from ltxcore.clients._transfer import (
    PAUSES,
    Name,
    Reader,
    Upload,
    again,
    found,
    is_transient,
    listed,
    pause,
    seekable,
)
from ltxcore.errors import (
    FormatError,
    LTXFileExistsError,
    LTXFileNotFoundError,
    ObjectExistsError,
    ObjectNotFoundError,
    ReplicaError,
)
from ltxcore.ltx import HEADER_SIZE, SNAPSHOT_LEVEL, TXID, FileInfo, Header, format_filename, parse_filename
from ltxcore.stores import MAX_KEY, MAX_PART

if TYPE_CHECKING:
    from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ltxcore.stores import Capabilities, ObjectInfo, ObjectStore, SignedURL

__all__ = ["ObjectReplicaClient"]

#: How many headers are asked for at once.
_HEADERS = 64
#: How many objects are deleted at once.
_DELETIONS = 1000
#: So many foreign objects in a row between the folders of two levels are listed before a new listing begins behind them.
_STRANGERS = 1000
#: The least that is asked of a store's reader at once, in bytes.
_BUFFER_SIZE = 1 << 16

#: Parts that end with a slash each, as keys have them.
_PREFIX = re.compile(r"(?:(?!\.{1,2}/)[^/\x00-\x1f\x7f\ud800-\udfff]+/)*")


#: The folder of a level below the prefix, as Litestream names it in most storages, and in those of two types.
_FOLDER = "ltx/{level}/"
_FOLDERS = {"s3": "000{level}/", "oss": "000{level}/"}
#: What the keys of a replica have behind its prefix, in bytes.
_KEY_SIZE = len(_FOLDER.format(level=0) + format_filename(1, 1))


def _is_too_long(prefix: str) -> bool:
    sizes = [len(part.encode()) for part in prefix.split("/")]
    return max(sizes) > MAX_PART or sum(sizes) + len(sizes) - 1 + _KEY_SIZE > MAX_KEY


def _file(level: int, info: ObjectInfo, folder: str) -> FileInfo | None:
    """The LTX file that an object in the folder of a level is, if its name is that of one."""
    try:
        low, high = parse_filename(info.key.removeprefix(folder))
    except FormatError:
        return None
    return FileInfo(level, low, high, info.size, info.modified) if 0 < low <= high else None


class ObjectReplicaClient(ReplicaClient):
    """LTX files in an object store, ``<prefix>ltx/<level>/<first>-<last>.ltx``.

    In stores whose ``type`` is ``s3`` or ``oss`` it is ``<prefix><level as four hexadecimal digits>/<first>-<last>.ltx``,
    and an empty prefix is ``/``. These are the layouts of Litestream. A request whose error says that it is ``transient``
    is made again, up to three times.

    Args:
        store: where the files are.
        prefix: what the keys of this replica begin with, such as ``"backups/app/"``; the ``/`` at the end may be left out. Each
            replica in a store needs a prefix of its own.

    Raises:
        ConfigError: no key can begin with ``prefix``.
    """

    def __init__(self, store: ObjectStore, prefix: str = "") -> None:
        if prefix and not prefix.endswith("/"):
            prefix += "/"
        if _PREFIX.fullmatch(prefix) is None or _is_too_long(prefix):
            raise argument_error(
                "prefix", f"not a prefix of a replica: {prefix!r}", "write it like backups/app/"
            )
        self.store = store
        self.prefix = prefix
        # Of the store, not of this class.
        self.type = store.type  # type: ignore[misc]
        self._levels = _FOLDERS.get(store.type, _FOLDER)
        self._root = "/" if not prefix and store.type in _FOLDERS else prefix

    def __repr__(self) -> str:
        return f"ObjectReplicaClient({self.store!r}, {self.prefix!r})"

    @property
    def identity(self) -> tuple[Hashable, str]:
        """See :attr:`ReplicaClient.identity`: the store and the prefix."""
        return self.store.identity, self.prefix

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]  # the store may find out while it connects
        """What the store can do."""
        return self.store.capabilities

    def ltx_files(
        self, level: int, *, seek: TXID = TXID(0), use_metadata: bool = False
    ) -> Iterator[FileInfo]:
        """See :meth:`ReplicaClient.ltx_files`. Headers are read only if the store does not keep times."""
        files = self._listed(level, TXID(seek))
        if use_metadata and not self.capabilities.keeps_time:
            return self._with_times(files)
        return files

    def all_ltx_files(self, *, use_metadata: bool = False) -> Iterator[FileInfo]:
        """See :meth:`ReplicaClient.all_ltx_files`. One listing: the folders of the levels lie side by side."""
        if type(self).ltx_files is not ObjectReplicaClient.ltx_files or "ltx_files" in vars(self):
            # Somebody has files listed in another way, and knows nothing of this one.
            return super().all_ltx_files(use_metadata=use_metadata)
        files = self._all_listed()
        if use_metadata and not self.capabilities.keeps_time:
            return self._with_times(files)
        return files

    def requests_sent(self) -> Mapping[str, int] | None:
        """See :meth:`ReplicaClient.requests_sent`: the requests of the store."""
        return self.store.requests_sent()

    def open_ltx_file(
        self, level: int, min_txid: TXID, max_txid: TXID, *, offset: int = 0, size: int | None = None
    ) -> BinaryIO:
        """See :meth:`ReplicaClient.open_ltx_file`. Memory does not grow with the file, if it does not in the store."""
        return self._open(Name(level, min_txid, max_txid), offset, size)

    def read_ltx_file(
        self, level: int, min_txid: TXID, max_txid: TXID, *, offset: int = 0, size: int | None = None
    ) -> bytes:
        """See :meth:`ReplicaClient.read_ltx_file`."""
        name = Name(level, min_txid, max_txid)
        with found(self.store, name):
            return again(lambda: self.store.read(self._key(name), offset=offset, size=size))

    def write_ltx_file(self, level: int, min_txid: TXID, max_txid: TXID, data: BinaryIO) -> FileInfo:
        """See :meth:`ReplicaClient.write_ltx_file`. A snapshot may be replaced; below level 9 no file is.

        Data that cannot be seeked goes through a temporary file.

        Raises:
            FormatError: ``data`` is no LTX file of these TXIDs.
            LTXFileExistsError: there is another file of these TXIDs.
            ReplicaError: the store has another number of bytes than ``data``.
        """
        name = Name(level, min_txid, max_txid)
        with seekable(data) as source:
            upload = Upload(source, name)
            self._publish(name, upload)
        return FileInfo(level, min_txid, max_txid, upload.size, upload.time)

    def locate(self, level: int, min_txid: TXID, max_txid: TXID) -> Path | SignedURL | None:
        """See :meth:`ReplicaClient.locate`."""
        return self.store.locate(self._key(Name(level, min_txid, max_txid)))

    def object_place(self) -> tuple[ObjectStore, str] | None:
        """See :meth:`ReplicaClient.object_place`: the store and the prefix."""
        return self.store, self.prefix

    @property
    def level_folders(self) -> tuple[str, ...] | None:
        """See :attr:`ReplicaClient.level_folders`. ``None`` in S3 without a prefix, where keys begin with a slash."""
        if self._root != self.prefix:
            return None
        return tuple(self._levels.format(level=level).rstrip("/") for level in range(SNAPSHOT_LEVEL + 1))

    def write_object(self, name: str, data: bytes) -> None:
        """See :meth:`ReplicaClient.write_object`."""
        again(lambda: super(ObjectReplicaClient, self).write_object(name, data))

    def delete_ltx_files(self, files: Iterable[FileInfo]) -> None:
        """See :meth:`ReplicaClient.delete_ltx_files`."""
        keys = (self._key(Name(file.level, file.min_txid, file.max_txid)) for file in files)
        while batch := list(itertools.islice(keys, _DELETIONS)):
            self._delete(batch)

    def delete_all(self) -> None:
        """Delete everything in the folders of all levels. What else is below the prefix stays."""
        for level in range(SNAPSHOT_LEVEL + 1):
            self._delete_level(level)

    def _delete_level(self, level: int) -> None:
        folder, last = self._folder(level), ""
        while True:
            # Listed anew from there, so that no store has to list and to delete at the same time.
            others = (info.key for info in listed(self.store, folder, last) if info.key != last)
            keys = list(itertools.islice(others, _DELETIONS))
            if not keys:
                return
            self._delete(keys)
            last = keys[-1]

    def init(self) -> None:
        """Connect to the store and check access."""
        again(self.store.init)

    def change_token(self) -> object | None:
        """See :meth:`ReplicaClient.change_token`: the token of the store."""
        return again(self.store.change_token)

    def close(self) -> None:
        """Let go of the store's connections."""
        self.store.close()

    def _key(self, name: Name) -> str:
        return self._folder(name.level) + format_filename(name.min_txid, name.max_txid)

    def _folder(self, level: int) -> str:
        return self._root + self._levels.format(level=level)

    def _open(self, name: Name, offset: int = 0, size: int | None = None) -> BinaryIO:
        raw = Reader(self.store, self._key(name), name, offset, size)
        return io.BufferedReader(raw, _BUFFER_SIZE)

    def _listed(self, level: int, seek: TXID) -> Iterator[FileInfo]:
        folder = self._folder(level)
        for info in listed(self.store, folder, f"{folder}{seek}"):
            file = _file(level, info, folder)
            if file is not None:
                yield file

    def _all_listed(self) -> Iterator[FileInfo]:
        """All levels by one listing, which ends behind the last of them: other replicas may lie below the same prefix."""
        folders = [self._folder(level) for level in range(SNAPSHOT_LEVEL + 1)]
        level: int | None = 0
        while level is not None:
            level = yield from self._listed_from(folders, level)

    def _listed_from(self, folders: list[str], first: int) -> Generator[FileInfo, None, int | None]:
        """The files of the levels from ``first`` on, or the level where another listing has to begin."""
        strangers, common = 0, self._root + self._levels.partition("{")[0]
        # From a name on: SeaweedFS takes a folder that a listing begins behind to be over.
        for info in listed(self.store, common, f"{folders[first]}{TXID(0)}"):
            level = bisect.bisect(folders, info.key) - 1
            folder = folders[level]
            if level >= 0 and info.key.startswith(folder):
                strangers, first = 0, level
                file = _file(level, info, folder)
                if file is not None:
                    yield file
            elif level == SNAPSHOT_LEVEL:
                return None
            else:
                strangers += 1
                # Only to what was not listed yet: a store may list the folder "a" before "a-b", against the order of bytes.
                if strangers > _STRANGERS and level >= first:
                    return level + 1
        return None

    def _with_times(self, files: Iterator[FileInfo]) -> Iterator[FileInfo]:
        """The same files with the times of their headers; those that are gone by now are left out."""
        while batch := list(itertools.islice(files, _HEADERS)):
            for file, start in zip(batch, self._starts(batch), strict=True):
                if start is None:
                    continue
                try:
                    created_at = Header.parse(start).timestamp
                except FormatError:
                    # It is there all the same, and whoever reads it will see.
                    created_at = file.created_at
                yield FileInfo(file.level, file.min_txid, file.max_txid, file.size, created_at)

    def _starts(self, files: list[FileInfo]) -> Sequence[bytes | None]:
        """The first bytes of each file, ``None`` for those that are gone."""
        keys = [self._key(Name(file.level, file.min_txid, file.max_txid)) for file in files]
        try:
            return self.store.read_many([(key, 0, HEADER_SIZE) for key in keys])
        except Exception as error:
            if not isinstance(error, ObjectNotFoundError) and not is_transient(error):
                raise
        # One of many has failed, so each is asked for by itself.
        return [self._start(key) for key in keys]

    def _start(self, key: str) -> bytes | None:
        with contextlib.suppress(ObjectNotFoundError):
            return again(lambda: self.store.read(key, size=HEADER_SIZE))
        return None

    def _publish(self, name: Name, upload: Upload) -> None:
        """Store a file, or find that it is stored."""
        is_claim = name.level < SNAPSHOT_LEVEL
        is_atomic = self.capabilities.creates_if_absent
        if is_claim and not is_atomic and self._has(name, upload):
            return
        try:
            stored = self._write(name, upload, if_absent=is_claim and is_atomic)
        except ObjectExistsError as error:
            if self._has(name, upload):
                return
            message = "a file was in the way, which is gone now"
            raise name.error(ReplicaError, message, self.store, transient=True) from error
        if stored.size != upload.size:
            message = f"the store has {stored.size} of {upload.size} bytes"
            raise name.error(ReplicaError, message, self.store)

    def _write(self, name: Name, upload: Upload, *, if_absent: bool) -> ObjectInfo:
        def write() -> ObjectInfo:
            upload.rewind()
            return self.store.write(self._key(name), upload.data, if_absent=if_absent, time=upload.time)

        return again(write)

    def _has(self, name: Name, upload: Upload) -> bool:
        """Whether the store has the file already.

        Raises:
            LTXFileExistsError: it has another one of these TXIDs.
        """
        key = self._key(name)
        info = next(listed(self.store, key, key), None)
        if info is None or info.key != key:
            return False
        try:
            if info.size == upload.size:
                with self._open(name) as stored:
                    if upload.is_same(stored):
                        return True
        except LTXFileNotFoundError:
            return False
        hint = "only one process may replicate to a destination"
        message = "another writer stored a different file"
        raise name.error(LTXFileExistsError, message, self.store, hint=hint)

    def _delete(self, keys: list[str]) -> None:
        pauses = iter(PAUSES)
        while keys:
            try:
                failed = self.store.delete(keys)
            except Exception as error:
                if not pause(error, pauses):
                    raise
                continue
            keys = list(failed)
            # The first that does not go away by itself, if there is one.
            errors = sorted(failed.values(), key=is_transient)
            if errors and not pause(errors[0], pauses):
                raise errors[0]
