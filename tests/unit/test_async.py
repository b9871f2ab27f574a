"""The twins for coroutines: they do what the calls do, and what cancelling them leaves behind."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import ltxcore
from ltxcore import DB, TXID, FollowedDatabase, Pos, Replica, errors
from ltxcore._process.awaiting import in_thread
from ltxcore.blob_store import AsyncBlobStore

from tests.helpers.replicas import Source
from tests.unit.memory import filled_client

WAIT = 10.0


@pytest.fixture
def live(tmp_path: Path) -> Iterator[DB]:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection, DB(path, replica=tmp_path / "replica") as db:
        connection.execute("CREATE TABLE t (v)")
        connection.commit()
        db.wait(timeout=WAIT)
        yield db


def test_every_twin_does_what_its_call_does(live: DB, tmp_path: Path) -> None:
    async def act() -> None:
        assert (await live.wait_async(timeout=WAIT)).txid == live.pos.txid
        snapshot = await live.snapshot_async()
        assert (snapshot.level, snapshot.max_txid) == (9, live.pos.txid)
        merged = await live.compact_async(1)
        assert merged is not None and merged.level == 1
        assert live.replica is not None
        assert await live.replica.compact_async(1) is None
        replica = Replica(tmp_path / "replica")
        done = await ltxcore.restore_async(replica.client, tmp_path / "out.db", txid=live.pos.txid)
        assert done.pos.txid == live.pos.txid
        with pytest.raises(errors.OutputExistsError):
            await ltxcore.restore_async(replica.client, tmp_path / "out.db")
        copy = await ltxcore.follow_async(tmp_path / "replica", tmp_path / "copy.db", interval=0.02)
        with copy:
            assert await copy.wait_async(timeout=WAIT) == Pos(live.pos.txid)

    asyncio.run(act())


def test_a_restore_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    client = filled_client()
    reading, go_on = threading.Event(), threading.Event()

    def hold(_key: object) -> None:
        reading.set()
        assert go_on.wait(WAIT)

    client.before_read = hold
    seen: list[object] = []

    async def act(twin: Any, output: Path) -> None:
        reading.clear()
        go_on.clear()
        task = asyncio.create_task(twin(client, output, progress=seen.append))
        await asyncio.to_thread(reading.wait, WAIT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # Nothing was waited for: the thread still holds.
        assert not go_on.is_set()
        go_on.set()

    for twin in (ltxcore.restore_async, ltxcore.follow_async):
        asyncio.run(act(twin, tmp_path / "out.db"))  # which waits for the threads of its executor
        assert list(tmp_path.iterdir()) == []


def test_a_follower_that_nobody_awaits_any_more_is_closed(tmp_path: Path) -> None:
    """It is made between the last look at the cancellation and the end of the thread."""
    source = Source(tmp_path)
    made: list[FollowedDatabase] = []
    made_it, go_on = threading.Event(), threading.Event()

    def work() -> FollowedDatabase:
        made.append(ltxcore.follow(source.client, tmp_path / "copy.db", interval=0.02))
        made_it.set()
        assert go_on.wait(WAIT)
        return made[0]

    async def act() -> None:
        task = asyncio.create_task(in_thread(work, lambda: None, FollowedDatabase.close))
        await asyncio.to_thread(made_it.wait, WAIT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    asyncio.run(act())
    end = time.monotonic() + WAIT
    while "no longer followed" not in _said(made[0]) and time.monotonic() < end:
        time.sleep(0.01)
    assert "no longer followed" in _said(made[0])


def _said(copy: FollowedDatabase) -> str:
    try:
        copy.wait(TXID(99), timeout=0)
    except (errors.NotOpenError, errors.ReplicaTimeoutError) as error:
        return str(error)
    return ""


def test_a_future_that_cannot_hold_what_was_raised_does_not_hang(
    live: DB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client, or a source of bytes, that forgets how `next()` ends raises StopIteration. Nobody could await that."""

    def raise_stop(*_args: object, **_options: object) -> Any:
        raise StopIteration("the mistake")

    client = filled_client()
    client.before_list = raise_stop
    for owner, name in ((DB, "wait"), (DB, "snapshot"), (DB, "compact"), (FollowedDatabase, "wait")):
        monkeypatch.setattr(owner, name, raise_stop)

    class Broken:
        read = raise_stop

    async def act(copy: FollowedDatabase) -> None:
        async with AsyncBlobStore(tmp_path / "blobs.db") as blobs:
            for awaited in (
                ltxcore.restore_async(client, tmp_path / "out.db"),
                ltxcore.follow_async(client, tmp_path / "copy.db"),
                Replica(client).compact_async(1),
                live.wait_async(),
                live.snapshot_async(),
                live.compact_async(1),
                copy.wait_async(),
                blobs.put_sized("name", Broken(), 100),
            ):
                with pytest.raises(RuntimeError, match=r"StopIteration.*the mistake") as caught:
                    await asyncio.wait_for(awaited, WAIT)
                assert isinstance(caught.value.__cause__, StopIteration)

    with ltxcore.follow(tmp_path / "replica", tmp_path / "followed.db", interval=0.02) as copy:
        asyncio.run(act(copy))
