"""The lease of a replica while this process holds it: a thread that takes it, renews it and gives it back."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from ltxcore._process import runtime
from ltxcore._process.backoff import Backoff, as_exception, keep_going
from ltxcore._process.log import Log
from ltxcore._process.times import argument_error
from ltxcore._process.wakeup import Wakeup
from ltxcore.clients._lease import TTL, Lease
from ltxcore.errors import (
    ConfigError,
    Error,
    FormatError,
    InternalError,
    LeaseHeldError,
    LeaseLostError,
    ReplicaPermissionError,
    ReplicaTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from ltxcore._process.log import Logger
    from ltxcore.clients import ReplicaClient

#: Between two renewals, in seconds.
RENEWAL_INTERVAL = TTL / 3
# How long acquiring may take, and for how long it is tried again after errors of the storage, in seconds.
_ACQUIRE_TIMEOUT, _RETRIES_TIMEOUT = 20.0, 10.0
# How long giving it back is waited for, in seconds. After that it expires by itself.
_RELEASE_TIMEOUT = 3.0
# Between two attempts to acquire it, in seconds.
_PAUSE = 0.5
_NO_RETRY = (ConfigError, FormatError, LeaseHeldError, ReplicaPermissionError)


class HeldLease:
    """The lease of a replica while this process holds it. :meth:`Replica.acquire_lease` makes it.

    A thread renews the lease every 10 seconds. If that fails, the thread tries again until it succeeds or another program has
    taken the lease. After 25 seconds without a renewal the lease counts as not held until it is renewed. As a context manager,
    it is released at the end.
    """

    def __init__(self, client: ReplicaClient, logger: Logger) -> None:
        self._client = client
        self._what = repr(client)
        self._lease = _lease_of(client)
        self._backoff = Backoff("renewal of the lease", self._what, 1.0, logger, is_local=True)
        self._log = Log(logger)
        self._generation = runtime.generation()
        self._wakeup = Wakeup()
        self._on_change: Callable[[], None] = _nothing
        self._is_acquired = self._is_ending = self._has_ended = False
        self._gives_back = True
        self._lost: Error | None = None
        self._due = 0.0
        self._thread = threading.Thread(target=self._main, name="ltxcore-lease", daemon=True)

    def __repr__(self) -> str:
        return f"<HeldLease of {self._what}: {'held' if self.is_held else 'not held'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def is_held(self) -> bool:
        """Whether this process may write to the replica now."""
        return self._lost is None and self._is_acquired and not self.has_ended and self._lease.is_held

    @property
    def has_ended(self) -> bool:
        """Whether the lease is not renewed any more: it was released or lost."""
        return self._has_ended or self._is_ending or runtime.is_inherited(self._generation)

    @property
    def lost(self) -> Error | None:
        """The error about a lease that another program has taken or removed, which cannot be renewed; otherwise ``None``."""
        return self._lost

    @property
    def error(self) -> BaseException | None:
        """What the last renewal failed with, or ``None``."""
        return self._lost or self._backoff.error

    def check(self) -> None:
        """Refuse to write without the lease.

        Raises:
            LeaseLostError: the lease is not held.
        """
        if self._lost is not None:
            raise self._lost
        if not self.is_held:
            error = self._backoff.error
            said = "is not held any more" if error is None else f"could not be renewed in time: {error}"
            raise LeaseLostError(
                f"the lease of {self._what} {said}",
                op="lease",
                hint="uploads continue when the lease is renewed",
                transient=True,
            ) from error

    def release(self) -> None:
        """Stop renewing the lease, and give it back. Waits a few seconds for the storage at most.

        If the storage does not answer, the lease expires by itself within half a minute.
        """
        self.end()
        self.join()

    def watch(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called when the lease was lost, or is held again; by the thread that renews it."""
        self._on_change = changed

    def acquire(self) -> None:
        """Start the thread, and wait until it has the lease; see :meth:`Replica.acquire_lease`."""
        self._thread.start()
        deadline = time.monotonic() + _ACQUIRE_TIMEOUT
        try:
            self._wakeup.wait_until(lambda: self._is_acquired or self._has_ended, deadline)
        except BaseException:
            self.end()
            raise
        if self._is_acquired:
            return
        self.end()
        raise self._lost or ReplicaTimeoutError(
            f"the lease of {self._what} was not acquired in time", op="lease"
        )

    def end(self, *, gives_back: bool = True) -> None:
        """The same as :meth:`release`, without waiting; or let the lease expire."""
        self._gives_back = self._gives_back and gives_back
        self._is_ending = True
        self._wakeup.notify()

    def join(self) -> None:
        """Wait until the lease was given back, for a few seconds at most."""
        if not runtime.is_inherited(self._generation):
            self._wakeup.wait_until(lambda: self._has_ended, time.monotonic() + _RELEASE_TIMEOUT)

    def _main(self) -> None:
        try:
            self._acquire()
            keep_going(self._turn)
            # What has expired is another program's by now, or nobody's.
            if self._gives_back and self._lost is None and self._lease.is_held:
                self._give_back()
        except Error as error:
            self._lost = error
        except BaseException as error:
            self._lost = InternalError(f"the lease of {self._what} is not renewed: {error!r}", op="lease")
            self._lost.__cause__ = error
        finally:
            self._has_ended = True
            self._wakeup.notify()
            if self._lost is not None:
                self._on_change()
            # Whoever watches may have known us for longer than is needed.
            self._on_change = _nothing

    def _acquire(self) -> None:
        """Take the lease, trying again after errors that may pass."""
        deadline = time.monotonic() + _RETRIES_TIMEOUT
        while True:
            try:
                self._lease.acquire()
                break
            except _NO_RETRY:
                raise
            except Error as error:
                self._refuse_store(error)
                if error.transient is False or self._is_ending or time.monotonic() > deadline:
                    raise
            version = self._wakeup.version
            self._wakeup.wait(version, _PAUSE)
        self._due = time.monotonic() + RENEWAL_INTERVAL
        self._is_acquired = True
        self._wakeup.notify()

    def _refuse_store(self, error: Error) -> None:
        """Say so if the store has found out that it cannot hold a lease."""
        if not self._client.capabilities.replaces_if_unchanged:
            raise _unable(self._what, str(error)) from error

    def _turn(self) -> bool:
        """Renew the lease when it is time to; false when there is nothing more to do."""
        self._wakeup.wait_until(lambda: self._is_ending, self._due)
        if self._is_ending:
            return False
        was_held = self._lease.is_held
        try:
            self._lease.renew()
        except LeaseLostError as error:
            self._lost = error
            return False
        except BaseException as error:
            self._due = time.monotonic() + self._backoff.failed(as_exception(error))
            return True
        self._due = time.monotonic() + RENEWAL_INTERVAL
        self._backoff.succeeded()
        if not was_held:
            self._on_change()
        return True

    def _give_back(self) -> None:
        try:
            self._lease.release()
        except Exception as error:
            self._log.warning(
                "the lease of %s was not given back, and expires by itself: %s", self._what, error
            )


def _lease_of(client: ReplicaClient) -> Lease:
    place = client.object_place()
    if place is None or not client.capabilities.replaces_if_unchanged:
        raise _unable(repr(client), "its storage cannot replace an object only if it is unchanged")
    return Lease(*place, repr(client))


def _unable(what: str, why: str) -> ConfigError:
    return argument_error(
        "lease",
        f"{what} cannot have a lease: {why}",
        "use a storage with conditional writes, such as Amazon S3, or replicate without a lease",
    )


def _nothing() -> None:
    return None
