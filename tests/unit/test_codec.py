"""The native codec through Python: what is encoded comes back, what is damaged is a typed error, nothing panics."""

import gc
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltxcore import ltx
from ltxcore.errors import (
    ChecksumMismatchError,
    Error,
    FormatError,
    NotLTXError,
    TruncatedError,
    UnsupportedVersionError,
)
from ltxcore.ltx import Decoder, Encoder, Header

from tests.unit.memory import EPOCH, PAGE_SIZE, ltx_file, page

SNAPSHOT = ltx_file({1: page(1), 2: page(2), 3: page(3)}, commit=3, min_txid=1, max_txid=4)
CHANGE = ltx_file({2: page(7)}, commit=3, min_txid=5)


def read(data: bytes) -> tuple[dict[int, bytes], ltx.Trailer]:
    with ltx.open(io.BytesIO(data)) as decoder:
        return dict(decoder), decoder.finish()


def header(**changes: Any) -> Header:
    fields: dict[str, Any] = {"page_size": 512, "commit": 3, "min_txid": 1, "max_txid": 4, "timestamp": EPOCH}
    return Header(**(fields | changes))


@given(
    st.dictionaries(st.integers(1, 1000), st.binary(min_size=PAGE_SIZE, max_size=PAGE_SIZE), max_size=20),
    st.integers(2, 1 << 32),
)
def test_pages_come_back(pages: dict[int, bytes], txid: int) -> None:
    data = ltx_file(dict(sorted(pages.items())), commit=1000, min_txid=txid)
    found, trailer = read(data)
    assert found == pages
    assert trailer.post_apply_checksum == 0
    assert int(trailer.file_checksum).to_bytes(8) == data[-8:]


def test_header_fields_come_back() -> None:
    made = header(
        min_txid=2,
        pre_apply_checksum=1 << 63 | 5,
        no_checksum=False,
        timestamp=EPOCH + timedelta(milliseconds=7),
        wal_offset=32,
        wal_size=4120,
        wal_salt1=9,
        wal_salt2=10,
        node_id=11,
    )
    parsed = Header.parse(made.encode())
    assert parsed == made
    assert hash(parsed) == hash(made)
    assert parsed.encode()[:4] == ltx.MAGIC
    assert (parsed.page_size, parsed.commit, parsed.min_txid, parsed.max_txid) == (512, 3, 2, 4)
    assert (parsed.wal_offset, parsed.wal_size, parsed.wal_salt1, parsed.wal_salt2) == (32, 4120, 9, 10)
    assert parsed.timestamp == datetime(2026, 1, 1, 0, 0, 0, 7000, tzinfo=UTC)
    assert parsed.node_id == 11
    assert not parsed.no_checksum
    assert not parsed.is_snapshot
    assert str(parsed.pre_apply_pos) == "0000000000000001/8000000000000005"
    assert header().is_snapshot
    assert header() != made
    assert header(page_size=4096).lock_pgno == 262_145


@pytest.mark.parametrize(
    "changes",
    [
        {"page_size": 1000},
        {"min_txid": 0},
        {"min_txid": 5},
        {"pre_apply_checksum": 1 << 63},
        {"wal_salt1": 1},
        {"wal_size": 1},
        {"min_txid": 2, "no_checksum": False},
    ],
)
def test_impossible_headers_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        header(**changes)


def test_a_naive_timestamp_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        header(timestamp=datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test


def test_any_buffer_is_a_page() -> None:
    out = io.BytesIO()
    encoder = Encoder(out, header(commit=4))
    assert encoder.header == header(commit=4)
    for pgno, content in enumerate((page(1), bytearray(page(2)), memoryview(page(3))), 1):
        encoder.write(pgno, content)
    encoder.write(4, memoryview(page(9) * 2)[::2])
    encoder.finish()
    assert read(out.getvalue())[0] == {1: page(1), 2: page(2), 3: page(3), 4: page(9)}


@pytest.mark.parametrize(("pgno", "content"), [(0, page(0)), (2, page(0)), (4, page(0)), (1, b"short")])
def test_pages_in_the_wrong_place_are_refused(pgno: int, content: bytes) -> None:
    encoder = Encoder(io.BytesIO(), header())
    with pytest.raises(FormatError):
        encoder.write(pgno, content)


def test_an_incomplete_snapshot_cannot_be_finished() -> None:
    encoder = Encoder(io.BytesIO(), header())
    encoder.write(1, page(1))
    with pytest.raises(FormatError, match="page 2"):
        encoder.finish()


def test_finished_objects_raise() -> None:
    encoder = Encoder(io.BytesIO(), header(commit=1))
    encoder.write(1, page(1))
    encoder.finish()
    decoder = ltx.open(io.BytesIO(SNAPSHOT))
    decoder.finish()
    closed = ltx.open(io.BytesIO(SNAPSHOT))
    closed.close()
    for call in (
        lambda: encoder.write(2, page(2)),
        encoder.finish,
        decoder.finish,
        lambda: next(iter(decoder)),
        closed.finish,
    ):
        with pytest.raises(ValueError, match="finished"):
            call()


@given(st.data())
def test_every_prefix_is_an_error_and_most_are_truncated(data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(SNAPSHOT) - 1))
    with pytest.raises(TruncatedError) as caught:
        read(SNAPSHOT[:length])
    assert caught.value.offset is not None
    assert isinstance(caught.value, EOFError)


