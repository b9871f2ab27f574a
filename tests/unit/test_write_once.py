"""Storage where nothing may be deleted: write-once buckets, and credentials without that right."""

import logging
from collections.abc import Iterable
from pathlib import Path

import pytest

from ltxcore import DB, FileInfo, Replica
from ltxcore.errors import ReplicaPermissionError

from tests.unit.databases import insert, restored
from tests.unit.memory import MemoryClient


class WriteOnce(MemoryClient):
    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def delete_ltx_files(self, files: Iterable[FileInfo]) -> None:
        self.asked += 1
        raise ReplicaPermissionError("access is denied: s3:DeleteObject")


def test_a_damaged_file_that_may_not_be_deleted_is_covered_by_a_snapshot(
    database: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = WriteOnce()
    with DB(database, replica=Replica(client, sync_interval=0.05), monitor_interval=0.05) as db:
        for value in (1, 2, 3):
            insert(database, value)
            db.wait(timeout=10)
    key = (0, db_txid := client.txids(0)[-2][0], db_txid)
    client.files[key] = client.files[key][:-20]
    with (
        caplog.at_level(logging.WARNING, "ltxcore"),
        DB(database, replica=Replica(client, sync_interval=0.05), monitor_interval=0.05) as db,
    ):
        db.wait(timeout=10)
        assert restored(client, tmp_path) == [1, 2, 3]
        for value in (4, 5):
            insert(database, value)
            db.wait(timeout=10)
        assert db.status().last_error is None
    assert client.txids(9)
    assert client.asked == 1
    assert "access is denied" in caplog.text
    assert restored(client, tmp_path) == [1, 2, 3, 4, 5]
