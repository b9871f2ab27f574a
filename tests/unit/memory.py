"""A replica client in Python, in memory, that can be told to fail; and LTX files to fill it with."""

import io
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import ltxcore
from ltxcore import TXID, FileInfo, Replica, ReplicaClient, ltx
from ltxcore.errors import LTXFileNotFoundError

Key = tuple[int, int, int]
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
PAGE_SIZE = 512


class MemoryClient(ReplicaClient):
    type: ClassVar[str] = "memory"

    def __init__(self) -> None:
        self.files: dict[Key, bytes] = {}
        self.opened: list[BinaryIO] = []
        self.before_write: Callable[[Key], None] = lambda _key: None
        self.before_read: Callable[[Key], None] = lambda _key: None
        self.before_list: Callable[[int], None] = lambda _level: None
        self._lock = threading.Lock()

    def ltx_files(
        self,
        level: int,
        *,
        seek: TXID = TXID(0),  # noqa: B008 - immutable
        use_metadata: bool = False,
    ) -> Iterator[FileInfo]:
        assert isinstance(seek, TXID)
        self.before_list(level)
        with self._lock:
            keys = sorted(key for key in self.files if key[0] == level and key[1] >= seek)
            return iter([self._info(key) for key in keys])

    def open_ltx_file(
        self, level: int, min_txid: TXID, max_txid: TXID, *, offset: int = 0, size: int | None = None
    ) -> BinaryIO:
        key = (level, min_txid, max_txid)
        self.before_read(key)
        if key not in self.files:
            raise LTXFileNotFoundError(f"no {key}")
        end = None if size is None else offset + size
        file = io.BytesIO(self.files[key][offset:end])
        self.opened.append(file)
        return file

    def write_ltx_file(self, level: int, min_txid: TXID, max_txid: TXID, data: BinaryIO) -> FileInfo:
        key = (level, min_txid, max_txid)
        self.before_write(key)
        with self._lock:
            self.files[key] = data.read()
            return self._info(key)

    def delete_ltx_files(self, files: Iterable[FileInfo]) -> None:
        for file in files:
            self.files.pop((file.level, file.min_txid, file.max_txid), None)

    def delete_all(self) -> None:
        self.files.clear()

    def txids(self, level: int) -> list[tuple[int, int]]:
        return sorted((low, high) for at, low, high in self.files if at == level)

    def _info(self, key: Key) -> FileInfo:
        data = self.files[key]
        created_at = ltx.Header.parse(data[: ltx.HEADER_SIZE]).timestamp
        return FileInfo(key[0], TXID(key[1]), TXID(key[2]), len(data), created_at)


def page(fill: int) -> bytes:
    return bytes([fill]) * PAGE_SIZE


def ltx_file(
    pages: dict[int, bytes],
    *,
    commit: int,
    min_txid: int,
    max_txid: int | None = None,
    timestamp: datetime | None = None,
) -> bytes:
    """One LTX file of these pages, by default created as many seconds after EPOCH as its last TXID."""
    last = min_txid if max_txid is None else max_txid
    header = ltx.Header(
        page_size=PAGE_SIZE,
        commit=commit,
        min_txid=min_txid,
        max_txid=last,
        timestamp=timestamp or EPOCH + timedelta(seconds=last),
    )
    out = io.BytesIO()
    encoder = ltx.Encoder(out, header)
    for pgno, content in pages.items():
        encoder.write(pgno, content)
    encoder.finish()
    return out.getvalue()


def filled_client() -> MemoryClient:
    """Three transactions: two pages, the second page changed, the first page changed and a third added."""
    client = MemoryClient()
    client.files[0, 1, 1] = ltx_file({1: page(1), 2: page(2)}, commit=2, min_txid=1)
    client.files[0, 2, 2] = ltx_file({2: page(3)}, commit=2, min_txid=2)
    client.files[0, 3, 3] = ltx_file({1: page(4), 3: page(5)}, commit=3, min_txid=3)
    return client


def history(count: int) -> MemoryClient:
    """Transactions of two pages, the first of which is another after each."""
    client = MemoryClient()
    client.files[0, 1, 1] = ltx_file({1: page(1), 2: page(0)}, commit=2, min_txid=1)
    for number in range(2, count + 1):
        client.files[0, number, number] = ltx_file({1: page(number)}, commit=2, min_txid=number)
    return client


def merge(client: MemoryClient, level: int = 1) -> None:
    """Compaction and retention: what is merged is gone below."""
    Replica(client).compact(level)
    top = max(last for at, _, last in client.files if at == level)
    for key in [key for key in client.files if key[0] == level - 1 and key[2] <= top]:
        client.files.pop(key, None)


def after(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def state(client: ReplicaClient, output: Path, **target: Any) -> int:
    """What the first page is filled with after a restore."""
    ltxcore.restore(client, output, overwrite=True, **target)
    return output.read_bytes()[0]


def run_sql(path: Path, *statements: str) -> None:
    """Commit statements from another process, as the application would."""
    code = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1])\n"
        "for statement in sys.argv[2:]:\n"
        "    connection.execute(statement)\n"
        "connection.commit()\n"
        "connection.close()\n"
    )
    subprocess.run([sys.executable, "-S", "-c", code, str(path), *statements], check=True)
