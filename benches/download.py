"""A plain parallel download: what the link gives to a program that does nothing else.

python -m benches.download REQUESTS SINK     # prints the seconds

Each line of the file REQUESTS is a URL, an offset and a number of bytes. The bodies go to the file SINK, without a sync.
"""

from __future__ import annotations

import http.client
import os
import sys
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

#: More requests at once make it no faster, at 30 ms and 100 MB/s.
THREADS = 64
BLOCK = 1 << 18


def main(requests: str, sink: str) -> None:
    """Fetch everything."""
    with open(requests) as file:
        lines = [line.split() for line in file]
    todo, lock = iter(lines), threading.Lock()
    failed: list[BaseException] = []
    fd = os.open(sink, os.O_CREAT | os.O_WRONLY)

    def work() -> None:
        try:
            for url, offset, size in shared(todo, lock):
                fetch(local, url, int(offset), int(size), fd)
        except BaseException as error:
            failed.append(error)

    local = threading.local()
    threads = [threading.Thread(target=work) for _ in range(min(THREADS, len(lines)))]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failed:
        raise failed[0]
    print(seconds)


def shared(todo: Iterator[list[str]], lock: threading.Lock) -> Iterator[list[str]]:
    """What nobody else has taken."""
    while True:
        with lock:
            line = next(todo, None)
        if line is None:
            return
        yield line


def fetch(local: threading.local, url: str, offset: int, size: int, fd: int) -> None:
    """One range, over this thread's connection."""
    parts = urlsplit(url)
    if not hasattr(local, "connection"):
        assert parts.hostname is not None
        local.connection = http.client.HTTPConnection(parts.hostname, parts.port)
        local.buffer = memoryview(bytearray(BLOCK))
    connection: http.client.HTTPConnection = local.connection
    last = offset + size - 1
    connection.request("GET", f"{parts.path}?{parts.query}", headers={"Range": f"bytes={offset}-{last}"})
    answer = connection.getresponse()
    if answer.status != 206:
        raise OSError(f"status {answer.status}")
    got = 0
    while count := answer.readinto(local.buffer):
        got += count
        os.pwrite(fd, local.buffer[:count], offset)
    if got != size:
        raise OSError(f"{got} of {size} bytes")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
