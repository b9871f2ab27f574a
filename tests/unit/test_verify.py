"""verify(): what a replica holds, byte by byte."""

import asyncio
import io
import sqlite3
from pathlib import Path

import pytest

import ltxcore
from ltxcore import TXID, FileClient, RestoreProgress, VerifyReport, verify
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import (
    ConfigError,
    DatabaseError,
    FormatError,
    NoSnapshotError,
    ReplicaError,
    RestoreError,
)
from ltxcore.ltx import format_filename

from tests.helpers.stores import MemoryStore
from tests.unit.memory import history


@pytest.fixture
def client(tmp_path: Path) -> FileClient:
    """Transactions 1 to 5, a snapshot of 3."""
    made = FileClient(tmp_path / "replica")
    for (level, low, high), data in history(5).files.items():
        made.write_ltx_file(level, TXID(low), TXID(high), io.BytesIO(data))
    return made


def damage(client: FileClient, level: int, txid: int) -> Path:
    path = client.path / "ltx" / str(level) / format_filename(txid, txid)
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    return path


def test_a_sound_replica(client: FileClient) -> None:
    seen: list[RestoreProgress] = []
    report = verify(client, progress=seen.append)
    assert (report.outcome, report.txid, report.obstacle) == ("ok", 5, None)
    assert (report.damaged, report.unread, report.gaps) == ((), (), ())
    assert report.files == len([*client.all_ltx_files()])
    assert report.bytes_read == sum(file.size for file in client.all_ltx_files()) == seen[-1].done


def test_a_damaged_file(client: FileClient) -> None:
    damage(client, 0, 4)
    report = verify(client.path)
    assert (report.outcome, report.txid) == ("bad", 3)
    (problem,) = report.damaged
    assert problem.file.name == format_filename(4, 4)
    assert isinstance(problem.error, FormatError)
    assert report.obstacle is problem.error


def test_a_missing_file(client: FileClient) -> None:
    (client.path / "ltx/0" / format_filename(4, 4)).unlink()
    report = verify(client)
    assert (report.outcome, report.txid) == ("bad", 3)
    assert isinstance(report.obstacle, RestoreError)
    (gap,) = report.gaps
    assert (gap.level, gap.after, gap.before) == (0, 3, format_filename(5, 5))


def test_files_that_cannot_be_read() -> None:
    class Locked(MemoryStore):
        def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
            raise ReplicaError(f"no access: {key}", transient=False)

    store = MemoryStore()
    client = ObjectReplicaClient(store)
    for (level, low, high), data in history(2).files.items():
        client.write_ltx_file(level, TXID(low), TXID(high), io.BytesIO(data))
    locked = Locked()
    locked.objects = store.objects
    report = verify(locked)
    assert (report.outcome, report.damaged) == ("inconclusive", ())
    assert all("no access" in str(problem.error) for problem in report.unread)
    assert report.obstacle is report.unread[0].error


def test_a_real_database(tmp_path: Path) -> None:
    with ltxcore.replicate(tmp_path / "app.db", tmp_path / "replica") as db:
        connection = sqlite3.connect(tmp_path / "app.db")
        for number in range(3):
            connection.execute("CREATE TABLE IF NOT EXISTS t (a)")
            connection.execute("INSERT INTO t VALUES (?)", (number,))
            connection.commit()
            db.wait(timeout=20)
        connection.close()
    for check in ("none", "quick", "full"):
        assert verify(tmp_path / "replica", integrity_check=check).outcome == "ok"  # type: ignore[arg-type]


def test_what_sqlite_finds(client: FileClient) -> None:
    # Pages of these histories are no database.
    report = verify(client, integrity_check="full")
    assert (report.outcome, report.damaged) == ("bad", ())
    assert isinstance(report.obstacle, DatabaseError)


def test_it_can_be_awaited(client: FileClient) -> None:
    assert asyncio.run(ltxcore.verify_async(client)).outcome == "ok"


def test_an_exception_from_the_callback_ends_it(client: FileClient) -> None:
    def stop(_: RestoreProgress) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        verify(client, progress=stop)


def test_refusals(tmp_path: Path, client: FileClient) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(NoSnapshotError):
            verify(path)
    with pytest.raises(ConfigError, match="parallelism"):
        verify(client, parallelism=0)
    with pytest.raises(ConfigError, match="integrity_check"):
        verify(client, integrity_check="some")  # type: ignore[arg-type]


def test_a_report_is_a_value() -> None:
    assert VerifyReport("ok", TXID(1), None, 1, 2, (), (), ()) == VerifyReport(
        "ok", TXID(1), None, 1, 2, (), (), ()
    )
