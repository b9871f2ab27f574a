"""DB over a replica client in Python: what is lost, foreign or ahead is noticed and healed."""

from pathlib import Path

import pytest

from ltxcore import DB, TXID, FileClient
from ltxcore.errors import (
    BehindReplicaError,
    LTXFileExistsError,
)

from tests.unit.databases import eventually, insert, restored
from tests.unit.memory import MemoryClient, ltx_file, page


def test_a_file_that_the_replica_lost_is_sent_again(
    database: Path, client: MemoryClient, tmp_path: Path
) -> None:
    db = DB(database, replica=client)
    with db:
        for value in (1, 2, 3):
            insert(database, value)
            top = db.wait(timeout=10).txid
    del client.files[0, top - 1, top - 1]
    with db:
        db.wait(timeout=10)
    assert client.txids(0) == [(n, n) for n in range(1, top + 1)]
    assert restored(client, tmp_path) == [1, 2, 3]


def test_a_hole_that_cannot_be_filled_is_healed_by_a_snapshot(
    database: Path, client: MemoryClient, tmp_path: Path
) -> None:
    db = DB(database, replica=client, l0_retention=0)
    with db:
        for value in (1, 2, 3):
            insert(database, value)
            db.wait(timeout=10)
    client.files.clear()
    with db:
        insert(database, 4)
        db.wait(timeout=10)
        assert restored(client, tmp_path) == [1, 2, 3, 4]
    assert client.txids(9)
    assert not list(db.meta_path.glob("*.tmp"))


def test_a_replica_emptied_meanwhile_is_healed_too(db: DB, client: MemoryClient, tmp_path: Path) -> None:
    insert(db.path, 1)
    db.wait(timeout=10)
    client.files.clear()

    def fail_once(_key: object) -> None:
        client.before_write = lambda _key: None
        raise ConnectionError("and a failure makes it look again")

    client.before_write = fail_once
    insert(db.path, 2)
    db.wait(timeout=10)
    assert restored(client, tmp_path) == [1, 2]


def test_another_writer_is_noticed(database: Path, tmp_path: Path) -> None:
    client = FileClient(tmp_path / "replica")
    db = DB(database, replica=client).open()
    taken = TXID(db.wait(timeout=10).txid + 1)
    (tmp_path / "foreign").write_bytes(ltx_file({1: page(1)}, commit=1, min_txid=taken))
    client.write_ltx_path(0, taken, taken, tmp_path / "foreign")
    insert(database, 1)
    with pytest.raises(LTXFileExistsError):
        db.wait()
    with pytest.raises(LTXFileExistsError):
        db.close(timeout=0)
    with pytest.raises(LTXFileExistsError, match="another history"):
        db.open()


def test_a_replica_that_runs_ahead_is_noticed(db: DB, client: MemoryClient) -> None:
    top = db.wait(timeout=10).txid
    client.files[0, top + 9, top + 9] = ltx_file({1: page(1)}, commit=1, min_txid=top + 9)

    def fail_once(_key: object) -> None:
        client.before_write = lambda _key: None
        raise ConnectionError("a failure makes it look again")

    client.before_write = fail_once
    insert(db.path, 1)
    eventually(lambda: isinstance(db.status().last_error, BehindReplicaError))
    with pytest.raises(BehindReplicaError) as caught:
        db.wait()
    assert caught.value.max_txid == top + 9
    with pytest.raises(BehindReplicaError):
        db.close(timeout=0)


def test_history_goes_on_after_local_files_are_lost(
    database: Path, client: MemoryClient, tmp_path: Path
) -> None:
    db = DB(database, replica=client)
    with db:
        insert(database, 1)
        top = db.wait(timeout=10).txid
    import shutil

    shutil.rmtree(db.meta_path)
    insert(database, 2)
    with db:
        assert db.wait(timeout=10).txid > top
    assert restored(client, tmp_path) == [1, 2]
