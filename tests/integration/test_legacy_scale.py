"""v0.3 histories of a size that people have: ten thousand segments, and WAL files beyond 4 GiB."""

import io
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ltxcore import legacy
from ltxcore.clients.objects import ObjectReplicaClient

from tests.helpers.stores import CountingStore
from tests.helpers.v03_history import GENERATION, History, frame

GIB = 1 << 30
MANY = 10_000
FEW = 1_000


class Opened(CountingStore):
    """Counts what is opened, and may be asked from several threads."""

    def open(self, key: str, *, offset: int = 0, size: int | None = None) -> BinaryIO:
        self.sent["open"] += 1
        return io.BytesIO(super().read(key, offset=offset, size=size))


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Histories of FEW and of MANY segments, and beside each replica the database as it is at the end."""
    made = {}
    for count in (FEW, MANY):
        folder = tmp_path_factory.mktemp(f"of-{count}")
        with History(folder / "db", folder / "replica") as history:
            history.connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
            history.snapshot()
            for number in range(count):
                if number % 1000 == 999:
                    history.next_wal()
                history.connection.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (number % 50, number))
                history.segment()
        made[count] = folder
    return made


def restored(folder: Path, output: Path) -> float:
    """Restore and compare; seconds of processor time, of all threads."""
    began = time.process_time()
    legacy.restore(folder / "replica", output)
    seconds = time.process_time() - began
    assert output.read_bytes() == (folder / "db").read_bytes()
    output.unlink()
    return seconds


@pytest.mark.timeout(180)
def test_time_grows_with_the_segments(histories: dict[int, Path], tmp_path: Path) -> None:
    """Ten times as many segments take about ten times as long, where what grows with the square takes a hundred times."""
    few = min(restored(histories[FEW], tmp_path / "out") for _ in range(3))
    # The first one is enough, unless the machine did too much else.
    assert any(restored(histories[MANY], tmp_path / "out") < 30 * max(few, 0.02) for _ in range(3))


@pytest.mark.timeout(180)
def test_requests_grow_with_the_segments(histories: dict[int, Path], tmp_path: Path) -> None:
    """One listing, and every object is opened once."""
    store = Opened()
    folder = histories[FEW]
    for path in (folder / "replica").rglob("*.lz4"):
        store.write(str(path.relative_to(folder / "replica")), io.BytesIO(path.read_bytes()))
    store.sent.clear()
    legacy.restore(ObjectReplicaClient(store), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (folder / "db").read_bytes()
    assert store.sent == Counter({"ListObjectsV2": 1, "GetObject": FEW + 1, "open": FEW + 1})


def test_lists_of_very_many(histories: dict[int, Path]) -> None:
    """All names, in order, each WAL file from its start."""
    source = histories[MANY] / "replica"
    segments = legacy.wal_segments(source, GENERATION)
    assert len(segments) == MANY
    assert segments == sorted(segments, key=lambda segment: segment.pos)
    assert [segment.index for segment in segments if segment.offset == 0] == list(range(MANY // 1000 + 1))
    plan = legacy.restore_plan(source)
    assert plan.segments == tuple(segments)
    assert plan.size == sum(path.stat().st_size for path in source.rglob("*.lz4"))


def test_sizes_and_offsets_beyond_4_gib(tmp_path: Path) -> None:
    """Sparse files: names, sizes and sums in lists and plans."""
    folder = tmp_path / "replica" / "generations" / GENERATION
    files = {
        "snapshots/00000007.snapshot.lz4": 5 * GIB,
        "wal/00000007_00000000.wal.lz4": 6 * GIB + 1,
        "wal/00000007_ffffffff.wal.lz4": 7,
        "wal/00000007_1ffffffff.wal.lz4": 4 * GIB,
        "wal/00000007_ffffffffffff0000.wal.lz4": 1,
    }
    for name, size in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size)
    segments = legacy.wal_segments(tmp_path / "replica")
    assert [segment.offset for segment in segments] == [0, 0xFFFF_FFFF, 0x1_FFFF_FFFF, 0xFFFF_FFFF_FFFF_0000]
    assert [segment.size for segment in segments] == [6 * GIB + 1, 7, 4 * GIB, 1]
    assert [segment.path.rpartition("/")[2] for segment in segments] == [
        path[4:] for path in files if "wal/" in path
    ]
    [snapshot] = legacy.snapshots(tmp_path / "replica")
    assert snapshot.size == 5 * GIB
    plan = legacy.restore_plan(tmp_path / "replica")
    assert plan.segments == tuple(segments)
    assert plan.size == sum(files.values())


class LongWAL:
    """A WAL of pages of 64 KiB, most of them zeros: LZ4 leaves next to nothing of them, and their checksum is soon computed."""

    SIZE = 65536
    FRAME = 24 + SIZE
    WORD = 0xFFFF_FFFF

    def __init__(self, folder: Path) -> None:
        self.folder, self.offset = folder, 0
        self.salt = bytes(range(8))
        header = struct.pack(">IIII", 0x377F0683, 3007000, self.SIZE, 0) + self.salt
        self.sums = self.add((0, 0), header)
        self.header = header + struct.pack(">II", *self.sums)
        #: What a page of zeros does to both sums: the matrix of one pair of words, to the power of the pairs.
        self.zeros = (1, 0, 0, 1)
        for _ in range(self.SIZE // 8):
            a, b, c, d = self.zeros
            self.zeros = a + c & self.WORD, b + d & self.WORD, a + 2 * c & self.WORD, b + 2 * d & self.WORD

    def add(self, sums: tuple[int, int], data: bytes) -> tuple[int, int]:
        """The checksum of a WAL (SQLite file format, section 4.2)."""
        one, two = sums
        for first, second in struct.iter_unpack(">II", data):
            one = one + first + two & self.WORD
            two = two + second + one & self.WORD
        return one, two

    def frame(self, pgno: int, commit: int, page: bytes | None) -> bytes:
        """A frame; None is a page of zeros."""
        head = struct.pack(">II", pgno, commit)
        one, two = self.add(self.sums, head)
        if page is None:
            a, b, c, d = self.zeros
            self.sums = a * one + b * two & self.WORD, c * one + d * two & self.WORD
        else:
            self.sums = self.add((one, two), page)
        return head + self.salt + struct.pack(">II", *self.sums) + (page or bytes(self.SIZE))

    def segment(self, frames: Iterator[tuple[int, int, bytes | None]]) -> Path:
        path, packer = self.folder / f"00000000_{self.offset:08x}.wal.lz4", frame()
        with path.open("wb") as output:
            output.write(packer.begin())
            if self.offset == 0:
                output.write(packer.compress(self.header))
                self.offset = len(self.header)
            for each in frames:
                output.write(packer.compress(self.frame(*each)))
                self.offset += self.FRAME
            output.write(packer.flush())
        return path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_wal_beyond_4_gib(tmp_path: Path) -> None:
    """Its last segments have offsets of nine digits, which Litestream 0.3 cannot read; every frame of it counts."""
    with History(tmp_path / "db", tmp_path / "replica", page_size=LongWAL.SIZE) as history:
        history.connection.execute("CREATE TABLE t (a)")
        history.snapshot()
        folder = history.folder / "wal"
    content = (tmp_path / "db").read_bytes()
    pages = len(content) // LongWAL.SIZE
    wal = LongWAL(folder)

    def zeros(count: int) -> Iterator[Any]:
        return (
            (pages + 1 + number % 3, pages + 3 if number == count - 1 else 0, None) for number in range(count)
        )

    while wal.offset <= 4 * GIB:
        wal.segment(zeros(1000))
    for mark in (1, 2, 3):
        last = wal.segment(iter([(pages + 2, pages + 3, bytes([mark]) * LongWAL.SIZE)]))
    assert len(last.name) == len("00000000_100000000.wal.lz4")
    result = legacy.restore(tmp_path / "replica", tmp_path / "out")
    assert result.pos == legacy.Pos(GENERATION, 0, wal.offset)
    expected = [content, bytes(LongWAL.SIZE), bytes([mark]) * LongWAL.SIZE, bytes(LongWAL.SIZE)]
    assert (tmp_path / "out").read_bytes() == b"".join(expected)
