"""A page size that changes in the middle of a history: compaction goes on, and every state is restored."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore
from ltxcore import Replica, ltx
from ltxcore.errors import PageSizeChangedError


def change_page_size(path: Path, size: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for sql in (
            "PRAGMA journal_mode=delete",
            f"PRAGMA page_size={size}",
            "VACUUM",
            "PRAGMA journal_mode=wal",
        ):
            connection.execute(sql)


def commit(path: Path, replica: Path, times: int) -> None:
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
        ltxcore.DB(path, replica=replica) as db,
    ):
        connection.execute("CREATE TABLE IF NOT EXISTS t (v)")
        for _ in range(times):
            connection.execute("INSERT INTO t VALUES ('x')")
            db.wait(timeout=10)


def test_compaction_goes_on_beyond_a_change_of_page_size(tmp_path: Path) -> None:
    """VACUUM with another page size while nobody replicated: compact() said "damaged file" from then on, for ever."""
    path, replica = tmp_path / "app.db", Replica(tmp_path / "replica")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=wal")
    for size in (8192, 1024):
        commit(path, tmp_path / "replica", 3)
        change_page_size(path, size)
    commit(path, tmp_path / "replica", 3)
    for level in range(1, 9):
        made = replica.compact(level)
        assert made is not None
        assert made.max_txid == replica.newest_txid()
        assert replica.compact(level) is None
        sizes = set()
        for file in replica.files(level):
            data = replica.client.read_ltx_file(level, file.min_txid, file.max_txid)
            sizes.add(ltx.Header.parse(data[: ltx.HEADER_SIZE]).page_size)
        assert sizes == {4096, 8192, 1024}
    for point in ltxcore.restore_points(tmp_path / "replica"):
        output = tmp_path / f"{point.txid}.db"
        ltxcore.restore(tmp_path / "replica", output, txid=point.txid, integrity_check="full")
        output.unlink()


def test_without_a_snapshot_the_change_is_named_and_every_state_restored(tmp_path: Path) -> None:
    path, replica = tmp_path / "app.db", tmp_path / "replica"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=wal")
    commit(path, replica, 2)
    change_page_size(path, 8192)
    commit(path, replica, 2)
    for file in (replica / "ltx/9").iterdir():
        file.unlink()
    with pytest.raises(PageSizeChangedError) as caught:
        Replica(replica).compact(1)
    assert "4096 bytes" in str(caught.value)
    assert "8192 bytes" in str(caught.value)
    assert caught.value.level == 0
    assert caught.value.hint is not None
    assert "snapshot" in caught.value.hint
    points = ltxcore.restore_points(replica)
    sizes = {ltxcore.restore(replica, tmp_path / f"{n}.db", txid=n.txid).page_size for n in points}
    assert sizes == {4096, 8192}
