"""Whole files of servers without byte ranges, which are kept for a while."""

import os
import threading
from collections.abc import Callable
from typing import BinaryIO

import pytest

from ltxcore.clients.http import _spools
from ltxcore.clients.http._spools import Spools


class Server:
    """Files by key, and which of them were downloaded."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.sent: list[str] = []
        self.spools = Spools()

    def fill(self, key: str) -> Callable[[BinaryIO], None]:
        def fill(file: BinaryIO) -> None:
            self.sent.append(key)
            file.write(self.files[key])

        return fill

    def read(self, key: str, offset: int = 0, size: int | None = None) -> bytes:
        with self.spools.open(key, self.fill(key), offset, size) as file:
            return file.read()


@pytest.fixture
def server() -> Server:
    return Server()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))


def test_few_files_are_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one held a descriptor and its disk space until the client was closed."""
    monkeypatch.setattr(_spools, "_MOST_FILES", 3)
    before = descriptors()
    for number in range(50):
        server.files[str(number)] = b"%d" % number
        assert server.read(str(number)) == b"%d" % number
        # The first one is read again and again.
        assert server.read("0") == b"0"
        assert descriptors() <= before + 3
    assert server.sent == [str(number) for number in range(50)]
    assert server.read("49") == b"49"
    assert server.read("48") == b"48"
    assert len(server.sent) == 50
    assert server.read("3") == b"3"
    assert len(server.sent) == 51
    server.spools.close()
    assert descriptors() <= before


def test_few_bytes_are_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_spools, "_MOST_BYTES", 100)
    server.files = {"a": b"a" * 60, "b": b"b" * 60, "c": b"c" * 200, "d": b"d" * 30}
    for key in "aabbccddd":
        assert server.read(key, 10, 5) == key.encode() * 5
    # The one that is read is kept, however large it is.
    assert server.sent == [*"abcd"]
    server.read("b")
    assert server.sent == [*"abcdb"]
    server.read("d")
    assert server.sent == [*"abcdb"]


def test_an_open_reader_goes_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_spools, "_MOST_FILES", 1)
    server.files = {"a": b"a" * 5000, "b": b"b"}
    with server.spools.open("a", server.fill("a"), 0, None) as reader:
        assert reader.read(1) == b"a"
        assert server.read("b") == b"b"
        server.spools.close()
        assert reader.read() == b"a" * 4999


def test_a_file_that_has_grown_is_downloaded_again(server: Server) -> None:
    server.files["a"] = b"abc"
    assert server.read("a", 1, 2) == b"bc"
    server.files["a"] = b"abcdef"
    assert server.read("a", 1, 2) == b"bc"
    assert len(server.sent) == 1
    assert server.read("a", 1, 4) == b"bcde"
    server.spools.check("a", 6)
    assert server.read("a") == b"abcdef"
    assert len(server.sent) == 2
    server.files["a"] = b"xy"
    server.spools.check("a", 2)
    assert server.read("a") == b"xy"
    # More than there is ends where the file ends.
    assert server.read("a", 1, 10) == b"y"


def test_many_threads_read_many_files(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_spools, "_MOST_FILES", 2)
    server.files = {str(number): bytes([number]) * 3000 for number in range(8)}
    wrong: list[object] = []

    def read(first: int) -> None:
        for step in range(100):
            number = (first * 3 + step) % 8
            if server.read(str(number), 100, 2000) != bytes([number]) * 2000:
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(server.spools._files) <= 2


def test_a_download_that_fails_is_tried_again(server: Server) -> None:
    with pytest.raises(KeyError):
        server.read("a")
    server.files["a"] = b"abc"
    assert server.read("a") == b"abc"
