"""The fault proxy itself: what it forwards, what it counts, and each fault as a plain client sees it."""

import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from tests.helpers.process import ChildError, until
from tests.helpers.proxy import Proxy
from tests.helpers.proxy_rules import without_secrets
from tests.helpers.s3_servers import S3Server

BODY = bytes(range(256)) * 4
Proxies = Callable[..., Proxy]


class Origin(BaseHTTPRequestHandler):
    """Objects in memory; `?chunked` answers in chunks, `?early` refuses a body that it has not read."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    objects: dict[str, bytes] = {}

    def do_GET(self) -> None:
        body = self.objects.get(urlsplit(self.path).path)
        if body is None:
            return self.answer(404, b"")
        if "chunked" not in self.path:
            return self.answer(200, body)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (body[:10], body[10:], b""):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return None

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        if "early" in self.path:
            self.close_connection = True
            return self.answer(403, b"no")
        size = int(self.headers["Content-Length"])
        body = self.rfile.read(size)
        if len(body) == size:
            self.objects[self.path] = body
            self.answer(200, b"")
        return None

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Host", self.headers["Host"])
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def shared(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Proxy(tmp_path_factory.mktemp("proxy") / "log", origin) as proxy:
        yield proxy


@pytest.fixture
def proxy(shared: Proxy) -> Proxy:
    """As new: one process for all these tests."""
    until(lambda: shared.connections()["open"] == 0, what="end of the connections of the test before")
    shared.calm()
    shared.forget()
    Origin.objects = {"/b/key": BODY}
    return shared


@pytest.fixture
def http_client(proxy: Proxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    yield connection
    connection.close()


def get(
    connection: http.client.HTTPConnection, target: str = "/b/key", method: str = "GET"
) -> tuple[int, bytes]:
    connection.request(method, target)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_requests_pass_unchanged_over_one_connection(
    proxy: Proxy, http_client: http.client.HTTPConnection
) -> None:
    assert get(http_client) == (200, BODY)
    assert get(http_client, "/b/key?chunked") == (200, BODY)
    assert get(http_client, method="HEAD") == (200, b"")
    assert get(http_client, "/b/none") == (404, b"")
    http_client.request("PUT", "/b/new", body=BODY * 1000)
    answer = http_client.getresponse()
    answer.read()
    assert answer.headers["X-Host"] == f"127.0.0.1:{proxy.port}"
    assert Origin.objects["/b/new"] == BODY * 1000
    assert proxy.connections() == {"open": 1, "accepted": 1}


def test_requests_and_bytes_are_counted_by_prefix(
    proxy: Proxy, http_client: http.client.HTTPConnection
) -> None:
    get(http_client)
    get(http_client, "/c/none")
    http_client.request("PUT", "/b/new", body=b"12345")
    http_client.getresponse().read()
    counted = proxy.traffic("b/")
    assert counted.by_operation == {"GetObject": 1, "PutObject": 1}
    assert (counted.requests, counted.sent, counted.received) == (2, 5, len(BODY))
    assert proxy.traffic().by_method == {"GET": 2, "PUT": 1}
    last = proxy.requests()[-1]
    assert (last.number, last.method, last.target, last.status, last.whole) == (2, "PUT", "/b/new", 200, True)
    proxy.forget()
    assert proxy.requests() == []


def test_signed_urls_are_recorded_without_their_secrets(
    proxy: Proxy, http_client: http.client.HTTPConnection
) -> None:
    secret = "X-Amz-Credential=KEY%2Fx&X-Amz-Date=2026&X-Amz-Signature=5ec3e7&X-Amz-Security-Token=70ken"
    assert get(http_client, f"/b/key?{secret}") == (200, BODY)
    (record,) = proxy.requests()
    assert record.signed and record.target.startswith("/b/key?")
    assert record.target.count("=...") == 3 and "2026" in record.target
    for word in ("KEY", "5ec3e7", "70ken"):
        assert word not in repr(proxy.requests()) + without_secrets(f"/b/key?{secret}")


def test_dropped_requests_are_not_forwarded(proxy: Proxy, http_client: http.client.HTTPConnection) -> None:
    proxy.fault("drop", method="PUT")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        http_client.request("PUT", "/b/new", body=BODY)
        http_client.getresponse()
    assert "/b/new" not in Origin.objects
    assert [record.status for record in proxy.requests()] == [None]


def test_lost_answers_are_of_requests_that_were_carried_out(
    proxy: Proxy, http_client: http.client.HTTPConnection
) -> None:
    proxy.fault("lose", operation="PutObject")
    http_client.request("PUT", "/b/new", body=BODY)
    with pytest.raises(http.client.RemoteDisconnected):
        http_client.getresponse()
    assert Origin.objects["/b/new"] == BODY
    assert proxy.requests()[0].status == 200


def test_cut_uploads_reach_the_server_in_part(proxy: Proxy, http_client: http.client.HTTPConnection) -> None:
    proxy.fault("cut", at=100)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        http_client.request("PUT", "/b/new", body=BODY * 1000)
        http_client.getresponse()
    assert "/b/new" not in Origin.objects
    assert proxy.requests()[0].sent == 100


@pytest.mark.parametrize("target", ["/b/key", "/b/key?chunked"])
def test_truncated_bodies_are_shorter_than_they_should_be(
    proxy: Proxy, http_client: http.client.HTTPConnection, target: str
) -> None:
    proxy.fault("truncate", at=100)
    http_client.request("GET", target)
    with pytest.raises(http.client.IncompleteRead) as caught:
        http_client.getresponse().read()
    assert caught.value.partial == BODY[:100]
    assert not proxy.requests()[0].whole


def test_resets_come_in_the_middle_of_the_body(proxy: Proxy, http_client: http.client.HTTPConnection) -> None:
    proxy.fault("reset")
    http_client.request("GET", "/b/key")
    answer = http_client.getresponse()
    assert answer.read(512) == BODY[:512]
    with pytest.raises(ConnectionResetError):
        answer.read()


def test_wrong_lengths_are_shorter_or_longer(proxy: Proxy, http_client: http.client.HTTPConnection) -> None:
    proxy.fault("length", at=-24)
    proxy.fault("length", at=10, method="HEAD")
    proxy.fault("length", at=10)
    assert get(http_client) == (200, BODY[:-24])
    http_client.request("HEAD", "/b/key")
    answer = http_client.getresponse()
    answer.read()
    assert answer.headers["Content-Length"] == "1034"
    http_client.request("GET", "/b/key")
    with pytest.raises(http.client.IncompleteRead):
        http_client.getresponse().read()
    assert proxy.connections()["accepted"] == 1


def test_garbled_bodies_differ_in_one_byte(proxy: Proxy, http_client: http.client.HTTPConnection) -> None:
    proxy.fault("garble", at=3)
    status, body = get(http_client)
    assert (status, len(body)) == (200, len(BODY))
    assert [at for at, (ours, theirs) in enumerate(zip(BODY, body)) if ours != theirs] == [3]


def test_garbage_is_not_http(proxy: Proxy, http_client: http.client.HTTPConnection) -> None:
    proxy.fault("garbage")
    with pytest.raises(http.client.BadStatusLine):
        get(http_client)


def test_hanging_ends_when_the_client_gives_up(proxy: Proxy, origin: str) -> None:
    proxy.fault("hang")
    proxy.fault("stall", at=10)
    for received in (0, 10):
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=0.4)
        with pytest.raises(TimeoutError):
            get(connection)
        assert proxy.requests()[-1].received == received
        assert proxy.connections()["open"] == 1
        connection.close()
        until(lambda: proxy.connections()["open"] == 0, what="end of the connection")


def test_delays_and_hangs_last_as_long_as_told(proxy: Proxy, http_client: http.client.HTTPConnection) -> None:
    proxy.fault("delay", seconds=0.2)
    begin = time.monotonic()
    assert get(http_client) == (200, BODY)
    assert 0.2 <= time.monotonic() - begin < 3
    proxy.fault("hang", seconds=0.2)
    with pytest.raises(http.client.RemoteDisconnected):
        get(http_client)
    assert 0.4 <= time.monotonic() - begin < 5


def test_answers_in_place_of_the_server_keep_the_connection(
    proxy: Proxy, http_client: http.client.HTTPConnection
) -> None:
    proxy.respond(503, "SlowDown")
    proxy.redirect(f"{proxy.url}/b/key")
    http_client.request("PUT", "/b/new", body=BODY * 1000)
    answer = http_client.getresponse()
    assert answer.status == 503 and b"<Code>SlowDown</Code>" in answer.read()
    http_client.request("GET", "/b/none")
    answer = http_client.getresponse()
    assert answer.status == 307 and answer.read()
    assert answer.headers["Location"] == f"{proxy.url}/b/key"
    assert get(http_client) == (200, BODY)
    assert "/b/new" not in Origin.objects
    assert proxy.connections()["accepted"] == 1


def test_an_early_answer_comes_through(proxy: Proxy) -> None:
    head = b"PUT /b/new?early HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        client.sendall(head + bytes(1000))
        assert client.recv(4096).startswith(b"HTTP/1.1 403 ")


def test_a_server_that_is_gone_is_a_closed_connection(proxied: Proxies) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    connection = http.client.HTTPConnection("127.0.0.1", proxied(f"http://127.0.0.1:{port}").port, timeout=5)
    with pytest.raises(http.client.RemoteDisconnected):
        get(connection)
    connection.close()


def test_latency_is_once_a_request(origin: str, proxied: Proxies) -> None:
    Origin.objects = {"/b/key": BODY}
    slow = proxied(origin, latency=0.1)

    def three(_number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", slow.port, timeout=5)
        for _ in range(3):
            assert get(connection) == (200, BODY)
        connection.close()

    begin = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(three, range(8)))
    assert 0.3 <= time.monotonic() - begin < 2.4  # 2.4 if they were waited for one after the other
    slow.link()
    begin = time.monotonic()
    three(0)
    assert time.monotonic() - begin < 0.3


@pytest.mark.parametrize("connections", [1, 4])
def test_rate_is_shared_by_all_connections(origin: str, proxied: Proxies, connections: int) -> None:
    Origin.objects = {"/b/large": bytes(2_000_000)}
    slow = proxied(origin, rate=8e6)

    def both_ways(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", slow.port, timeout=20)
        for _ in range(4 // connections):
            assert len(get(connection, "/b/large")[1]) == 2_000_000
        connection.close()

    begin = time.monotonic()
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(both_ways, range(connections)))
    took = time.monotonic() - begin
    assert 0.93 <= took < 4  # 8 MB at 8 MB/s
    assert slow.traffic().received == 8_000_000


@pytest.mark.slow  # since it is about the machine, and nothing else should run
def test_it_is_faster_than_the_links_that_it_plays(origin: str, proxied: Proxies) -> None:
    Origin.objects = {"/b/large": bytes(64_000_000)}
    port, received = proxied(origin).port, bytearray(1 << 20)

    def read(_number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/b/large")
        answer = connection.getresponse()
        while answer.readinto(received):
            pass
        connection.close()

    begin = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(8)))
    assert 8 * 64 / (time.monotonic() - begin) > 150  # MB/s


def test_boto3_goes_through_it(rclone: S3Server, proxied: Proxies) -> None:
    bucket = rclone.make_bucket("through-the-proxy")
    proxy = proxied(rclone.url)
    client = rclone.client(endpoint_url=proxy.url)
    client.put_object(Bucket=bucket, Key="a/b", Body=BODY)
    assert client.get_object(Bucket=bucket, Key="a/b", Range="bytes=1-2")["Body"].read() == BODY[1:3]
    assert client.list_objects_v2(Bucket=bucket)["Contents"][0]["Key"] == "a/b"
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a/b"}]})
    assert proxy.traffic().by_operation == {
        "PutObject": 1, "GetObject": 1, "ListObjectsV2": 1, "DeleteObjects": 1,
    }  # fmt: skip
    assert [record.range for record in proxy.requests() if record.range] == ["bytes=1-2"]
    client.close()


@pytest.mark.parametrize("status, code", [(503, "SlowDown"), (403, "ExpiredToken"), (500, "InternalError")])
def test_boto3_takes_its_errors_for_those_of_the_server(
    rclone: S3Server, proxied: Proxies, status: int, code: str
) -> None:
    proxy = proxied(rclone.url)
    client = rclone.client(endpoint_url=proxy.url)
    for call in (
        lambda: client.put_object(Bucket="none", Key="k", Body=BODY),
        lambda: client.list_objects_v2(Bucket="none"),
    ):
        proxy.respond(status, code)
        with pytest.raises(ClientError) as caught:
            call()
        assert caught.value.response["Error"]["Code"] == code
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    client.close()


def test_nothing_is_left_of_a_closed_proxy(origin: str, tmp_path: Path) -> None:
    with Proxy(tmp_path / "log", origin) as proxy:
        assert proxy.connections() == {"open": 0, "accepted": 0}
    with pytest.raises(ProcessLookupError):
        os.kill(proxy.pid, 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    with pytest.raises((ChildError, ValueError)):
        proxy.requests()
    assert (tmp_path / "log").read_text() == ""
