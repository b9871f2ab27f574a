"""The process of the fault proxy: it forwards HTTP/1.1 to one server, and does what the rules say. See `proxy.py`."""

import asyncio
import contextlib
import dataclasses
import socket
import threading
import time
from typing import Any

from tests.helpers.process import answer_lines
from tests.helpers.proxy_rules import Rule, Rules, operation, without_secrets
from tests.helpers.proxy_wire import Closed, Head, Link, Wire, unchunked

OF_THE_BODY = {"truncate", "reset", "stall", "garble", "length"}
ERROR = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>the proxy was told so</Message><RequestId>proxy</RequestId></Error>"""


class Refused(Exception):
    """The server takes no more of a request's body; it may have answered already."""


@dataclasses.dataclass
class Record:
    """One request. `sent` and `received` are bytes of bodies, as seen by the client."""

    number: int
    connection: int
    method: str
    target: str
    operation: str
    range: str | None
    signed: bool  # by its URL
    status: int | None = None
    sent: int = 0
    received: int = 0
    fault: str | None = None
    whole: bool = False  # was answered to the end
    started: float = dataclasses.field(default_factory=time.monotonic)


class Connection:
    """One connection of a client and, while it lasts, one to the server."""

    def __init__(self, proxy: "Server", sock: socket.socket, number: int) -> None:
        self.proxy, self.number = proxy, number
        self.client = Wire(sock)
        self._upstream: Wire | None = None

    async def run(self) -> None:
        try:
            while (head := await self.client.head()) is not None:
                if not await self._turn(head):
                    break
        except (Closed, ConnectionError):
            pass
        finally:
            self.client.close()
            self._leave_upstream()

    def _leave_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
        self._upstream = None

    async def _turn(self, head: Head) -> bool:
        """One request and its answer; whether the connection can be used for another."""
        record, rule = self.proxy.register(head, self.number)
        await asyncio.sleep(self.proxy.latency)
        match rule:
            case Rule(fault="drop"):
                return False
            case Rule(fault="hang"):
                await self.client.until_closed(rule.seconds)
                return False
            case Rule(fault="garbage"):
                await self.client.send(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
                return False
            case Rule(fault="respond"):
                return await self._respond(head, rule, record)
            case Rule(fault="delay"):
                await asyncio.sleep(rule.seconds or 0)
        return await self._forward(head, rule, record)

    async def _respond(self, head: Head, rule: Rule, record: Record) -> bool:
        """Answer in the server's place. A body that the client holds back until it is asked for is not asked for."""
        held_back = head.says("expect", "100-continue")
        if not held_back:
            await self.client.body(head, self._ignore)
        body = b"" if record.method == "HEAD" else ERROR.format(code=rule.code).encode()
        lines = [f"HTTP/1.1 {rule.status} {rule.code}", "Content-Type: application/xml"]
        lines += [f"{name}: {value}" for name, value in rule.headers]
        lines += ["Connection: close"] if held_back else []
        record.status, record.received, record.whole = rule.status, len(body), True
        await self.client.send("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)
        return not held_back

    async def _forward(self, head: Head, rule: Rule | None, record: Record) -> bool:
        upstream = await self._connected()
        await self._paced(self.proxy.up, upstream, head.raw)
        left = None if rule is None or rule.fault != "cut" else (rule.at or 0)
        upload = asyncio.create_task(self.client.body(head, self._upwards(upstream, record, left)))
        try:
            answer = await self._answered(upload)
            if answer is None:
                return False
            return await self._backwards(answer, rule, record) and upload.done() and not head.closes
        finally:
            if not upload.done():
                upload.cancel()
            with contextlib.suppress(asyncio.CancelledError, Closed, Refused):
                await upload

    async def _connected(self) -> Wire:
        if self._upstream is not None and self._upstream.is_stale():
            self._leave_upstream()
        if self._upstream is None:
            sock = socket.socket()
            sock.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(sock, self.proxy.upstream)
            except BaseException:
                sock.close()
                raise
            self._upstream = Wire(sock)
        return self._upstream

    async def _paced(self, link: Link, wire: Wire, data: bytes | memoryview) -> None:
        await link.take(len(data))
        await wire.send(data)

    def _upwards(self, upstream: Wire, record: Record, left: int | None) -> Any:
        """What takes the blocks of a request's body, of which only `left` bytes may pass."""

        async def sink(block: memoryview) -> None:
            nonlocal left
            passed = block if left is None else block[:left]
            record.sent += len(passed)
            try:
                await self._paced(self.proxy.up, upstream, passed)
            except Closed:
                raise Refused from None
            if left is not None:
                left -= len(passed)
                if left == 0:
                    raise Closed

        return sink

    async def _ignore(self, _block: memoryview) -> None:
        """Take a block of a body that nobody gets."""

    async def _answered(self, upload: "asyncio.Task[None]") -> Head | None:
        """The head of the answer, which may come before the body has been sent; None if the client has left."""
        answer = asyncio.create_task(self._final_head())
        try:
            await asyncio.wait({upload, answer}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() and isinstance(upload.exception(), Closed):
                return None
            return await answer
        finally:
            answer.cancel()

    async def _final_head(self) -> Head:
        assert self._upstream is not None
        while (head := await self._upstream.head()) is not None:
            if head.status >= 200:
                return head
            await self.client.send(head.raw)  # "100 Continue" is an answer of its own, and takes as long
            await asyncio.sleep(self.proxy.latency)
        raise Closed

    async def _backwards(self, answer: Head, rule: Rule | None, record: Record) -> bool:
        """Pass the answer on, or what the rule makes of it; whether the connection can be used for another."""
        assert self._upstream is not None
        bodiless = record.method == "HEAD" or answer.status in {204, 304}
        record.status = answer.status
        if rule is not None and rule.fault == "lose":
            await self._upstream.body(answer, self._ignore, bodiless=bodiless, answer=True)
            return False
        if rule is not None and rule.fault in OF_THE_BODY:
            body = bytearray()

            async def gather(block: memoryview) -> None:
                body.extend(block)

            await self._upstream.body(answer, gather, bodiless=bodiless, answer=True)
            return await self._spoiled(answer, bytes(body), rule, record)
        await self._paced(self.proxy.down, self.client, answer.raw)

        async def sink(block: memoryview) -> None:
            record.received += len(block)
            await self._paced(self.proxy.down, self.client, block)

        await self._upstream.body(answer, sink, bodiless=bodiless, answer=True)
        record.whole = True
        has_end = bodiless or "content-length" in answer.headers or "transfer-encoding" in answer.headers
        return has_end and not answer.closes

    async def _spoiled(self, answer: Head, raw: bytes, rule: Rule, record: Record) -> bool:
        """Answer with a body, or a length of it, that is not what the server sent."""
        body = unchunked(raw) if answer.says("transfer-encoding", "chunked") else raw
        size = int(answer.headers["content-length"]) if record.method == "HEAD" else len(body)
        at = min(len(body) // 2 if rule.at is None else rule.at, len(body))
        if rule.fault == "length":
            size = max(0, size + (rule.at or 0))
            passed = body[:size]
        elif rule.fault == "garble":
            passed = body[:at] + bytes(255 - byte for byte in body[at : at + 1]) + body[at + 1 :]
        else:
            passed = body[:at]
        record.received = len(passed)
        await self._paced(self.proxy.down, self.client, answer.with_length(size) + passed)
        if rule.fault == "stall":
            await self.client.until_closed(rule.seconds)
        if rule.fault == "reset":
            await asyncio.sleep(0.05)  # for the client to read what would be lost with the connection
            self.client.reset()
        record.whole = len(passed) == size or record.method == "HEAD"
        return record.whole and not answer.closes


class Server:
    """Listens, counts, and has the settings that all connections share."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.upstream = ("", 0)
        self.latency = 0.0
        self.up, self.down = Link(None), Link(None)
        self.rules = Rules()
        self.records: list[Record] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._accepted = 0

    def register(self, head: Head, connection: int) -> tuple[Record, Rule | None]:
        method, target, _version = head.words
        what = operation(method, target, copies="x-amz-copy-source" in head.headers)
        rule = self.rules.fault_for(method, target, what)
        record = Record(
            len(self.records),
            connection,
            method,
            without_secrets(target),
            what,
            head.headers.get("range"),
            "X-Amz-Signature=" in target,
            fault=None if rule is None else rule.fault,
        )
        self.records.append(record)
        return record, rule

    async def listen(self, upstream: list[Any], latency: float, rate: float | None) -> int:
        self.upstream = (upstream[0], upstream[1])
        self.set_link(latency, rate)
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        listener.setblocking(False)
        self._listening = asyncio.create_task(self._accept(listener))
        return int(listener.getsockname()[1])

    def set_link(self, latency: float, rate: float | None) -> None:
        self.latency = latency
        self.up, self.down = Link(rate), Link(rate)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            sock, _address = await self.loop.sock_accept(listener)
            self._accepted += 1
            task = asyncio.create_task(Connection(self, sock, self._accepted).run())
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def handle(self, command: str, arguments: dict[str, Any]) -> Any:
        match command:
            case "listen":
                return await self.listen(**arguments)
            case "link":
                return self.set_link(**arguments)
            case "fault":
                return self.rules.add(**arguments)
            case "calm":
                return self.rules.clear()
            case "requests":
                return [dataclasses.asdict(record) for record in self.records]
            case "forget":
                self._accepted = 0
                return self.records.clear()
            case "connections":
                return {"open": len(self._connections), "accepted": self._accepted}
        raise ValueError(command)


def main() -> None:
    server = Server()
    threading.Thread(target=server.loop.run_forever, daemon=True).start()

    def handle(command: str, arguments: dict[str, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(server.handle(command, arguments), server.loop).result()

    answer_lines(handle)


if __name__ == "__main__":
    main()
