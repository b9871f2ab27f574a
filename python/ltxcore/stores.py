"""Object stores: named bytes in any storage, below the layouts that a replica has in it.

:class:`ObjectStore` is what to implement for a storage of your own: an S3 bucket, an SFTP server, a table of a database. It
knows nothing of LTX. :class:`ltxcore.clients.objects.ObjectReplicaClient` keeps a replica in it.
:class:`ltxcore.testing.ObjectStoreContract` tests whether a store keeps the promises below.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Self

from ltxcore._ltxcore import RequestCounter

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from _typeshed import WriteableBuffer

__all__ = [
    "BLOCK_SIZE",
    "Capabilities",
    "HTTPOptions",
    "ObjectInfo",
    "ObjectStore",
    "RequestCounter",
    "SignedURL",
    "Version",
]

#: The most bytes that the reader of :meth:`ObjectStore.open` asks for at once, and holds.
BLOCK_SIZE = 1 << 20
# The longest key and the longest part of one, in bytes of UTF-8.
MAX_KEY, MAX_PART = 1024, 255


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object, as a listing shows it.

    ``size`` is in bytes. ``modified`` is an aware time: the one given to ``write`` where the store keeps it
    (:attr:`Capabilities.keeps_time`), otherwise when the object was written.
    """

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class HTTPOptions:
    """How URLs of a store are read. What is ``None`` is as the environment says.

    Options that are equal share connections.
    """

    #: Whether certificates are verified.
    verify: bool = True
    #: A file of trusted certificates in PEM, in place of those that Mozilla trusts. ``None``: the file that ``AWS_CA_BUNDLE``,
    #: ``REQUESTS_CA_BUNDLE`` or ``SSL_CERT_FILE`` names, the first that is set.
    ca_bundle: Path | None = None
    #: The URL of an HTTP proxy, or ``""`` for none. ``None``: as ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and
    #: ``NO_PROXY`` say. ``repr()`` does not show it, as it may hold a password.
    proxy: str | None = field(default=None, repr=False)
    #: How long connecting may take, in seconds.
    connect_timeout: float = 10.0
    #: How long the server may send nothing, in seconds.
    stall_timeout: float = 30.0
    #: Counts the requests.
    counter: RequestCounter | None = None


@dataclass(frozen=True, slots=True)
class SignedURL:
    """A URL from which one object can be read with HTTP range requests, by whoever has it, until ``expires_at``.

    ``headers`` have to be sent with each request. Neither is shown by ``repr()``, as both may hold secrets.
    ``expires_at`` is an aware time. Another URL is asked for when half of the time until then is over.
    ``options`` say how to connect.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    expires_at: datetime
    options: HTTPOptions = HTTPOptions()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do. The layouts above ask this, never what kind of store it is."""

    #: ``write(if_absent=True)`` is decided by the storage itself: of several writers at once exactly one succeeds. A store
    #: that cannot do this is never asked to; the layouts look first and write then.
    creates_if_absent: bool = False
    #: A listing shows the time given to ``write``, to the millisecond, for every object. Leave it false if objects also come
    #: there in other ways, by a copy that does not keep times for one: then times are read from the objects themselves.
    keeps_time: bool = False
    #: A request costs next to nothing, in time and in money: the objects are in memory or on a disk of this machine.
    is_local: bool = False
    #: ``read_version``, ``write_version`` and ``delete_version`` work, and the storage itself decides: of several writers that
    #: have seen the same version exactly one succeeds. A lease needs this.
    replaces_if_unchanged: bool = False
    #: Nothing can be written or deleted: whatever would do that raises :class:`~ltxcore.errors.ReplicaReadOnlyError`.
    is_read_only: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """What is under one key at one moment. It is for small objects that several processes change in turn.

    ``data`` are the bytes of the object. ``tag`` tells this version from every other one with different bytes. Both are
    ``None`` if there is no object. ``answered_at`` is an aware time: when the storage answered, by its own clock. It is
    ``None`` if the storage does not say.
    """

    data: bytes | None
    tag: str | None
    answered_at: datetime | None = None


