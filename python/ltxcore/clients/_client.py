"""The interface of a replica client."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Self

from ltxcore._process.times import argument_error
from ltxcore.ltx import SNAPSHOT_LEVEL, TXID, FileInfo
from ltxcore.stores import Capabilities

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    from ltxcore.stores import ObjectStore, SignedURL


class ReplicaClient(ABC):
    """One place in one storage that holds the LTX files of one database.

    The methods may be called from several threads at once. They raise what suits them: an exception leaves restore,
    compaction or upload as it was raised. A file that is not there is an
    :class:`~ltxcore.errors.LTXFileNotFoundError`. An exception with the attribute ``transient`` is believed: a restore reads
    once more if it is true, and does not if it is false.

    ``ltxcore.testing.ReplicaClientContract`` tests whether a client keeps the promises below.
    """

    #: The kind of storage, one short word. Messages show it.
    type: ClassVar[str] = "custom"

    #: What the storage can do. Whoever uses a client asks this, never for its class.
    capabilities: Capabilities = Capabilities()

    @abstractmethod
    def ltx_files(
        self, level: int, *, seek: TXID = TXID(0), use_metadata: bool = False
    ) -> Iterator[FileInfo]:
        """The LTX files of one level whose first TXID is ``seek`` or above, ascending.

        Args:
            level: 0 to 9.
            seek: the lowest first TXID that is of interest.
            use_metadata: ``created_at`` has to be the time in the file's header, whatever that costs; otherwise
                the time that the storage lists will do.

        Foreign names are skipped, and a level that does not exist is empty.
        """

    @abstractmethod
    def open_ltx_file(
        self, level: int, min_txid: TXID, max_txid: TXID, *, offset: int = 0, size: int | None = None
    ) -> BinaryIO:
        """A reader of one LTX file, from byte ``offset`` on, of ``size`` bytes or to the end.

        Raises:
            LTXFileNotFoundError: there is no such file.
        """

    @abstractmethod
    def write_ltx_file(self, level: int, min_txid: TXID, max_txid: TXID, data: BinaryIO) -> FileInfo:
        """Store what ``data`` yields as one LTX file, which must be whole and durable on return.

        At level 0, where the storage can tell, a different file under the same TXIDs must not be replaced but
        raise :class:`~ltxcore.errors.LTXFileExistsError`; an identical one counts as success.

        Returns:
            The file as listed; ``created_at`` is the time in the file's header.
        """

    @abstractmethod
    def delete_ltx_files(self, files: Iterable[FileInfo]) -> None:
        """Delete these files. Those that are not there are not an error."""

    @abstractmethod
    def delete_all(self) -> None:
        """Delete everything under the client's place in the storage."""

    @property
    def identity(self) -> Hashable:
        """What clients of the same replica have in common: two databases must not replicate to it.

        By default it is a number of this object. Restores are resumed, and cached, only if it has no number in it.
        """
        return id(self)

    def init(self) -> None:  # noqa: B027 - an optional step, not a forgotten one
        """Connect and check access. May be called often; does nothing the second time."""

    def all_ltx_files(self, *, use_metadata: bool = False) -> Iterator[FileInfo]:
        """The LTX files of all levels, from level 0 up, each ascending; see :meth:`ltx_files`.

        By default every level is listed by itself. Override this method where one request can list several.
        """
        # No generator, which would hide what a listing raises if that is StopIteration.
        levels = range(SNAPSHOT_LEVEL + 1)
        return iter([file for level in levels for file in self.ltx_files(level, use_metadata=use_metadata)])

    def requests_sent(self) -> Mapping[str, int] | None:
        """How many requests were sent, repetitions included, by the name of the operation; ``None`` if nobody counts them."""
        return None

    def change_token(self) -> object | None:
        """A value that is another one once LTX files have come or gone, or ``None`` where that costs a request.

        It is asked for before every answer about what is durable. Without one, the files are listed again now and then.

        Raises:
            ReplicaError: the place is not reachable any more.
        """
        return None

    def read_ltx_file(
        self, level: int, min_txid: TXID, max_txid: TXID, *, offset: int = 0, size: int | None = None
    ) -> bytes:
        """Bytes of one LTX file: ``size`` of them from ``offset`` on, or all to the end.

        Raises:
            LTXFileNotFoundError: there is no such file.
        """
        with self.open_ltx_file(level, min_txid, max_txid, offset=offset, size=size) as file:
            return file.read()

    def write_ltx_path(
        self, level: int, min_txid: TXID, max_txid: TXID, path: str | os.PathLike[str]
    ) -> FileInfo:
        """Store the local file ``path`` as one LTX file; see :meth:`write_ltx_file`."""
        with open(path, "rb") as data:
            return self.write_ltx_file(level, min_txid, max_txid, data)

    def locate(self, level: int, min_txid: TXID, max_txid: TXID) -> Path | SignedURL | None:
        """Where one LTX file can be read without the client: a file of this machine, or a URL; ``None`` if nowhere.

        Nothing is asked: whether the file is there, its reader will find out. Restores, compaction and followers read it there
        without Python, and use :meth:`open_ltx_file` if they are refused. A class that overrides :meth:`open_ltx_file` or
        :meth:`read_ltx_file` of another, and not this method, is not asked: its bytes may be others.
        """
        return None

    def object_place(self) -> tuple[ObjectStore, str] | None:
        """The object store of the replica, and what its keys begin with; ``None`` if the client is not made of one.

        What a replica holds beside LTX files is there, such as its lease.
        """
        return None

    @property
    def level_folders(self) -> tuple[str, ...] | None:
        """The folder of each level, 0 to 9, below the place of the replica; ``None`` if its files are not in such folders.

        A server of the files under this place has them there: see :meth:`Replica.write_listing`.
        """
        return None

    def write_object(self, name: str, data: bytes) -> None:
        """Store a small file beside the folders of the levels, in place of an older one: whole, or not at all.

        Raises:
            ConfigError: the client is not one of an object store or a directory.
        """
        place = self.object_place()
        if place is None:
            raise argument_error(
                "path", f"nothing but LTX files can be stored in {self!r}", "write it to a local file"
            )
        store, prefix = place
        store.write(f"{prefix}{name}", io.BytesIO(data))

    def copy_ltx_file(self, file: FileInfo, source: ReplicaClient) -> FileInfo:
        """Store a file of another replica under the same level and TXIDs; see :meth:`write_ltx_file`.

        Raises:
            LTXFileNotFoundError: the other replica has no such file.
        """
        name = file.level, file.min_txid, file.max_txid
        place = source.locate(*name)
        if isinstance(place, Path) and place.exists():
            return self.write_ltx_path(*name, place)
        with source.open_ltx_file(*name) as data:
            return self.write_ltx_file(*name, data)

    def close(self) -> None:  # noqa: B027 - as for init
        """Let go of connections. The client may be used again, and connects again then."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
