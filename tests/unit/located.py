"""A client whose files are on a web server, too."""

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import ltxcore
from ltxcore import TXID
from ltxcore.clients import _located
from ltxcore.stores import HTTPOptions, RequestCounter, SignedURL

from tests.helpers.http_server import SECRET, RangeServer
from tests.unit.memory import MemoryClient, ltx_file

#: A file of several requests, as nothing in it can be compressed.
PAGES = 6000


@pytest.fixture(autouse=True)
def as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_located, "_said", set())
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in _located._BUNDLES:
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with RangeServer().running() as server:
        yield server


class LocatedClient(MemoryClient):
    """Its files are in memory, and on a server."""

    def __init__(self, server: RangeServer, files: MemoryClient, **options: Any) -> None:
        super().__init__()
        self.server = server
        self.located: list[tuple[int, int, int]] = []
        self.read: list[tuple[int, int, int]] = []
        self.before_read = self.read.append
        self.counter = RequestCounter()
        self.life = timedelta(hours=1)
        self.options = HTTPOptions(counter=self.counter, **{"stall_timeout": 0.5} | options)
        self.token = lambda: SECRET
        for key, data in files.files.items():
            self.add(key, data)

    def add(self, key: tuple[int, int, int], data: bytes) -> None:
        self.files[key] = self.server.objects[path_of(key)] = data

    def locate(self, level: int, min_txid: TXID, max_txid: TXID) -> SignedURL:
        key = level, min_txid, max_txid
        self.located.append(key)
        url = self.server.url(path_of(key), self.token())
        return SignedURL(url, {"X-Key": f"{SECRET}-key"}, datetime.now(UTC) + self.life, self.options)


def path_of(key: tuple[int, int, int]) -> str:
    return "/{:d}/{:d}-{:d}".format(*map(int, key))


def big() -> MemoryClient:
    """A snapshot of 3 MB, and a transaction."""
    client, chance = MemoryClient(), random.Random(7)
    pages = {pgno: chance.randbytes(512) for pgno in range(1, PAGES + 1)}
    client.files[0, 1, 1] = ltx_file(pages, commit=PAGES, min_txid=1)
    client.files[0, 2, 2] = ltx_file({9: b"9" * 512}, commit=PAGES, min_txid=2)
    return client


def restored(client: ltxcore.ReplicaClient, path: Path) -> bytes:
    ltxcore.restore(client, path, overwrite=True)
    return path.read_bytes()
