"""The files of a web server as an object store that cannot be written, nor listed."""

from __future__ import annotations

import contextlib
import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO, ClassVar, NoReturn

from ltxcore import _ltxcore
from ltxcore.clients import _located
from ltxcore.clients.http._spools import Spools
from ltxcore.errors import ObjectNotFoundError, ReplicaError, ReplicaReadOnlyError
from ltxcore.stores import BLOCK_SIZE, Capabilities, HTTPOptions, ObjectStore, RequestCounter, SignedURL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from _typeshed import WriteableBuffer

    from ltxcore.clients.http._address import Address
    from ltxcore.stores import ObjectInfo

#: How long a URL is used before it is asked for again. It does not expire.
_LIFE = timedelta(days=1)
#: The largest listing, in bytes: that of some 400,000 files.
MAX_LISTING = 64 << 20
#: The largest directory page, in bytes: of more files, a listing is needed.
MAX_PAGE = 8 << 20
#: How much is asked of a body at once, in bytes.
_PIECE = 1 << 18


class HTTPStore(ObjectStore):
    """The files below one URL. Keys are paths below it.

    Args:
        address: the URL.
        options: how to connect. What counts the requests is this store's own counter, if there is none.
    """

    type: ClassVar[str] = "http"
    capabilities = Capabilities(keeps_time=True, is_read_only=True)

    def __init__(self, address: Address, options: HTTPOptions) -> None:
        self.address = address
        self._counter = options.counter or RequestCounter()
        self._options = HTTPOptions(
            options.verify,
            options.ca_bundle,
            options.proxy,
            options.connect_timeout,
            options.stall_timeout,
            self._counter,
        )
        self._has_ranges = True
        self._spools = Spools()

    def __repr__(self) -> str:
        return f"HTTPStore({self.address.url!r})"

    @property
    def identity(self) -> tuple[str, str]:
        """See :attr:`ObjectStore.identity`: the URL, and a digest of its user and its parameters."""
        return self.type, self.address.identity

    def requests_sent(self) -> Mapping[str, int]:
        """See :meth:`ObjectStore.requests_sent`."""
        return {"GET": self._counter.requests}

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        """A web server cannot list by prefix.

        Raises:
            ReplicaError: always.
        """
        raise ReplicaError(f"a web server cannot be listed: {self.address.url}", op="list", transient=False)

    def page(self, key: str) -> bytes:
        """All of the listing or of a directory page, as new as the server has it.

        Raises:
            ObjectNotFoundError: there is none.
            ReplicaError: it is too large.
        """
        most = MAX_PAGE if not key or key.endswith("/") else MAX_LISTING
        with self._about("list", key), self._ask(key, fresh=True) as reader:
            data = io.BufferedReader(reader, BLOCK_SIZE).read(most + 1)
        if len(data) > most:
            what = "listing" if most == MAX_LISTING else "directory page"
            message = f"a {what} of more than {most} bytes: {self.address.shown(key)}"
            hint = "publish a listing with: ltxcore listing REPLICA" if most == MAX_PAGE else None
            raise ReplicaError(message, op="list", hint=hint, transient=False)
        return data

    def head(self, key: str, size: int) -> tuple[bytes, int]:
        """The first bytes of a file, and how many it has in all.

        Raises:
            ObjectNotFoundError: there is no such file.
            ReplicaError: the server does not say how many.
        """
        with self._about("list", key), self._ask(key, size=size) as reader:
            data, total = io.BufferedReader(reader, size).read(size), reader.total
        if total is None:
            message = f"the server does not say how large the file is: {self.address.shown(key)}"
            hint = "publish a listing with: ltxcore listing REPLICA"
            raise ReplicaError(message, op="list", hint=hint, transient=False)
        self._spools.check(key, total)
        return data, total

    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """See :meth:`ObjectStore.read`."""
        with self.open(key, offset=offset, size=size) as body:
            return body.read()

    def open(self, key: str, *, offset: int = 0, size: int | None = None) -> BinaryIO:
        """See :meth:`ObjectStore.open`. Of a server without byte ranges, the whole file goes to a temporary file first."""
        with self._about("read", key):
            if size == 0:
                self._ask(key, size=1).close()
                return io.BytesIO()
            if self._has_ranges or not offset:
                reader = self._try(key, offset, size)
                if reader is not None:
                    return io.BufferedReader(reader, BLOCK_SIZE)
                self._has_ranges = False
            return self._spools.open(key, lambda file: self._download(key, file), offset, size)

    def write(
        self, key: str, data: BinaryIO, *, if_absent: bool = False, time: datetime | None = None
    ) -> ObjectInfo:
        """Nothing is ever written.

        Raises:
            ReplicaReadOnlyError: always.
        """
        self.refuse("write")

    def delete(self, keys: Iterable[str]) -> dict[str, Exception]:
        """Nothing is ever deleted.

        Raises:
            ReplicaReadOnlyError: always.
        """
        self.refuse("delete")

    def refuse(self, op: str) -> NoReturn:
        """Refuse to change anything.

        Raises:
            ReplicaReadOnlyError: always.
        """
        raise read_only(self.address.url, op)

    def locate(self, key: str) -> SignedURL | None:
        """See :meth:`ObjectStore.locate`. ``None`` as soon as it is known that the server has no byte ranges."""
        return self._signed(key) if self._has_ranges else None

    def close(self) -> None:
        """Let temporary files go. Connections are those of the process."""
        self._spools.close()

    def _signed(self, key: str, *, fresh: bool = False) -> SignedURL:
        headers = dict(self.address.headers)
        if fresh:
            headers.setdefault("Cache-Control", "no-cache")
        return SignedURL(self.address.of(key), headers, datetime.now(UTC) + _LIFE, self._options)

    def _ask(self, key: str, *, size: int | None = None, fresh: bool = False) -> _Body:
        reader = _ltxcore.open_url(_located.signed(self._signed(key, fresh=fresh)), 0, size)
        # From its beginning, an object can be read in any case.
        assert reader is not None  # noqa: S101
        return _Body(self, key, reader)

    def _try(self, key: str, offset: int, size: int | None) -> _Body | None:
        reader = _ltxcore.open_url(_located.signed(self._signed(key)), offset, size)
        return None if reader is None else _Body(self, key, reader)

    def _download(self, key: str, file: BinaryIO) -> None:
        with self._ask(key) as reader:
            while piece := reader.read(_PIECE):
                file.write(piece)

    @contextlib.contextmanager
    def _about(self, op: str, key: str) -> Iterator[None]:
        """Errors say which file they are about."""
        try:
            yield
        except ReplicaError as error:
            if error.client_type is None:
                error.client_type, error.op = self.type, op
                error.args = (f"{error}: {self.address.shown(key)}",)
                if isinstance(error, ObjectNotFoundError):
                    error.key = key
            raise


def read_only(place: str, op: str) -> ReplicaReadOnlyError:
    """The error about a write to a web server."""
    error = ReplicaReadOnlyError(
        f"a replica on a web server is read-only: {place}",
        op=op,
        hint="write to the storage behind the server: a directory, or s3://BUCKET/PATH",
    )
    error.client_type = HTTPStore.type
    return error


class _Body(io.RawIOBase):
    """What a server sends."""

    def __init__(self, store: HTTPStore, key: str, reader: _ltxcore.URLReader) -> None:
        super().__init__()
        self._store = store
        self._key = key
        self._reader = reader
        self.total = reader.total

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        with self._store._about("read", self._key):
            piece = self._reader.read(min(len(target), _PIECE))
        target[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
        super().close()
