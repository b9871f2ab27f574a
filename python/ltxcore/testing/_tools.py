"""What the contract suites need: exceptions that are expected, threads that start together, LTX files."""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from ltxcore.ltx import Encoder, Header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

#: Threads that do the same at once.
THREADS = 8
#: Longer than a thread of a suite ever takes, in seconds.
_LONG = 60.0
_PAGE_SIZE = 512
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: A time that needs milliseconds.
TIME = _EPOCH + timedelta(milliseconds=1_234_567_890_123)


@contextmanager
def raises(kind: type[BaseException]) -> Iterator[None]:
    """The block has to raise this."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"nothing raised {kind.__name__}")


class SourceFailed(Exception):  # noqa: N818 - it is what a caller's file raises, no error of ours
    """Raised by a :class:`BrokenSource`."""


class BrokenSource(io.BytesIO):
    """Yields the first half of what it is made of, then raises."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = len(self.getbuffer()) // 2 - self.tell()
        if left <= 0 or size is None or size < 0:
            raise SourceFailed("the source of an upload failed, as the test wants it to")
        return super().read(min(size, left))

    def readinto(self, buffer: object, /) -> int:
        raise SourceFailed("the source of an upload failed, as the test wants it to")

    def getvalue(self) -> bytes:
        raise SourceFailed("the source of an upload failed, as the test wants it to")


def first_difference(found: Sequence[object], expected: Sequence[object]) -> str:
    """Where two long sequences part, or nothing: pytest takes minutes to compare a thousand entries by itself."""
    if found == expected:
        return ""
    pairs = enumerate(zip_longest(found, expected, fillvalue="nothing"))
    place, (got, wanted) = next((index, pair) for index, pair in pairs if pair[0] != pair[1])
    return f"{len(found)} entries and not {len(expected)}: {place} is {got!r} and not {wanted!r}"


def in_pieces(file: BinaryIO, size: int) -> bytes:
    """All that a file has left, read so many bytes at a time."""
    return b"".join(iter(lambda: file.read(size), b""))


def at_once(work: Callable[[int], T], count: int = THREADS) -> list[T | Exception]:
    """What ``work`` returns or raises in each of several threads that begin together."""
    barrier = threading.Barrier(count, timeout=_LONG)
    done: list[T | Exception] = [TimeoutError("a thread did not end")] * count

    def run(number: int) -> None:
        try:
            barrier.wait()
            done[number] = work(number)
        except Exception as error:
            done[number] = error

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_LONG)
    return done


def succeeded(done: Sequence[T | Exception]) -> list[T]:
    """The results of threads, none of which may have failed."""
    results = []
    for each in done:
        if isinstance(each, Exception):
            raise AssertionError(f"a thread failed: {each!r}") from each
        results.append(each)
    return results


def ltx_file(low: int, high: int | None = None, *, fill: int = 0, time: datetime = TIME) -> bytes:
    """An LTX file of one page, other bytes for every ``fill``."""
    last = low if high is None else high
    header = Header(page_size=_PAGE_SIZE, commit=1, min_txid=low, max_txid=last, timestamp=time)
    out = io.BytesIO()
    encoder = Encoder(out, header)
    encoder.write(1, bytes([fill]) * _PAGE_SIZE)
    encoder.finish()
    return out.getvalue()
