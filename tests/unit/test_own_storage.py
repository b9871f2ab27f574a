"""The whole product over a storage that the product knows nothing of: in memory, and failing every second time."""

import io
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import ltxcore
from ltxcore import DB, TXID, Replica
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import BehindReplicaError, LTXFileExistsError
from ltxcore.stores import Capabilities, ObjectStore

from tests.helpers.stores import DirectoryStore, FlakyStore, MemoryStore
from tests.unit.databases import eventually, insert, restored
from tests.unit.memory import filled_client, ltx_file, page

pytestmark = pytest.mark.usefixtures("looks_often")

STORES: dict[str, Callable[[Path], ObjectStore]] = {
    "memory": lambda _: MemoryStore(),
    "memory that can do nothing": lambda _: MemoryStore(Capabilities()),
    "directory": lambda path: DirectoryStore(path / "store"),
    "flaky": lambda _: FlakyStore(MemoryStore()),
    "flaky and can do nothing": lambda _: FlakyStore(MemoryStore(Capabilities())),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    for module in ("_transfer", "objects"):
        monkeypatch.setattr(f"ltxcore.clients.{module}.PAUSES", (0.001,) * 3)
    return STORES[request.param](tmp_path)


@pytest.fixture
def client(store: ObjectStore) -> ObjectReplicaClient:
    return ObjectReplicaClient(store, "backups/app")


@pytest.fixture
def db(database: Path, client: ObjectReplicaClient) -> Iterator[DB]:
    with DB(database, replica=Replica(client, sync_interval=0.05), monitor_interval=0.05) as opened:
        yield opened


def names(client: ltxcore.ReplicaClient, level: int) -> list[tuple[int, int]]:
    return [(file.min_txid, file.max_txid) for file in client.ltx_files(level)]


def rows(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x")]


def test_replicated_restored_snapshot_compacted(
    database: Path, db: DB, client: ObjectReplicaClient, tmp_path: Path
) -> None:
    for value in (1, 2, 3):
        insert(database, value)
        db.wait(timeout=20)
    assert restored(client, tmp_path) == [1, 2, 3]
    top = db.pos.txid
    merged = db.compact(1)
    assert merged is not None and merged.max_txid == top
    assert names(client, 1) == [(1, top)]
    assert db.compact(1) is None
    insert(database, 4)
    db.wait(timeout=20)
    snapshot = db.snapshot()
    assert names(client, 9) == [(1, snapshot.max_txid)]
    client.delete_ltx_files([*client.ltx_files(0)][:2])
    assert restored(client, tmp_path) == [1, 2, 3, 4]
    points = ltxcore.restore_points(client)
    assert points[-1].txid == snapshot.max_txid
    ltxcore.restore(client, tmp_path / "old.db", txid=top)
    assert rows(tmp_path / "old.db") == [1, 2, 3]
    ltxcore.restore(client, tmp_path / "then.db", timestamp=points[-1].created_at)
    assert rows(tmp_path / "then.db")[:3] == [1, 2, 3]


def test_a_later_start_goes_on(database: Path, client: ObjectReplicaClient, tmp_path: Path) -> None:
    for value in (1, 2, 3):
        with DB(database, replica=Replica(client, sync_interval=0.05), monitor_interval=0.05) as db:
            insert(database, value)
            db.wait(timeout=20)
    assert restored(client, tmp_path) == [1, 2, 3]
    txids = [low for low, _ in names(client, 0)]
    assert txids == list(range(1, len(txids) + 1))


def test_what_is_lost_is_sent_again(
    database: Path, db: DB, client: ObjectReplicaClient, tmp_path: Path
) -> None:
    insert(database, 1)
    db.wait(timeout=20)
    client.delete_all()
    insert(database, 2)

    def is_back() -> bool:
        # Where no token tells of changes, a wait lists the files if that was not done within the last second.
        db.wait(timeout=20)
        return restored_or_nothing(client, tmp_path) == [1, 2]

    eventually(is_back, timeout=20)


def restored_or_nothing(client: ltxcore.ReplicaClient, tmp_path: Path) -> list[int]:
    try:
        return restored(client, tmp_path)
    except ltxcore.errors.RestoreError:
        return []


def test_followed(database: Path, db: DB, client: ObjectReplicaClient, tmp_path: Path) -> None:
    insert(database, 1)
    db.wait(timeout=20)
    with ltxcore.follow(client, tmp_path / "copy.db", interval=0.05) as copy:
        assert rows(copy.path) == [1]
        for value in (2, 3):
            insert(database, value)
            txid = db.wait(timeout=20).txid
            eventually(lambda txid=txid: copy.txid >= txid, timeout=20)  # type: ignore[misc]
            assert rows(copy.path) == list(range(1, value + 1))
        db.compact(1)
        client.delete_ltx_files([*client.ltx_files(0)][:-1])
        insert(database, 4)
        txid = db.wait(timeout=20).txid
        eventually(lambda: copy.txid >= txid, timeout=20)
        assert rows(copy.path) == [1, 2, 3, 4]


def test_every_second_request_has_failed(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the other cases would prove nothing."""
    for module in ("_transfer", "objects"):
        monkeypatch.setattr(f"ltxcore.clients.{module}.PAUSES", (0.001,) * 3)
    store = FlakyStore(MemoryStore())
    with DB(database, replica=Replica(ObjectReplicaClient(store))) as db:
        insert(database, 1)
        db.wait(timeout=20)
    assert store.failed >= 4


def test_two_databases_do_not_share_a_prefix(database: Path, store: ObjectStore, tmp_path: Path) -> None:
    with DB(database, replica=ObjectReplicaClient(store, "a/b")):
        for prefix in ("a/b", "a/b/"):
            with pytest.raises(ltxcore.errors.ConfigError, match="another database"):
                DB(tmp_path / "other.db", replica=ObjectReplicaClient(store, prefix)).open()
        with DB(tmp_path / "other.db", replica=ObjectReplicaClient(store, "a")):
            pass


def test_a_replica_that_was_replaced_by_another_is_noticed(database: Path, tmp_path: Path) -> None:
    """As in a directory, where requests cost nothing."""
    client = ObjectReplicaClient(MemoryStore())
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (?)", [(value,) for value in range(3000)])
        connection.commit()
    foreign = ObjectReplicaClient(MemoryStore())
    with DB(other, replica=foreign) as db:
        db.wait(timeout=20)
        db.snapshot()
    with DB(database, replica=client) as db:
        insert(database, 1)
        db.wait(timeout=20)
    client.store.objects = foreign.store.objects  # type: ignore[attr-defined]
    refused = (LTXFileExistsError, BehindReplicaError)
    with pytest.raises(refused), DB(database, replica=client) as db:
        insert(database, 2)
        db.wait(timeout=5)


def test_a_file_of_another_writer_stays(database: Path, client: ObjectReplicaClient) -> None:
    """It has taken the TXID that is next here: the upload ends with an error, and replaces nothing."""
    db = DB(database, replica=Replica(client, sync_interval=0.05), monitor_interval=0.05).open()
    refused = (LTXFileExistsError, BehindReplicaError)
    try:
        insert(database, 1)
        txid = TXID(db.wait(timeout=20).txid + 1)
        foreign = ltx_file({1: page(7)}, commit=2, min_txid=txid)
        client.write_ltx_file(0, txid, txid, io.BytesIO(foreign))
        insert(database, 2)
        with pytest.raises(refused):
            db.wait()
    finally:
        with pytest.raises(refused):
            db.close(timeout=0)
    assert client.read_ltx_file(0, txid, txid) == foreign
    assert names(client, 0)[-1] == (txid, txid)


def test_what_a_client_does_not_store_is_not_left_open(tmp_path: Path) -> None:
    """The temporary file of a merge stayed open until somebody collected it."""
    client = filled_client()
    given: list[Any] = []

    class Refuses(type(client)):  # type: ignore[misc]
        def write_ltx_file(self, *name: Any) -> Any:
            given.append(name[-1])
            if len(given) == 1:
                raise ConnectionError("on purpose")
            return None if len(given) == 2 else super().write_ltx_file(*name)

    client.__class__ = Refuses
    for refusal in (ConnectionError, AttributeError):
        with pytest.raises(refusal):
            Replica(client).compact(1)
    assert Replica(client).compact(1) is not None
    assert [file.closed for file in given] == [True] * 3