@given(st.integers(0, len(SNAPSHOT) * 8 - 1))
def test_every_flipped_bit_is_an_error_or_changes_nothing(bit: int) -> None:
    damaged = bytearray(SNAPSHOT)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        pages, _ = read(bytes(damaged))
    except FormatError:
        return
    # Compressed bytes are not hashed: two encodings of the same page are both good.
    assert pages == read(SNAPSHOT)[0]


@given(st.binary(max_size=400))
def test_noise_is_an_error(noise: bytes) -> None:
    with pytest.raises(FormatError):
        read(noise)
    with pytest.raises(FormatError):
        read(SNAPSHOT[:100] + noise)


def test_damage_has_its_class_and_its_place() -> None:
    with pytest.raises(NotLTXError):
        read(b"SQLi" + SNAPSHOT[4:])
    with pytest.raises(UnsupportedVersionError):
        read(SNAPSHOT[:7] + b"\x01" + SNAPSHOT[8:])
    with pytest.raises(ChecksumMismatchError) as caught:
        read(SNAPSHOT[:-1] + bytes([SNAPSHOT[-1] ^ 1]))
    assert caught.value.expected == int.from_bytes(SNAPSHOT[-8:]) ^ 1
    assert caught.value.actual == int.from_bytes(SNAPSHOT[-8:])
    assert type(caught.value.actual) is ltx.Checksum
    with pytest.raises(FormatError) as trailing:
        read(SNAPSHOT + b"x")
    assert trailing.value.offset == len(SNAPSHOT)


def test_the_index_finds_every_page() -> None:
    index = ltx.read_page_index(io.BytesIO(SNAPSHOT))
    assert len(index) == 3
    assert 2 in index
    assert 4 not in index
    assert index.get(4) is None
    assert [pgno for pgno, _ in index.items()] == [1, 2, 3]
    first, second = index.get(1), index.get(2)
    assert first is not None
    assert second is not None
    assert first.offset == ltx.HEADER_SIZE
    assert second.offset == first.offset + first.size
    assert first != second
    assert SNAPSHOT[second.offset : second.offset + 4] == (2).to_bytes(4)
    with pytest.raises(FormatError):
        ltx.read_page_index(io.BytesIO(SNAPSHOT[:-30]))


def test_compaction_keeps_the_newest_pages() -> None:
    out = io.BytesIO()
    merged, trailer = ltx.compact([io.BytesIO(SNAPSHOT), io.BytesIO(CHANGE)], out)
    assert (merged.min_txid, merged.max_txid, merged.timestamp) == (1, 5, EPOCH + timedelta(seconds=5))
    assert read(out.getvalue()) == ({1: page(1), 2: page(7), 3: page(3)}, trailer)


def test_compaction_names_the_bad_input() -> None:
    with pytest.raises(ChecksumMismatchError, match=r"^input 1: "):
        ltx.compact([io.BytesIO(SNAPSHOT), io.BytesIO(CHANGE[:-1] + b"\x00")], io.BytesIO())
    gap = [io.BytesIO(SNAPSHOT), io.BytesIO(ltx_file({2: page(7)}, commit=3, min_txid=9))]
    with pytest.raises(FormatError, match="do not continue"):
        ltx.compact(gap, io.BytesIO())


