"""Awaiting what blocks: work in a thread, and what becomes of it if nobody awaits it any more.

``asyncio`` is slow to import, and most programs never wait this way, so each function imports it.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ltxcore.errors import RestoreCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Future

P = ParamSpec("P")
R = TypeVar("R")

_cancelled: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar(
    "_cancelled", default=None
)


def futurable(work: Callable[P, R]) -> Callable[P, R]:
    """The same work, raising only what a future can hold: instead of a ``StopIteration`` a ``RuntimeError``, as generators do.

    With Python 3.11 and the first releases of 3.12, whoever awaits a future of asyncio that should hold one waits for ever.
    """

    @functools.wraps(work)
    def raising(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return work(*args, **kwargs)
        except StopIteration as error:
            raise RuntimeError(f"StopIteration was raised: {error}") from error

    return raising


async def to_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What ``work`` returns in a thread of the event loop's default executor. Cancelling this does not end it."""
    import asyncio

    return await asyncio.to_thread(futurable(work), *args, **kwargs)


async def in_thread(
    work: Callable[[], R], cancel: Callable[[], None], discard: Callable[[R], object] | None = None
) -> R:
    """What ``work`` returns in a thread of the event loop's default executor.

    If the caller is cancelled, ``cancel`` is called at once, and ``discard``, in a thread, with what ``work`` still returns.
    """
    import asyncio
    from concurrent.futures import Future

    job: Future[R] = Future()
    job.set_running_or_notify_cancel()  # so that cancelling does not touch the result
    context = contextvars.copy_context()
    # Its end is that of the job.
    _ = asyncio.get_running_loop().run_in_executor(None, context.run, _settle, job, futurable(work))
    try:
        return await asyncio.wrap_future(job)
    except asyncio.CancelledError:
        cancel()
        if discard is not None:
            job.add_done_callback(functools.partial(_discard, discard))
        raise


def _settle(job: Future[R], work: Callable[[], R]) -> None:
    try:
        result = work()
    except BaseException as error:  # whoever awaits it raises it
        job.set_exception(error)
    else:
        job.set_result(result)


def _discard(discard: Callable[[R], object], job: Future[R]) -> None:
    if job.exception() is None:
        # It may take long, and this may be the thread of the event loop.
        threading.Thread(target=discard, args=(job.result(),), daemon=True).start()


def awaitable(
    function: Callable[P, R], discard: Callable[[R], object] | None = None
) -> Callable[P, Coroutine[Any, Any, R]]:
    """The twin of a function that restores and looks at :func:`cancellation` meanwhile."""

    @functools.wraps(function)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> R:
        cancelled = threading.Event()

        def work() -> R:
            _cancelled.set(cancelled)  # in the thread's own context
            return function(*args, **kwargs)

        return await in_thread(work, cancelled.set, discard)

    twin.__name__ = twin.__qualname__ = f"{function.__name__}_async"
    twin.__doc__ = f""":func:`ltxcore.{function.__name__}`, without blocking the event loop.

    Cancelling it calls the restore off within a moment. Unless it was complete by then, nothing appears at the output.
    ``progress`` is called in a thread.
    """
    return twin


def cancellation() -> Callable[[], None] | None:
    """What raises once nobody awaits the work of this thread any more; ``None`` outside of a coroutine's thread."""
    cancelled = _cancelled.get()
    if cancelled is None:
        return None

    def check() -> None:
        if cancelled.is_set():
            raise RestoreCancelledError("the coroutine was cancelled", op="restore")

    return check
