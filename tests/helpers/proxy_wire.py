"""One side of a connection of the fault proxy: heads are read, bodies pass in large blocks. And the link's speed."""

import asyncio
import contextlib
import dataclasses
import socket
import struct
from collections.abc import Awaitable, Callable

BLOCK = 1 << 18
MAX_HEAD = 1 << 16
BURST_S = 0.02  # how far a link may catch up after it slept too long
END = b"\r\n\r\n"


class Closed(Exception):
    """The other side closed the connection, or it broke."""


class Link:
    """One direction of the link that all connections share: so many bytes a second, without limit if None."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._free_at = 0.0

    async def take(self, size: int) -> None:
        """Wait until these bytes are through."""
        if self.rate is None:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now - BURST_S) + size / self.rate
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)


@dataclasses.dataclass
class Head:
    """The first line and the headers of a request or an answer, as they came."""

    raw: bytes

    def __post_init__(self) -> None:
        first, *lines = self.raw[: -len(END)].decode("latin-1").split("\r\n")
        self.words = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}

    def says(self, name: str, value: str) -> bool:
        return value in self.headers.get(name, "").lower()

    @property
    def status(self) -> int:
        return int(self.words[1])

    @property
    def closes(self) -> bool:
        return self.says("connection", "close") or "HTTP/1.0" in (self.words[0], self.words[-1])

    def with_length(self, size: int) -> bytes:
        """The same head, but of a body of this size."""
        lines = self.raw[: -len(END)].split(b"\r\n")
        kept = [
            x
            for x in lines
            if not x.lower().startswith((b"content-length:", b"transfer-encoding:", b"trailer:"))
        ]
        return b"\r\n".join([*kept, b"Content-Length: %d" % size]) + END


Sink = Callable[[memoryview], Awaitable[None]]


class Wire:
    """A connected socket with a buffer for what came after a head."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._buffer = bytearray(BLOCK)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0  # of what was received and not yet used

    async def _receive(self, size: int = BLOCK) -> memoryview:
        """Some bytes, at most `size`; none at the end. They are valid until the next call."""
        if self._start < self._end:
            start, self._start = self._start, min(self._end, self._start + size)
            return self._view[start : self._start]
        try:
            loop = asyncio.get_running_loop()
            count = await loop.sock_recv_into(self.sock, self._view[: min(size, BLOCK)])
        except OSError as error:
            raise Closed from error
        return self._view[:count]

    def _keep(self, data: bytes) -> None:
        self._buffer[: len(data)] = data
        self._start, self._end = 0, len(data)

    async def _until(self, end: bytes) -> bytes:
        """Bytes up to and with this end; nothing if the connection ends before the first."""
        got = bytearray()
        while end not in got:
            block = await self._receive()
            if not block and got:
                raise Closed
            if not block:
                return b""
            got += block
            if len(got) > MAX_HEAD + BLOCK:
                raise Closed
        at = got.index(end) + len(end)
        self._keep(bytes(got[at:]))  # the buffer is empty: a block was all that it had
        return bytes(got[:at])

    async def head(self) -> Head | None:
        """The next head, or None if the other side is done."""
        raw = await self._until(END)
        return Head(raw) if raw else None

    async def body(self, head: Head, sink: Sink, *, bodiless: bool = False, answer: bool = False) -> None:
        """Pass the body that belongs to a head to `sink`, framing of chunks included."""
        if bodiless:
            return
        if head.says("transfer-encoding", "chunked"):
            await self._chunks(sink)
        elif "content-length" in head.headers:
            await self._bytes(int(head.headers["content-length"]), sink)
        elif answer:
            while block := await self._receive():
                await sink(block)

    async def _bytes(self, count: int, sink: Sink) -> None:
        while count:
            block = await self._receive(count)
            if not block:
                raise Closed
            count -= len(block)
            await sink(block)

    async def _chunks(self, sink: Sink) -> None:
        while True:
            line = await self._until(b"\r\n")
            await sink(memoryview(line))
            size = int(line.split(b";")[0] or b"0", 16)
            if size == 0:
                break
            await self._bytes(size + 2, sink)
        while True:  # trailers, if any, and an empty line
            line = await self._until(b"\r\n")
            await sink(memoryview(line))
            if line in (b"\r\n", b""):
                return

    async def send(self, data: bytes | memoryview) -> None:
        try:
            await asyncio.get_running_loop().sock_sendall(self.sock, data)
        except OSError as error:
            raise Closed from error

    async def until_closed(self, seconds: float | None) -> None:
        """Wait for the other side to give up, reading what it still sends."""
        with contextlib.suppress(Closed, TimeoutError):
            async with asyncio.timeout(seconds):
                while await self._receive():
                    pass

    def is_stale(self) -> bool:
        """Between two requests: the other side has closed, or says what nobody asked for."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def reset(self) -> None:
        """Close with RST: what was sent and not yet read is lost."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


def unchunked(raw: bytes) -> bytes:
    """The bytes of a body that came in chunks."""
    body, at = bytearray(), 0
    while True:
        line = raw.index(b"\r\n", at)
        size = int(raw[at:line].split(b";")[0], 16)
        if size == 0:
            return bytes(body)
        body += raw[line + 2 : line + 2 + size]
        at = line + 2 + size + 2
