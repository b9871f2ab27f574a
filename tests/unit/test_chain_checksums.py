"""The checksums of a replica's pages, without a copy of the database."""

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore
from ltxcore import _ltxcore
from ltxcore.errors import OutputExistsError, TXIDNotAvailableError

from tests.unit.memory import filled_client, page


def page_sums(content: bytes, size: int) -> list[int]:
    """The checksum of each page of a database."""
    starts = range(0, len(content), size)
    return [ltx_sum(start // size + 1, content[start : start + size]) for start in starts]


def ltx_sum(number: int, body: bytes) -> int:
    """CRC-64/GO-ISO of the page number and the page, with the flag that every checksum has."""
    crc = 0xFFFF_FFFF_FFFF_FFFF
    for byte in struct.pack(">I", number) + body:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xD800_0000_0000_0000 if crc & 1 else 0)
    return (crc ^ 0xFFFF_FFFF_FFFF_FFFF) | 1 << 63


def test_they_are_those_of_the_restored_database(tmp_path: Path) -> None:
    replica, sums = tmp_path / "replica", tmp_path / "sums"
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE t (v)")
        with ltxcore.DB(tmp_path / "app.db", replica=replica) as database:
            for _ in range(4):
                connection.execute("INSERT INTO t VALUES (randomblob(900))")
                txid = database.wait(timeout=10).txid
    for number in range(1, txid + 1):
        size, count = _ltxcore.chain_checksums(ltxcore.FileClient(replica)._native, sums, txid=number)
        restored = ltxcore.restore(replica, tmp_path / "out.db", txid=number, overwrite=True)
        assert (size, count) == (restored.page_size, restored.page_count)
        content = (tmp_path / "out.db").read_bytes()
        found = struct.unpack(f">{count}Q", sums.read_bytes())
        assert list(found) == page_sums(content, size)
        total = 0
        for each in found:
            total ^= each
        assert total | 1 << 63 == _ltxcore.checksum_database(tmp_path / "out.db")
        sums.unlink()


def test_a_python_client_will_do(tmp_path: Path) -> None:
    client, sums = filled_client(), tmp_path / "sums"
    assert _ltxcore.chain_checksums(client, sums, txid=3) == (512, 3)
    pages = enumerate((page(4), page(3), page(5)), 1)
    assert sums.read_bytes() == struct.pack(">3Q", *(ltx_sum(number, body) for number, body in pages))
    assert all(file.closed for file in client.opened)


def test_a_file_that_is_there_is_not_touched_and_a_transaction_must_exist(tmp_path: Path) -> None:
    client, sums = filled_client(), tmp_path / "sums"
    with pytest.raises(TXIDNotAvailableError):
        _ltxcore.chain_checksums(client, sums, txid=4)
    assert not sums.exists()
    sums.write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match="sums already exists"):
        _ltxcore.chain_checksums(client, sums, txid=3)
    assert sums.read_bytes() == b"mine"
