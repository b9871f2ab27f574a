"""Replicas that change while they are read, and reads that end early."""

import http.client
import io
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest

import ltxcore
from ltxcore import TXID, FileClient, FileInfo, Replica
from ltxcore.errors import FormatError, LTXFileNotFoundError, TruncatedError

from tests.unit.memory import history, ltx_file, merge, page


@pytest.mark.parametrize("at", range(5))
def test_files_that_are_merged_while_they_are_read_are_planned_again(tmp_path: Path, at: int) -> None:
    """Compaction and retention beside a restore: it failed with LTXFileNotFoundError."""
    client, seen = history(5), []

    def merge_once(key: tuple[int, int, int]) -> None:
        seen.append(key)
        if len(seen) == at + 1:
            client.before_read = lambda _key: None
            merge(client)

    client.before_read = merge_once
    result = ltxcore.restore(client, tmp_path / "out.db")
    assert (result.pos.txid, result.files[-1].level) == (5, 1)
    assert os.listdir(tmp_path) == ["out.db"]


def test_a_follower_begins_with_the_state_that_was_restored(tmp_path: Path) -> None:
    """It had planned for a transaction, which was merged with the next ones before it was read."""
    client = history(5)

    def merge_once(_key: tuple[int, int, int]) -> None:
        client.before_read = lambda _key: None
        client.files[0, 6, 6] = ltx_file({1: page(6)}, commit=2, min_txid=6)
        merge(client)

    client.before_read = merge_once
    with ltxcore.follow(client, tmp_path / "out.db", interval=30) as followed:
        assert followed.txid == 6
        assert (tmp_path / "out.db-txid").read_text() == f"{TXID(6)}\n"
        assert (tmp_path / "out.db").read_bytes()[0] == 6


def test_a_replica_that_changes_all_the_time_is_given_up(tmp_path: Path) -> None:
    client, lists = history(3), []

    def lose(key: tuple[int, int, int]) -> None:
        raise LTXFileNotFoundError(f"no {key}")

    client.before_read = lose
    client.before_list = lists.append
    with pytest.raises(LTXFileNotFoundError):
        ltxcore.restore(client, tmp_path / "out.db")
    assert lists.count(0) == 5
    assert os.listdir(tmp_path) == []


def test_an_interrupt_is_not_taken_for_a_change(tmp_path: Path) -> None:
    client = history(3)

    def interrupt(_key: tuple[int, int, int]) -> None:
        client.files.pop((0, 2, 2), None)
        raise KeyboardInterrupt

    client.before_read = interrupt
    with pytest.raises(KeyboardInterrupt):
        ltxcore.restore(client, tmp_path / "out.db")


def test_inputs_of_a_compaction_that_somebody_else_has_merged(tmp_path: Path) -> None:
    client = history(5)

    def merge_once(_key: tuple[int, int, int]) -> None:
        client.before_read = lambda _key: None
        merge(client)

    client.before_read = merge_once
    assert Replica(client).compact(1) is None
    assert client.txids(1) == [(1, 5)]


class Flaky(FileClient):
    """A client whose first read of each place goes wrong once; it is a kind of file client all the same."""

    def __init__(self, path: Path, fail: Callable[[bytes], bytes], times: int = 1) -> None:
        super().__init__(path)
        self.fail, self.times = fail, times
        self.failed: dict[tuple[int, int, int], int] = {}
        self.lock = threading.Lock()

    def open_ltx_file(
        self, level: int, min_txid: TXID, max_txid: TXID, *, offset: int = 0, size: int | None = None
    ) -> BinaryIO:
        data = self.read_ltx_file(level, min_txid, max_txid, offset=offset, size=size)
        with self.lock:
            key = (level, min_txid, size or 0)
            self.failed[key] = self.failed.get(key, 0) + 1
            if self.failed[key] > self.times:
                return io.BytesIO(data)
        return io.BytesIO(self.fail(data))


def cut_short(data: bytes) -> bytes:
    return data[: len(data) // 2]


def incomplete(data: bytes) -> bytes:
    raise http.client.IncompleteRead(data[:3])


def end_of_file(_data: bytes) -> bytes:
    raise EOFError("connection closed")


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A replica with a file of several units, and small ones."""
    path, replica = tmp_path / "app.db", tmp_path / "replica"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        connection.execute("CREATE TABLE t (v)")
        connection.execute("INSERT INTO t VALUES (randomblob(2000000))")
        with ltxcore.DB(path, replica=replica) as db:
            for _ in range(3):
                connection.execute("INSERT INTO t VALUES ('x')")
                db.wait(timeout=10)
    return replica


@pytest.mark.parametrize("fail", [cut_short, incomplete, end_of_file])
def test_a_read_that_ends_early_once_is_made_again(
    tmp_path: Path, stored: Path, fail: Callable[[bytes], bytes]
) -> None:
    client = Flaky(stored, fail)
    ltxcore.restore(client, tmp_path / "out.db", integrity_check="full")
    assert client.failed
    client = Flaky(stored, fail)
    assert Replica(client).compact(1) is not None
    assert client.failed


def test_a_file_that_is_short_is_named_with_both_sizes(tmp_path: Path) -> None:
    client = history(3)
    whole = len(client.files[0, 2, 2])

    def cut(_key: tuple[int, int, int]) -> None:
        client.files[0, 2, 2] = client.files[0, 2, 2][:140]

    client.before_read = cut
    for work in (
        lambda: ltxcore.restore(client, tmp_path / "out.db", txid=3),
        lambda: Replica(client).compact(1),
    ):
        client.files[0, 2, 2] = history(3).files[0, 2, 2]
        # Planned again, it is a damaged file of 140 bytes.
        with pytest.raises((TruncatedError, FormatError), match="transactions 0000000000000002"):
            work()
    listed = client.ltx_files
    client.before_read = lambda _key: None
    client.ltx_files = lambda level, **more: (  # type: ignore[method-assign]
        file if file.min_txid != 2 else FileInfo(0, TXID(2), TXID(2), whole, file.created_at)
        for file in listed(level, **more)
    )
    with pytest.raises(TruncatedError) as caught:
        ltxcore.restore(client, tmp_path / "out.db")
    message = "level 0, transactions 0000000000000002-0000000000000002 ends after 140 bytes, expected"
    assert str(caught.value) == f"{message} {whole}"
    assert (caught.value.level, caught.value.min_txid, caught.value.offset) == (0, 2, 140)
