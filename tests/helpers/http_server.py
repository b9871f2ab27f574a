"""A web server in the test's process that serves ranges, and can be told to serve them badly; and a proxy."""

import contextlib
import re
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

#: What is in every URL, and must be nowhere else.
SECRET = "5ecret"


class Request(NamedTuple):
    path: str
    token: str
    headers: dict[str, str]


#: What is wrong with the answer to a request, or an empty text.
Fault = Callable[[Request], str]


class RangeServer(ThreadingHTTPServer):
    """Objects by path. A URL is good as long as its token is in `tokens`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "https" if tls else "http"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.objects: dict[str, bytes] = {}
        self.tokens = {SECRET}
        self.fault: Fault = lambda _request: ""
        self.requests: list[Request] = []
        self.connections = 0
        self.over = threading.Event()

    def get_request(self) -> tuple[Any, Any]:
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients come and go."""

    def url(self, path: str, token: str = SECRET, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.server_port}{path}?token={token}"

    @contextlib.contextmanager
    def running(self) -> Iterator["RangeServer"]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.over.set()
            self.shutdown()
            self.server_close()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def log_message(self, *_: object) -> None:
        """To nobody."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        token = parse_qs(parts.query).get("token", [""])[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(parts.path, token, headers)
        self.server.requests.append(request)
        fault = self.server.fault(request)
        content = self.server.objects.get(parts.path)
        if token not in self.server.tokens:
            fault = "403"
        if content is None and not fault.startswith("to "):
            fault = fault or "404"
        if fault.isdigit():
            self.answer(int(fault), {}, f"<Error>{self.path}</Error>".encode())
        elif fault.startswith("to "):
            self.answer(307, {"Location": fault.removeprefix("to ")}, b"")
        else:
            assert content is not None
            self.serve(content, headers["range"], fault)

    def serve(self, content: bytes, wanted: str, fault: str) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        assert match
        first = int(match[1])
        last = min(int(match[2] or len(content)), len(content) - 1)
        if first > last:
            self.answer(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
            return
        body, shown = content[first : last + 1], f"bytes {first}-{last}/{len(content)}"
        if fault == "whole":
            self.answer(200, {}, content)
        elif fault == "range":
            self.answer(206, {"Content-Range": f"bytes {first + 1}-{last + 1}/{len(content) + 2}"}, body)
        elif fault == "no range":
            self.answer(206, {}, body)
        elif fault == "gzip":
            self.answer(206, {"Content-Range": shown, "Content-Encoding": "gzip"}, body)
        elif fault == "long":
            self.answer(206, {"Content-Range": shown, "Content-Length": str(len(body) + 7)}, body)
        elif fault == "short":
            self.answer(206, {"Content-Range": shown, "Content-Length": str(len(body) - 7)}, body)
        elif fault in {"cut", "reset", "stall"}:
            self.answer(
                206, {"Content-Range": shown, "Content-Length": str(len(body))}, body[: len(body) // 2]
            )
            self.end(fault)
        else:
            self.answer(206, {"Content-Range": shown}, body)

    def end(self, fault: str) -> None:
        self.wfile.flush()
        if fault == "stall":
            self.server.over.wait()
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        wrong = headers.get("Content-Length", str(len(body))) != str(len(body))
        self.close_connection = self.close_connection or wrong


class Proxy(RangeServer):
    """Makes tunnels, to 127.0.0.1 whatever the name is."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = ProxyHandler
        self.tunnels: list[tuple[str, str | None]] = []


class ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, *_: object) -> None:
        """To nobody."""

    def do_CONNECT(self) -> None:
        self.server.tunnels.append((self.path, self.headers.get("Proxy-Authorization")))
        port = int(self.path.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as there:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: there, there: self.connection}
            while not self.server.over.is_set():
                for end in select.select(list(ends), [], [], 0.05)[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        self.close_connection = True
                        return
                    ends[end].sendall(data)