def test_files_are_taken_by_path(tmp_path: Path) -> None:
    one, two, merged = (tmp_path / name for name in ("one.ltx", "two.ltx", "merged.ltx"))
    one.write_bytes(SNAPSHOT)
    two.write_bytes(CHANGE)
    with merged.open("wb") as out:
        ltx.compact([one, str(two)], out)
    with ltx.open(merged) as decoder:
        assert dict(decoder)[2] == page(7)
    assert len(ltx.read_page_index(merged)) == 3
    with pytest.raises(FileNotFoundError):
        ltx.open(tmp_path / "absent")


def test_apply_and_encode_are_inverse(tmp_path: Path) -> None:
    database = tmp_path / "db"
    (tmp_path / "snapshot.ltx").write_bytes(SNAPSHOT)
    assert ltx.apply(tmp_path / "snapshot.ltx", database) == ltx.Pos(ltx.TXID(4))
    assert ltx.apply(io.BytesIO(CHANGE), database) == ltx.Pos(ltx.TXID(5))
    assert database.read_bytes() == page(1) + page(7) + page(3)
    with pytest.raises(FileNotFoundError):
        ltx.apply(io.BytesIO(CHANGE), tmp_path / "absent")
    with pytest.raises(FormatError):
        ltx.checksum_database(database)


def test_a_database_is_encoded_with_the_checksum_that_it_has(tmp_path: Path) -> None:
    database = tmp_path / "db"
    database.write_bytes(sqlite_header() + page(2) + page(3))
    out = io.BytesIO()
    trailer = ltx.encode_database(database, out, txid=6, checksums=True)
    assert trailer.post_apply_checksum == ltx.checksum_database(database)
    assert read(out.getvalue())[0] == {1: sqlite_header(), 2: page(2), 3: page(3)}
    plain = ltx.encode_database(database, io.BytesIO(), timestamp=EPOCH)
    assert plain.post_apply_checksum == 0


def sqlite_header() -> bytes:
    """A first page that only says its page size (SQLite file format, 1.3)."""
    return (b"SQLite format 3\x00" + PAGE_SIZE.to_bytes(2) + b"\x02\x02").ljust(PAGE_SIZE, b"\x00")


class Refusing(io.BytesIO):
    """A file object that fails by an exception of its own."""

    def read(self, _size: int | None = -1) -> bytes:
        raise KeyboardInterrupt("from the file")

    def write(self, _data: object) -> int:
        raise LookupError("from the file")


def test_exceptions_of_file_objects_come_out_as_they_are() -> None:
    with pytest.raises(KeyboardInterrupt, match="from the file"):
        ltx.open(Refusing())
    encoder = Encoder(Refusing(), header(commit=1))
    encoder.write(1, page(1))
    with pytest.raises(LookupError, match="from the file"):
        encoder.finish()
    with pytest.raises(TypeError):
        ltx.open(io.StringIO("text"))  # type: ignore[arg-type]  # the point of the test


def test_a_file_object_that_calls_back_does_not_hang() -> None:
    class Nosy(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if decoders:
                with pytest.raises(ValueError, match="in use"):
                    decoders[0].finish()
            return super().read(min(size or 1, 64))

    decoders: list[Decoder] = []
    decoder = ltx.open(Nosy(SNAPSHOT))
    decoders.append(decoder)
    assert len(dict(decoder)) == 3


def test_short_writes_are_completed() -> None:
    class Slow(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += bytes(data[:7])
            return min(len(data), 7)

    out = Slow()
    encoder = Encoder(out, header(max_txid=4))  # type: ignore[arg-type]  # raw files have all that is asked for
    for pgno in (1, 2, 3):
        encoder.write(pgno, page(pgno))
    encoder.finish()
    assert read(out.data)[0] == {1: page(1), 2: page(2), 3: page(3)}


def test_everything_native_has_a_readable_repr() -> None:
    index = ltx.read_page_index(io.BytesIO(SNAPSHOT))
    decoder = ltx.open(io.BytesIO(SNAPSHOT))
    shown = [repr(each) for each in (header(), decoder, index, index.get(1), decoder.finish())]
    assert shown[0] == "Header(page_size=512, commit=3, min_txid=TXID(0x1), max_txid=TXID(0x4))"
    assert all(" object at 0x" not in text for text in shown)


def test_a_decoder_by_path_lets_go_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "one.ltx"
    path.write_bytes(SNAPSHOT)
    for _ in range(2000):  # more than a process may have open
        ltx.open(path).close()
    gc.collect()
    assert issubclass(FormatError, Error)
