"""Restores from replicas that hold odd files, or nothing, and to places that are taken."""

import io
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore
from ltxcore import TXID, FileClient
from ltxcore.errors import NoSnapshotError, OutputExistsError, RestoreError, TruncatedError

from tests.unit.memory import MemoryClient, after, filled_client, history, state

STRAY = "ffffffffffffffff-ffffffffffffffff"


@pytest.mark.parametrize("size", [0, 100, 400])
def test_a_stray_file_is_named(tmp_path: Path, size: int) -> None:
    client = history(3)
    for key, data in client.files.items():
        FileClient(tmp_path / "replica").write_ltx_file(*map(TXID, key), io.BytesIO(data))  # type: ignore[arg-type]
    (tmp_path / "replica/ltx/0" / f"{STRAY}.ltx").write_bytes(bytes(size))
    with pytest.raises(RestoreError, match=f"level 0, transactions {STRAY}") as caught:
        ltxcore.restore(tmp_path / "replica", tmp_path / "out.db")
    assert caught.value.level == 0
    assert caught.value.hint is not None
    assert "delete that file" in caught.value.hint
    assert state(FileClient(tmp_path / "replica"), tmp_path / "out.db", txid=3) == 3


def test_an_empty_snapshot_is_done_without(tmp_path: Path) -> None:
    client = history(3)
    replica = tmp_path / "replica"
    for key, data in client.files.items():
        FileClient(replica).write_ltx_file(*map(TXID, key), io.BytesIO(data))  # type: ignore[arg-type]
    (replica / "ltx/9").mkdir()
    (replica / "ltx/9" / f"{TXID(1)}-{TXID(3)}.ltx").touch()
    (replica / "ltx/1").mkdir()
    (replica / "ltx/1" / f"{TXID(2)}-{TXID(3)}.ltx").write_bytes(b"LTX1")
    assert state(FileClient(replica), tmp_path / "out.db") == 3
    assert [point.txid for point in ltxcore.restore_points(replica)] == [1, 2, 3]
    (replica / "ltx/0" / f"{TXID(2)}-{TXID(2)}.ltx").write_bytes(b"")
    with pytest.raises(TruncatedError, match="transactions 0000000000000002-0000000000000002") as caught:
        ltxcore.restore(replica, tmp_path / "out.db", overwrite=True)
    assert caught.value.level == 0
    assert caught.value.hint is not None


def test_an_output_that_exists_says_what_to_pass(tmp_path: Path) -> None:
    output = tmp_path / "out.db"
    for path in (output, tmp_path / "out.db-wal"):
        path.touch()
        with pytest.raises(OutputExistsError) as caught:
            ltxcore.restore(filled_client(), output)
        assert caught.value.path == str(path)
        assert caught.value.hint is not None
        assert "overwrite=True" in caught.value.hint
        path.unlink()
    output.mkdir()
    with pytest.raises(OutputExistsError, match="is not a file") as caught:
        ltxcore.restore(filled_client(), output, overwrite=True)
    assert caught.value.hint is not None
    assert "overwrite" not in caught.value.hint


def test_a_place_without_a_replica_is_named(tmp_path: Path) -> None:
    for target in ({}, {"txid": 5}, {"timestamp": after(1)}):
        with pytest.raises(NoSnapshotError) as caught:
            ltxcore.restore(tmp_path / "none", tmp_path / "out.db", **target)  # type: ignore[arg-type]
        assert str(caught.value) == f"there is no replica: {tmp_path}/none does not exist"
        assert caught.value.hint is not None
        assert "check the path" in caught.value.hint
        with pytest.raises(NoSnapshotError, match=f"the replica is empty: {tmp_path}"):
            ltxcore.restore(tmp_path, tmp_path / "out.db", **target)  # type: ignore[arg-type]
    with pytest.raises(NoSnapshotError, match=r"the replica is empty: <.*MemoryClient"):
        ltxcore.restore(MemoryClient(), tmp_path / "out.db")


def test_a_database_for_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """In WAL mode SQLite makes files beside a database even to read it."""
    stored = tmp_path / "replica"
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        connection.execute("CREATE TABLE t (v)")
        with ltxcore.DB(tmp_path / "app.db", replica=stored) as db:
            connection.execute("INSERT INTO t VALUES ('x')")
            db.wait(timeout=10)
    ltxcore.restore(stored, tmp_path / "kept.db")
    ltxcore.restore(stored, tmp_path / "out.db", journal_mode="delete", integrity_check="quick")
    assert (tmp_path / "kept.db").read_bytes()[18:20] == b"\2\2"
    assert (tmp_path / "out.db").read_bytes()[18:20] == b"\1\1"
    kept, out = (tmp_path / name for name in ("kept.db", "out.db"))
    assert kept.read_bytes()[20:] == out.read_bytes()[20:]
    with closing(sqlite3.connect(out)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    with pytest.raises(ValueError, match="journal_mode"):
        ltxcore.restore(stored, tmp_path / "other.db", journal_mode="wal")  # type: ignore[arg-type]
