"""Requests to an object store that are made again, and LTX files on their way into a store and out of it."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import time
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar

from ltxcore.errors import FormatError, LTXFileNotFoundError, ObjectNotFoundError
from ltxcore.ltx import HEADER_SIZE, TXID, Header
from ltxcore.stores import BLOCK_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from _typeshed import WriteableBuffer

    from ltxcore.errors import ReplicaError
    from ltxcore.stores import ObjectInfo, ObjectStore

AnyReplicaError = TypeVar("AnyReplicaError", bound="ReplicaError")
T = TypeVar("T")

#: The pauses before a request is made again whose error says that this makes sense, in seconds.
PAUSES = (0.25, 0.5, 1.0)
#: How much of two files is compared at once, in bytes.
_COMPARED = 1 << 16


class Name(NamedTuple):
    """What names an LTX file."""

    level: int
    min_txid: TXID
    max_txid: TXID

    def __str__(self) -> str:
        return f"level {self.level}, transactions {self.min_txid}-{self.max_txid}"

    def error(
        self,
        kind: type[AnyReplicaError],
        message: str,
        store: ObjectStore,
        *,
        hint: str | None = None,
        transient: bool | None = None,
    ) -> AnyReplicaError:
        """An error about this file in a store."""
        error = kind(f"{message}: {self}", hint=hint, transient=transient, **self._asdict())
        error.client_type = store.type
        return error


def again(request: Callable[[], T]) -> T:
    """What a request returns, made a few times at most while its error says that this makes sense."""
    pauses = iter(PAUSES)
    while True:
        try:
            return request()
        except Exception as error:
            if not pause(error, pauses):
                raise


def listed(store: ObjectStore, prefix: str, start: str = "") -> Iterator[ObjectInfo]:
    """A listing that goes on where it failed for the moment."""
    pauses, last = iter(PAUSES), None
    while True:
        try:
            for info in store.list(prefix, start=start):
                if info.key != last:
                    start = last = info.key
                    pauses = iter(PAUSES)
                    yield info
            return
        except Exception as error:
            if not pause(error, pauses):
                raise


def pause(error: Exception, pauses: Iterator[float]) -> bool:
    """Wait before a request is made again; false if it should not be."""
    seconds = next(pauses, None) if is_transient(error) else None
    if seconds is None:
        return False
    time.sleep(seconds)
    return True


def is_transient(error: Exception) -> bool:
    """Whether an error says that the same request may succeed when it is made again."""
    return getattr(error, "transient", None) is True


class Reader(io.RawIOBase):
    """Reads an LTX file as the store's own reader does, and goes on where that failed for the moment.

    Raises:
        LTXFileNotFoundError: there is no such object; now, or while it is read.
    """

    def __init__(self, store: ObjectStore, key: str, name: Name, offset: int, size: int | None) -> None:
        super().__init__()
        self._store = store
        self._key = key
        self._name = name
        self._offset = offset
        self._rest = size
        self._source: BinaryIO | None = None
        # Finds out now whether the object is there.
        self._ask(lambda source: source.read(0))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        wanted = min(len(target), BLOCK_SIZE, len(target) if self._rest is None else self._rest)
        # One request at a time, if that can be had: what several have brought would be lost with the last one.
        block = self._ask(lambda source: getattr(source, "read1", source.read)(wanted))
        target[: len(block)] = block
        self._offset += len(block)
        if self._rest is not None:
            self._rest -= len(block)
        return len(block)

    def close(self) -> None:
        self._let_go()
        super().close()

    def _ask(self, read: Callable[[BinaryIO], bytes]) -> bytes:
        def request() -> bytes:
            try:
                if self._source is None:
                    self._source = self._store.open(self._key, offset=self._offset, size=self._rest)
                return read(self._source)
            except BaseException:
                self._let_go()
                raise

        with found(self._store, self._name):
            return again(request)

    def _let_go(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()


@contextlib.contextmanager
def found(store: ObjectStore, name: Name) -> Iterator[None]:
    """An object that is not there is an LTX file that is not there."""
    try:
        yield
    except ObjectNotFoundError as error:
        raise name.error(LTXFileNotFoundError, "no such LTX file", store) from error


class Upload:
    """A file to be stored.

    Args:
        data: a binary file object that can be seeked, where the LTX file begins.
        name: what the header of the file has to say.

    Raises:
        FormatError: it says something else.
    """

    def __init__(self, data: BinaryIO, name: Name) -> None:
        self.data = data
        self._start = data.tell()
        self.time = _time_in(read_full(data, HEADER_SIZE), name)
        self.size = data.seek(0, io.SEEK_END) - self._start

    def rewind(self) -> None:
        """Let the data be read from its beginning."""
        self.data.seek(self._start)

    def is_same(self, other: BinaryIO) -> bool:
        """Whether another file has the same bytes."""
        self.rewind()
        while True:
            block = read_full(self.data, _COMPARED)
            if block != read_full(other, _COMPARED):
                return False
            if not block:
                return True


def _time_in(start: bytes, name: Name) -> datetime:
    """The time in a header, which must be that of the file of this name."""
    try:
        header = Header.parse(start)
    except FormatError as error:
        error.level, error.min_txid, error.max_txid = name
        error.args = (f"damaged file: {name}: {error}",)
        raise
    if (header.min_txid, header.max_txid) == (name.min_txid, name.max_txid):
        return header.timestamp
    raise FormatError(
        f"{name} holds transactions {header.min_txid}-{header.max_txid}", op="write", **name._asdict()
    )


def read_full(file: BinaryIO, size: int) -> bytes:
    """``size`` bytes, fewer only where the file ends."""
    block = file.read(size)
    while block and len(block) < size and (more := file.read(size - len(block))):
        block += more
    return block


@contextlib.contextmanager
def seekable(data: BinaryIO) -> Iterator[BinaryIO]:
    """The same data as a file that can be seeked: itself, or a temporary file."""
    can_seek = getattr(data, "seekable", None)
    if can_seek is not None and can_seek():
        yield data
        return
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(data, spool, BLOCK_SIZE)
        spool.seek(0)
        yield spool
