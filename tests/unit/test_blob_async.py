"""The store for coroutines: the same verbs, and nobody's event loop is held up."""

import asyncio
import inspect
import io
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from ltxcore.blob_store import AsyncBlobStore, BlobStore
from ltxcore.errors import BlobNotFoundError, BlobTooLargeError, SizeMismatchError, StoreClosedError

from tests.unit.blobs import opened, quick


def test_all_verbs_can_be_awaited(tmp_path: Path) -> None:
    async def main() -> None:
        options = quick(chunk_size=100, batch_max_bytes=1000)
        async with AsyncBlobStore(tmp_path / "s.db", capacity=10_000, options=options) as store:
            await store.put("a", b"bytes", tags={"k": 1})
            await store.put("long", bytearray(2000))
            await store.put_sized("sized", io.BytesIO(bytes(250)), 250, tags={"k": 2})
            assert await store.get("a") == b"bytes" == await store.read("a")
            assert await store.get("missing") is None and await store.get("missing", b"-") == b"-"
            assert await store.read_range("long", 1990, 100) == bytes(10)
            assert await store.exists("a") and not await store.exists("missing")
            assert (await store.stat("sized")).tags == {"k": 2}
            assert [name async for name in store.list()] == ["a", "long", "sized"]
            assert [name async for name in store.list("s", after="a")] == ["sized"]
            await store.rename("a", "b")
            await store.put("c", b"c")
            await store.rename("c", "b", overwrite=True)
            await store.delete("b")
            await store.delete("b", missing_ok=True)
            await store.put("p/0", b"01")
            await store.put("p/2", b"23")
            assert await store.read_consecutive_chunks("p/", size=4) == b"0123"
            assert await store.rename_prefix("p/", "q/") == 2
            assert await store.compose("whole", "q/", size=4, delete=False) == 4
            assert await store.delete_prefix("q/") == 2
            await store.flush()
            await store.set_capacity(2100)
            usage = await store.usage()
            assert (usage.capacity, usage.items) == (2100, 2)
            assert (await store.check()).is_clean
            assert await store.vacuum(0) == 0
            assert (await store.stats()).puts == 6

    asyncio.run(main())


def test_errors_come_to_whoever_awaits(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncBlobStore(tmp_path / "s.db", capacity=100, options=quick()) as store:
            with pytest.raises(BlobNotFoundError):
                await store.read("missing")
            with pytest.raises(BlobNotFoundError):
                await store.delete("missing")
            with pytest.raises(BlobTooLargeError):
                await store.put("a", bytes(101))
            with pytest.raises(SizeMismatchError):
                await store.put_sized("a", io.BytesIO(b"short"), 50)
            with pytest.raises(TypeError):
                await store.put("a", "text")  # type: ignore[arg-type]  # the point of the test
            outcomes = await asyncio.gather(
                store.put("a", b"x"), store.put("b", bytes(101)), store.put("c", b"y"), return_exceptions=True
            )
            assert [type(outcome) for outcome in outcomes] == [type(None), BlobTooLargeError, type(None)]

    asyncio.run(main())


def test_many_coroutines_share_transactions(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncBlobStore(tmp_path / "s.db", options=quick(linger=0.01)) as store:
            await asyncio.gather(*(store.put(f"{number:03}", b"%d" % number) for number in range(200)))
            found = await asyncio.gather(*(store.read(f"{number:03}") for number in range(200)))
            assert found == [b"%d" % number for number in range(200)]
            stats = await store.stats()
            assert stats.batches < 150 and stats.batched_ops >= 200

    asyncio.run(main())


def test_a_slow_source_does_not_hold_the_event_loop_up(tmp_path: Path) -> None:
    go_on = threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert go_on.wait(10)
            return super().read(size)

    async def main() -> None:
        async with AsyncBlobStore(tmp_path / "s.db", options=quick()) as store:
            task = asyncio.create_task(store.put_sized("slow", Slow(b"x"), 1))
            for number in range(5):
                await asyncio.wait_for(store.put(f"{number}", b"x"), 5)
            assert not task.done()
            go_on.set()
            await task
            assert await store.read("slow") == b"x"

    asyncio.run(main())


def test_a_put_that_is_cancelled_is_not_taken_back_and_harms_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncBlobStore(tmp_path / "s.db", options=quick(linger=0.1)) as store:
            task = asyncio.create_task(store.put("a", b"x"))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await store.put("b", b"y")
            assert await store.read("b") == b"y"

    asyncio.run(main())
    with opened(tmp_path / "s.db") as store:
        assert "b" in store and store.check().is_clean


def test_a_store_that_was_open_before_stays_open(tmp_path: Path) -> None:
    async def main(store: BlobStore) -> None:
        async with AsyncBlobStore(store) as beside:
            await beside.put("a", b"x")
            assert beside.store is store

    with opened(tmp_path / "s.db") as store:
        asyncio.run(main(store))
        assert store["a"] == b"x"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ltxcore-blob-async")]


def test_a_closed_store_says_so_to_coroutines_and_closes_twice(tmp_path: Path) -> None:
    async def main() -> None:
        store = AsyncBlobStore(tmp_path / "s.db", options=quick())
        await store.put("a", b"x")
        await store.close()
        await store.close()
        uses: list[Coroutine[Any, Any, object]] = [
            store.get("a"),
            store.put("a", b"x"),
            store.delete("a"),
            store.exists("a"),
            store.usage(),
        ]
        for use in uses:
            with pytest.raises(StoreClosedError):
                await use

    asyncio.run(main())


def test_verbs_have_the_parameters_that_they_have_without_await() -> None:
    for name in (
        "put",
        "put_sized",
        "get",
        "read_range",
        "stat",
        "delete",
        "rename",
        "delete_prefix",
        "compose",
    ):
        plain = inspect.signature(getattr(BlobStore, name)).parameters
        awaited = inspect.signature(getattr(AsyncBlobStore, name)).parameters
        assert list(plain) == list(awaited), name
