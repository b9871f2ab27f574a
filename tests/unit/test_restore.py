"""restore(), restore_points() and compaction over a client written in Python."""

import io
import os
import signal
import sqlite3
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import ltxcore
from ltxcore import TXID, FileClient, Replica, RestorePoint, RestoreProgress, ltx
from ltxcore.errors import (
    ChecksumMismatchError,
    ConfigError,
    IntegrityCheckError,
    NoSnapshotError,
    OutputExistsError,
    RestoreError,
    TruncatedError,
    TXIDNotAvailableError,
)

from tests.unit.memory import EPOCH, MemoryClient, filled_client, ltx_file, page, run_sql

STATES = {1: page(1) + page(2), 2: page(1) + page(3), 3: page(4) + page(3) + page(5)}


def after(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


@pytest.mark.parametrize("parallelism", [1, 8])
def test_the_newest_state_comes_from_a_python_client(tmp_path: Path, parallelism: int) -> None:
    client, output = filled_client(), tmp_path / "out.db"
    result = ltxcore.restore(client, output, parallelism=parallelism)
    assert output.read_bytes() == STATES[3]
    assert result.path == output
    assert str(result.pos) == "0000000000000003/0000000000000000"
    assert (result.page_size, result.page_count, result.clamped) == (512, 3, False)
    assert [file.max_txid for file in result.files] == [1, 2, 3]
    assert result.files[0].created_at == after(1)
    assert result.bytes_read == sum(map(len, client.files.values()))
    assert all(file.closed for file in client.opened)
    assert os.listdir(tmp_path) == ["out.db"]


@pytest.mark.parametrize(
    ("chosen", "state"),
    [
        ({"txid": 1}, 1),
        ({"txid": "0000000000000002"}, 2),
        ({"txid": TXID(3)}, 3),
        ({"timestamp": after(1.5)}, 1),
        ({"timestamp": after(2)}, 1),
        ({"timestamp": after(2.0005)}, 2),
        ({"timestamp": after(2.5).isoformat()}, 2),
        ({"timestamp": after(99)}, 3),
    ],
)
def test_earlier_states_are_restored_by_txid_and_time(
    tmp_path: Path, chosen: dict[str, Any], state: int
) -> None:
    result = ltxcore.restore(filled_client(), tmp_path / "out.db", **chosen)
    assert (tmp_path / "out.db").read_bytes() == STATES[state]
    assert result.clamped == (chosen == {"timestamp": after(99)})


def test_arguments_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    output = tmp_path / "out.db"
    for wrong in (
        {"txid": 1, "timestamp": after(1)},
        {"timestamp": "2026-01-01T00:00:00"},
        {"timestamp": datetime(2026, 1, 1)},  # noqa: DTZ001 - the point of the test
        {"timestamp": 1767225600.0},
        {"timestamp": "yesterday"},
        {"txid": "1"},
        {"txid": -1},
        {"integrity_check": "some"},
        {"journal_mode": "wal"},
    ):
        with pytest.raises(ltxcore.Error) as caught:
            ltxcore.restore(filled_client(), output, **wrong)  # type: ignore[arg-type]
        assert isinstance(caught.value, ValueError), wrong
    for empty in (ltxcore.restore, ltxcore.follow):
        with pytest.raises(ConfigError, match="path of the output is empty"):
            empty(filled_client(), "")
    assert not output.exists()


def test_what_cannot_be_restored_is_said(tmp_path: Path) -> None:
    output, client = tmp_path / "out.db", filled_client()
    with pytest.raises(NoSnapshotError):
        ltxcore.restore(MemoryClient(), output)
    with pytest.raises(NoSnapshotError):
        ltxcore.restore(client, output, timestamp=after(1))
    with pytest.raises(TXIDNotAvailableError, match="000000000000002a") as caught:
        ltxcore.restore(client, output, txid=42)
    assert (caught.value.txid, caught.value.available) == (42, 3)
    del client.files[0, 2, 2]
    with pytest.raises(RestoreError, match="are missing") as gap:
        ltxcore.restore(client, output)
    assert (gap.value.min_txid, gap.value.max_txid) == (3, 3)
    assert os.listdir(tmp_path) == []


def test_damage_names_its_file_and_leaves_nothing(tmp_path: Path) -> None:
    client = filled_client()
    data = client.files[0, 2, 2]
    client.files[0, 2, 2] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(ChecksumMismatchError) as caught:
        ltxcore.restore(client, tmp_path / "out.db")
    assert (caught.value.level, caught.value.min_txid, caught.value.max_txid) == (0, 2, 2)
    client.files[0, 2, 2] = data[:50]
    with pytest.raises((TruncatedError, RestoreError)):
        ltxcore.restore(client, tmp_path / "out.db")
    assert os.listdir(tmp_path) == []


def test_an_existing_output_is_kept_unless_told(tmp_path: Path) -> None:
    output = tmp_path / "out.db"
    output.write_bytes(b"precious")
    with pytest.raises(OutputExistsError) as caught:
        ltxcore.restore(filled_client(), output)
    assert isinstance(caught.value, FileExistsError)
    assert caught.value.path == str(output)
    assert output.read_bytes() == b"precious"
    ltxcore.restore(filled_client(), output, overwrite=True)
    assert output.read_bytes() == STATES[3]


@pytest.mark.parametrize("raised", [LookupError("mine"), KeyboardInterrupt("mine"), PermissionError("mine")])
@pytest.mark.parametrize("where", ["before_list", "before_read"])
def test_what_a_client_raises_comes_out_as_the_same_object(
    tmp_path: Path, raised: BaseException, where: str
) -> None:
    def fail(_what: object) -> None:
        raise raised

    client = filled_client()
    setattr(client, where, fail)
    with pytest.raises(type(raised)) as caught:
        ltxcore.restore(client, tmp_path / "out.db")
    assert caught.value is raised
    assert os.listdir(tmp_path) == []


def test_progress_is_reported_in_the_calling_thread(tmp_path: Path) -> None:
    seen: list[RestoreProgress] = []
    threads: set[int] = set()

    def report(at: RestoreProgress) -> None:
        seen.append(at)
        threads.add(threading.get_ident())

    result = ltxcore.restore(filled_client(), tmp_path / "out.db", progress=report)
    assert seen[-1] == RestoreProgress(result.bytes_read, result.bytes_read, 3, 3)
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("raised", [LookupError("enough"), KeyboardInterrupt("enough")])
def test_an_exception_from_progress_calls_the_restore_off(tmp_path: Path, raised: BaseException) -> None:
    slow, client = threading.Event(), filled_client()
    client.before_read = lambda _key: slow.wait(0.2) and None

    def refuse(_at: RestoreProgress) -> None:
        raise raised

    with pytest.raises(type(raised)) as caught:
        ltxcore.restore(client, tmp_path / "out.db", progress=refuse)
    assert caught.value is raised
    assert os.listdir(tmp_path) == []


def test_ctrl_c_ends_a_restore_that_hangs(tmp_path: Path) -> None:
    stuck, client = threading.Event(), filled_client()
    client.before_read = lambda _key: stuck.wait(10) and None
    threading.Timer(0.2, lambda: (signal.raise_signal(signal.SIGINT), time.sleep(0.2), stuck.set())).start()
    with pytest.raises(KeyboardInterrupt):
        ltxcore.restore(client, tmp_path / "out.db")
    assert os.listdir(tmp_path) == []


def test_sqlite_checks_the_result(tmp_path: Path) -> None:
    database, output, client = tmp_path / "db", tmp_path / "out.db", FileClient(tmp_path / "replica")
    run_sql(
        database,
        "PRAGMA page_size = 512",
        "CREATE TABLE t (x)",
        "CREATE INDEX i ON t (x)",
        "INSERT INTO t VALUES (1)",
    )
    sound = database.read_bytes()
    for txid, content in enumerate((sound, sound[:1024] + bytes(512)), 1):
        database.write_bytes(content)
        out = io.BytesIO()
        ltx.encode_database(database, out, txid=txid)
        client.write_ltx_file(9, TXID(1), TXID(txid), io.BytesIO(out.getvalue()))
    for check in ("quick", "full"):
        ltxcore.restore(client, output, txid=1, integrity_check=check, overwrite=True)  # type: ignore[arg-type]
    connection = sqlite3.connect(output)
    assert connection.execute("SELECT x FROM t").fetchall() == [(1,)]
    connection.close()
    before = output.read_bytes()
    with pytest.raises(IntegrityCheckError) as caught:
        ltxcore.restore(client, output, integrity_check="full", overwrite=True)
    assert caught.value.report
    assert caught.value.path == str(output)
    assert output.read_bytes() == before, "the old database stays until the new one is known to be sound"
    assert [path.name for path in output.parent.glob(f"{output.name}*")] == [output.name]


def test_points_are_all_states_with_their_first_time() -> None:
    client = filled_client()
    assert ltxcore.restore_points(client) == [RestorePoint(TXID(n), after(n)) for n in (1, 2, 3)]
    del client.files[0, 2, 2]
    assert ltxcore.restore_points(client) == [RestorePoint(TXID(1), after(1))]
    client.files[9, 1, 2] = ltx_file({1: page(1), 2: page(3)}, commit=2, min_txid=1, max_txid=2)
    assert [point.txid for point in ltxcore.restore_points(client)] == [1, 2, 3]


def test_compaction_through_a_python_client(tmp_path: Path) -> None:
    client = filled_client()
    replica = Replica(client)
    merged = replica.compact(1)
    assert merged is not None
    assert (merged.level, merged.min_txid, merged.max_txid, merged.created_at) == (1, 1, 3, after(3))
    assert replica.compact(1) is None
    assert client.txids(1) == [(1, 3)]
    for txid in (1, 2, 3):
        del client.files[0, txid, txid]
    ltxcore.restore(client, tmp_path / "out.db")
    assert (tmp_path / "out.db").read_bytes() == STATES[3]
    with pytest.raises(ValueError, match="1 to 8"):
        replica.compact(9)


def test_a_replica_knows_what_it_holds() -> None:
    replica = Replica(filled_client())
    assert replica.newest_txid() == 3
    assert [(file.level, file.max_txid) for file in replica.files()] == [(0, 1), (0, 2), (0, 3)]
    assert list(replica.files(5)) == []
    assert replica.time_bounds() == (after(1), after(3))
    with pytest.raises(NoSnapshotError):
        Replica(MemoryClient()).time_bounds()


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_exception_from_the_last_report_calls_the_restore_off_too(tmp_path: Path, overwrite: bool) -> None:
    """It came when the new database had replaced the old one already."""
    output = tmp_path / "out.db"
    if overwrite:
        output.write_bytes(b"old")

    def refuse(at: ltxcore.RestoreProgress) -> None:
        assert output.exists() == overwrite
        if at.done == at.total and at.files_done == at.files_total:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ltxcore.restore(filled_client(), output, overwrite=overwrite, progress=refuse)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"] * overwrite