class ObjectStore(ABC):
    """A storage that holds whole objects under keys.

    A key is a text of parts with ``/`` between them. No part is empty, ``.`` or ``..``, and there are no control characters.
    Keys have up to 1,024 bytes in UTF-8, parts up to 255. No key is another one with ``/`` and more behind it.

    The methods may be called from several threads at once. What ``write`` and ``delete`` have returned for is seen by every
    later call, and what any call has seen is durable.

    Errors are :class:`~ltxcore.errors.ReplicaError` and its subclasses, or whatever the library behind the store raises. An
    error with the attribute ``transient`` is believed. If it is true, the same request is made again, after a short pause and a
    few times at most. The request that failed may have been carried out all the same.
    """

    #: The kind of storage, one short word. Messages show it.
    type: ClassVar[str] = "custom"

    #: What the store can do. An instance may have its own.
    capabilities: Capabilities = Capabilities()

    @property
    def identity(self) -> Hashable:
        """What stores have in common if they hold the same objects. See :attr:`ReplicaClient.identity`."""
        return id(self)

    @abstractmethod
    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        """The objects whose keys begin with ``prefix``, ascending by the bytes of the UTF-8 keys, as ``sorted()`` has them.

        An object that comes or goes while the listing is read may be part of it or not; all others are.

        Args:
            prefix: a text, which need not end with ``/``. With an empty one, everything is listed.
            start: the whole key where the listing begins. A key that is equal to it is part of the listing.
        """

    @abstractmethod
    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Bytes of one object: ``size`` of them from ``offset`` on, or all to the end.

        The result is shorter than ``size`` only where the object ends, and empty from there on.

        Raises:
            ObjectNotFoundError: there is no such object.
        """

    @abstractmethod
    def write(
        self, key: str, data: BinaryIO, *, if_absent: bool = False, time: datetime | None = None
    ) -> ObjectInfo:
        """Store what ``data`` yields as one object, which is whole and durable on return, in place of an older one.

        Where that fails, and where reading ``data`` raises, nothing is stored, and an older object stays as it is.

        Args:
            key: the key.
            data: a binary file object that can be seeked, read from where it stands to its end. It stays open.
            if_absent: do not replace an object. Used only if :attr:`Capabilities.creates_if_absent` is true.
            time: an aware time that the object should have in listings, see :attr:`Capabilities.keeps_time`.

        Returns:
            The object as a listing shows it. Where the store does not keep times, ``modified`` may be off by some seconds.

        Raises:
            ObjectExistsError: there is such an object, and ``if_absent`` is true.
        """

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> dict[str, Exception]:
        """Delete objects, as many as there are ``keys``. One that is not there is no failure.

        Returns:
            What went wrong, for each key whose object could not be deleted; empty if all are gone.
        """

    def read_version(self, key: str) -> Version:
        """The present version of a small object, of 64 KiB at most.

        This method and the next two are used only if :attr:`Capabilities.replaces_if_unchanged` is true. They should end
        within seconds, whether or not they succeed.
        """
        raise self._without_versions(key)

    def write_version(self, key: str, data: bytes, *, tag: str | None) -> Version:
        """Store ``data`` if the present version is the one with this ``tag``; with ``None``, if there is no object.

        Returns:
            The new version.

        Raises:
            ObjectExistsError: ``tag`` is ``None``, and there is such an object.
            ObjectChangedError: there is another version, or no object.
        """
        raise self._without_versions(key)

    def delete_version(self, key: str, *, tag: str) -> None:
        """Delete an object if its present version is the one with this ``tag``. One that is not there is no failure.

        Raises:
            ObjectChangedError: there is another version.
        """
        raise self._without_versions(key)

    def _without_versions(self, key: str) -> NotImplementedError:
        return NotImplementedError(f"a store of the type {self.type} cannot compare versions: {key}")

    def read_many(self, requests: Sequence[tuple[str, int, int]]) -> Sequence[bytes]:
        """Answers to several :meth:`read`, in their order. By default one is made after the other.

        Args:
            requests: a key, an offset and a size in bytes each.

        Raises:
            ObjectNotFoundError: one of the objects is not there.
        """
        return [self.read(key, offset=offset, size=size) for key, offset, size in requests]

    def open(self, key: str, *, offset: int = 0, size: int | None = None) -> BinaryIO:
        """A reader of one object, from byte ``offset`` on, of ``size`` bytes or to the end.

        By default it reads block after block with :meth:`read`, so that memory does not grow with the object.

        Raises:
            ObjectNotFoundError: there is no such object. Reading from the result may raise this, too.
        """
        raw = _BlockReader(self, key, offset, size)
        reader = io.BufferedReader(raw, BLOCK_SIZE if size is None else min(max(size, 1), BLOCK_SIZE))
        # Finds out now whether the object is there.
        reader.peek()
        return reader

    def locate(self, key: str) -> Path | SignedURL | None:
        """Where the object can be read without the store: a file of this machine, or a URL; ``None`` if nowhere.

        Objects are read there without Python. A class that overrides :meth:`read` or :meth:`open` of another, and not this
        method, is not asked: its bytes may be others.
        """
        return None

    def requests_sent(self) -> Mapping[str, int] | None:
        """How many requests were sent, repetitions included, by the name of the operation; ``None`` if nobody counts them."""
        return None

    def change_token(self) -> object | None:
        """A value that is another one once objects have come or gone, or ``None`` where that costs a request.

        Raises:
            ReplicaError: the storage is not reachable any more.
        """
        return None

    def init(self) -> None:  # noqa: B027 - an optional step, not a forgotten one
        """Connect and check access. May be called often; does nothing the second time."""

    def close(self) -> None:  # noqa: B027 - as for init
        """Let go of connections. The store may be used again, and connects again then."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _BlockReader(io.RawIOBase):
    """Reads an object in blocks, one request for each."""

    def __init__(self, store: ObjectStore, key: str, offset: int, size: int | None) -> None:
        super().__init__()
        self._store = store
        self._key = key
        self._offset = offset
        self._rest = size
        self._is_at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        wanted = min(len(target), BLOCK_SIZE)
        if self._rest is not None:
            wanted = min(wanted, self._rest)
        if self._is_at_end or not wanted:
            return 0
        block = self._store.read(self._key, offset=self._offset, size=wanted)
        target[: len(block)] = block
        self._offset += len(block)
        if self._rest is not None:
            self._rest -= len(block)
        # A read is short only where the object ends: that saves the request that would find nothing more.
        self._is_at_end = len(block) < wanted
        return len(block)

    def readall(self) -> bytes:
        """All that is left. The base class would ask for a few kilobytes at a time."""
        blocks = []
        buffer = bytearray(BLOCK_SIZE)
        while count := self.readinto(buffer):
            blocks.append(bytes(memoryview(buffer)[:count]))
        return b"".join(blocks)
