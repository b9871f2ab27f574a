"""The store for coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, ParamSpec, Self, TypeVar

from ltxcore._process import runtime
from ltxcore._process.awaiting import futurable
from ltxcore.blob_store._store import BlobStore
from ltxcore.blob_store._values import BlobStat, Options, Report, Stats, Tags, Usage
from ltxcore.errors import StoreClosedError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, StrPath, SupportsRead

P = ParamSpec("P")
R = TypeVar("R")
#: Names that are asked for at once.
PAGE = 1000


class AsyncBlobStore:
    """The same verbs as :class:`BlobStore`, to be awaited; of the same store.

    Nothing but opening it blocks the event loop: writes wait for their batch without a thread, everything else runs in
    ``options.readers`` threads of the store's own. Cancelling a write does not take it back.

    Args:
        path: the file, or a store that is open already, which :meth:`close` then leaves open.
        capacity: as for :class:`BlobStore`.
        options: as for :class:`BlobStore`.
    """

    def __init__(
        self,
        path: StrPath | BlobStore,
        *,
        capacity: int | Literal["keep"] | None = "keep",
        options: Options | None = None,
    ) -> None:
        self._is_closed = False
        self._born_in = runtime.generation()
        self._owns = not isinstance(path, BlobStore)
        self.store = (
            path if isinstance(path, BlobStore) else BlobStore(path, capacity=capacity, options=options)
        )
        self._threads = ThreadPoolExecutor(
            self.store.options.readers, thread_name_prefix="ltxcore-blob-async"
        )

    async def _run(self, action: Callable[P, R], *args: P.args, **keywords: P.kwargs) -> R:
        # An executor in a forked child waits for threads that do not exist there.
        runtime.check(self._born_in, "open a new store in the child")
        if self._is_closed:
            raise StoreClosedError("the store is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: futurable(action)(*args, **keywords))

    async def put(self, name: str, data: ReadableBuffer, *, tags: Tags | None = None) -> None:
        """See :meth:`BlobStore.put`."""
        if memoryview(data).nbytes > self.store.options.batch_max_bytes:
            await self._run(self.store.put, name, data, tags=tags)
            return
        # Handing over may have to wait for room, so it is not done on the event loop.
        future = await self._run(self.store.put_nowait, name, data, tags=tags)
        await asyncio.wrap_future(future)

    async def put_sized(
        self,
        name: str,
        source: SupportsRead[bytes],
        size: int,
        *,
        tags: Tags | None = None,
    ) -> None:
        """See :meth:`BlobStore.put_sized`. The source is read in a thread."""
        await self._run(self.store.put_sized, name, source, size, tags=tags)

    async def get(self, name: str, default: bytes | None = None) -> bytes | None:
        """See :meth:`BlobStore.get`."""
        found = await self._run(self.store.get, name)
        return default if found is None else found

    async def read(self, name: str) -> bytes:
        """The bytes of a blob.

        Raises:
            BlobNotFoundError: there is no such blob.
        """
        return await self._run(self.store.__getitem__, name)

    async def read_range(self, name: str, offset: int, length: int) -> bytes:
        """See :meth:`BlobStore.read_range`."""
        return await self._run(self.store.read_range, name, offset, length)

    async def read_consecutive_chunks(self, prefix: str, *, size: int | None = None) -> bytes:
        """See :meth:`BlobStore.read_consecutive_chunks`."""
        return await self._run(self.store.read_consecutive_chunks, prefix, size=size)

    async def exists(self, name: str) -> bool:
        """Whether there is such a blob."""
        return await self._run(self.store.__contains__, name)

    async def stat(self, name: str) -> BlobStat:
        """See :meth:`BlobStore.stat`."""
        return await self._run(self.store.stat, name)

    async def delete(self, name: str, *, missing_ok: bool = False) -> None:
        """See :meth:`BlobStore.delete`."""
        await self._run(self.store.delete, name, missing_ok=missing_ok)

    async def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """See :meth:`BlobStore.rename`."""
        await self._run(self.store.rename, source, target, overwrite=overwrite)

    async def delete_prefix(self, prefix: str) -> int:
        """See :meth:`BlobStore.delete_prefix`."""
        return await self._run(self.store.delete_prefix, prefix)

    async def rename_prefix(self, old: str, new: str) -> int:
        """See :meth:`BlobStore.rename_prefix`."""
        return await self._run(self.store.rename_prefix, old, new)

    async def compose(self, target: str, prefix: str, *, size: int | None = None, delete: bool = True) -> int:
        """See :meth:`BlobStore.compose`."""
        return await self._run(self.store.compose, target, prefix, size=size, delete=delete)

    async def list(self, prefix: str = "", *, after: str | None = None) -> AsyncIterator[str]:
        """See :meth:`BlobStore.list`."""
        last = after
        while True:
            names = await self._run(lambda: [*self.store.list(prefix, after=last, limit=PAGE)])  # noqa: B023
            for name in names:
                yield name
            if len(names) < PAGE:
                return
            last = names[-1]

    async def set_capacity(self, capacity: int | None) -> None:
        """Bound the payload; see :attr:`BlobStore.capacity`."""
        await self._run(setattr, self.store, "capacity", capacity)

    async def stats(self) -> Stats:
        """See :meth:`BlobStore.stats`."""
        return self.store.stats()

    async def usage(self) -> Usage:
        """See :meth:`BlobStore.usage`."""
        return await self._run(self.store.usage)

    async def check(self, *, repair: bool = False) -> Report:
        """See :meth:`BlobStore.check`."""
        return await self._run(self.store.check, repair=repair)

    async def vacuum(self, pages: int | None = None) -> int:
        """See :meth:`BlobStore.vacuum`."""
        return await self._run(self.store.vacuum, pages)

    async def flush(self) -> None:
        """See :meth:`BlobStore.flush`."""
        await self._run(self.store.flush)

    async def close(self) -> None:
        """Let go of the threads, and of the store if it was opened here."""
        if self._is_closed or self._born_in != runtime.generation():
            return
        if self._owns:
            await self._run(self.store.close)
        self._is_closed = True
        await asyncio.to_thread(self._threads.shutdown)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self.close()
