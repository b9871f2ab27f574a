"""A second reading of the LTX format, from its description, so that no codec is tested by itself.

Only what the tests ask: the header, how many pages a file holds (from its page index), and whether a level is contiguous.
"""

import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path

HEADER = struct.Struct(">4sIIIQQqQqqII")
TRAILER_SIZE = 16


@dataclasses.dataclass(frozen=True)
class LTXFile:
    path: Path
    page_size: int
    commit: int
    min_txid: int
    max_txid: int
    timestamp_ms: int
    wal_offset: int
    wal_size: int
    salts: tuple[int, int]
    pages: tuple[int, ...]

    @property
    def holds_every_page(self) -> bool:
        """Whether this is a full image (the page at the lock byte is in none)."""
        lock_page = 0x40000000 // self.page_size + 1
        return len(self.pages) >= self.commit - (1 if self.commit >= lock_page else 0)


def read(path: Path) -> LTXFile:
    data = path.read_bytes()
    magic, _, page_size, commit, low, high, when, _, offset, size, *salts = HEADER.unpack_from(data)
    assert magic == b"LTX1", path
    return LTXFile(
        path,
        page_size,
        commit,
        low,
        high,
        when,
        offset,
        size,
        (salts[0], salts[1]),
        tuple(indexed_pages(data)),
    )


def indexed_pages(data: bytes) -> Iterator[int]:
    (length,) = struct.unpack_from(">Q", data, len(data) - TRAILER_SIZE - 8)
    at = len(data) - TRAILER_SIZE - 8 - length
    while True:
        pgno, at = varint(data, at)
        if pgno == 0:
            return
        _, at = varint(data, at)
        _, at = varint(data, at)
        yield pgno


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def names(replica: Path, level: int = 0) -> list[Path]:
    """The files of one level in order of their TXIDs."""
    return sorted((replica / "ltx" / str(level)).glob("????????????????-????????????????.ltx"))


def files(replica: Path, level: int = 0) -> list[LTXFile]:
    return [read(path) for path in names(replica, level)]


def newest(replica: Path, level: int = 0) -> int:
    found = names(replica, level)
    return int(found[-1].name[17:33], 16) if found else 0


def after(replica: Path, txid: int) -> list[LTXFile]:
    """L0 files of later transactions than `txid`."""
    return [read(path) for path in names(replica) if int(path.name[:16], 16) > txid]


def assert_contiguous(replica: Path) -> None:
    """Every L0 file holds one transaction and follows the one before; names and headers agree.

    A listing may show a file that comes meanwhile and not the one before it, so a gap has to be there twice.
    """
    gaps = _gaps(replica)
    if gaps:
        gaps &= _gaps(replica)
    assert not gaps, f"no file follows TXID {min(gaps)}"


def _gaps(replica: Path) -> set[int]:
    found, last = set(), None
    for file in files(replica):
        assert file.path.name == f"{file.min_txid:016x}-{file.max_txid:016x}.ltx"
        assert file.min_txid == file.max_txid, file
        if last is not None and file.min_txid != last + 1:
            found.add(last)
        last = file.max_txid
    return found
