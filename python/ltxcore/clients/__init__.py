"""Replica clients: the code that talks to one kind of storage.

A replica client is a subclass of :class:`ReplicaClient` with five methods. An :class:`~ltxcore.stores.ObjectStore` has four
methods and knows nothing of LTX; most storages need no more. An installed package announces its client with an entry point in
the group ``ltxcore.replica_clients``, named after the URL scheme. The object of the entry point is called with the URL and the
options, and returns the client.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Self, TypeAlias
from urllib.parse import parse_qsl

from ltxcore.errors import ConfigError
from ltxcore.ltx import TXID, FileInfo
from ltxcore.stores import Capabilities, ObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator

__all__ = ["ENTRY_POINT_GROUP", "ReplicaClient", "Source", "as_client", "client_from_url", "url_parameters"]

#: Where installed packages announce clients for further URL schemes.
ENTRY_POINT_GROUP = "ltxcore.replica_clients"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


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
        """What clients of the same replica in this process have in common: two databases must not replicate to it."""
        return id(self)

    def init(self) -> None:  # noqa: B027 - an optional step, not a forgotten one
        """Connect and check access. May be called often; does nothing the second time."""

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

    def close(self) -> None:  # noqa: B027 - as for init
        """Let go of connections. The client may be used again, and connects again then."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


#: A replica: its client, the object store that it is in, its URL, or the path of its directory. A ``str`` with ``://`` is a
#: URL, any other one is a path.
Source: TypeAlias = ReplicaClient | ObjectStore | str | os.PathLike[str]


def client_from_url(url: str, **options: Any) -> ReplicaClient:  # noqa: ANN401 - each client has its own
    """A client for the storage that a URL such as ``file:///var/backups/app`` names.

    Args:
        url: scheme, ``://`` and what that scheme asks for.
        options: settings of the client in question, which win over those in the URL.

    Raises:
        ConfigError: the URL has no scheme, no client is installed for it, or it refuses the URL or an option.
    """
    if not url:
        raise _config_error(
            "the URL of the replica is empty", hint="if a variable stands there, it is not set"
        )
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise _config_error(
            f"a replica URL needs a scheme and two slashes: {url}",
            hint="write file:///path for a directory, or s3://bucket/path",
        )
    return _factory(scheme[1].lower())(url, **options)


def as_client(source: Source) -> ReplicaClient:
    """The client meant by a client, an object store, a URL or the path of a directory.

    Raises:
        ConfigError: see :func:`client_from_url`; or the path is empty, or a URL that has lost a slash.
    """
    if isinstance(source, ReplicaClient):
        return source
    if isinstance(source, str) and "://" in source:
        return client_from_url(source)
    if isinstance(source, ObjectStore):
        from ltxcore.clients.objects import ObjectReplicaClient  # the module there needs the class above

        return ObjectReplicaClient(source)
    from ltxcore.clients.file import FileClient  # as for that one

    return FileClient(source)


def url_parameters(url: str, known: Collection[str] = ()) -> dict[str, str]:
    """The parameters of a URL, which stand behind its ``?``, with percent escapes replaced.

    Args:
        url: the URL of a replica.
        known: the names that the client knows.

    Raises:
        ConfigError: another name is among them, or one of them twice. The hint says which name is meant.
    """
    pairs = parse_qsl(url.partition("?")[2], keep_blank_values=True)
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            import difflib  # slow to import, and of no use without a mistake

            near = difflib.get_close_matches(name, known, n=1)
            names = ", ".join(sorted(known))
            hint = f"did you mean {near[0]}?" if near else f"the parameters are {names}"
            raise _config_error(
                f"unknown parameter of the URL {url}: {name}",
                hint=hint if known else "this kind of URL has no parameters",
            )
        if name in found:
            raise _config_error(f"parameter given twice in the URL {url}: {name}", hint="give it once")
        found[name] = value
    return found


def _factory(scheme: str) -> Callable[..., ReplicaClient]:
    if scheme == "file":
        from ltxcore.clients.file import from_url

        return from_url
    # Slow to import, and not needed for a directory.
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINT_GROUP, name=scheme):
        factory: Callable[..., ReplicaClient] = entry.load()
        return factory
    raise _config_error(
        f"no replica client for the URL scheme {scheme!r}",
        hint=f"install a package that provides one in the entry point group {ENTRY_POINT_GROUP}",
    )


def _config_error(message: str, *, hint: str) -> ConfigError:
    error = ConfigError(message, op="open", hint=hint)
    error.key = "url"
    return error
