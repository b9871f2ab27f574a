"""The lease of a replica: an object that names the program that may write, and until when. As Litestream keeps it.

The object is ``<prefix>lock.json``. Whoever takes it, renews it or gives it back says which version it has seen, so that
of several programs one succeeds. See "Lease" in ``docs/design.md``.
"""

from __future__ import annotations

import collections
import json
import os
import random
import socket
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from ltxcore.errors import (
    FormatError,
    LeaseHeldError,
    LeaseLostError,
    ObjectChangedError,
    ObjectExistsError,
    ReplicaError,
    ReplicaPermissionError,
)

if TYPE_CHECKING:
    from ltxcore.stores import ObjectStore, Version

#: How long a lease lasts if it is not renewed, in seconds.
TTL = 30.0
#: By so many seconds the clocks of programs may differ. Ours counts as lost so much earlier, that of others so much later.
MARGIN = 5.0
#: The name of the object, behind the prefix of the replica.
NAME = "lock.json"

# How often a lease that changes between a look and a write is looked at again.
_TURNS = 3
# No program waits for the answer to more writes than this.
_MOST_UNCONFIRMED = 64
# The longest owner that a message shows, in characters.
_LONGEST_OWNER = 200


class Claim(NamedTuple):
    """What the object says."""

    generation: int
    expires_at: datetime
    owner: str

    @classmethod
    def parse(cls, data: bytes) -> Claim:
        """Read the object.

        Raises:
            FormatError: it is something else.
        """
        try:
            found = json.loads(data)
            generation, expires_at, owner = found["generation"], found["expires_at"], found.get("owner", "")
            # Nanoseconds are cut off.
            when = datetime.fromisoformat(expires_at)
            if type(generation) is not int or not isinstance(owner, str) or when.utcoffset() is None:
                raise TypeError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError(f"not a lease: {data[:100]!r}", op="lease") from error
        return cls(generation, when, owner)

    def format(self) -> bytes:
        """Write the object. No two are equal: the last digits of the time are random."""
        until = self.expires_at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        text = f"{until}{random.randint(1, 999):03d}".rstrip("0") + "Z"  # noqa: S311 - no secret
        fields = {"generation": self.generation, "expires_at": text, "owner": self.owner}
        return json.dumps(fields, separators=(",", ":")).encode()

    @property
    def shown_owner(self) -> str:
        """The owner, fit for a message: the object may hold anything."""
        owner = self.owner if self.owner.isprintable() else ascii(self.owner)
        return owner[:_LONGEST_OWNER] or "a program without a name"


class Lease:
    """One program's view of the lease of one replica. One thread uses it, except for :attr:`is_held`.

    Args:
        store: where the replica is. It must be able to replace an object only if it is unchanged.
        prefix: what the keys of the replica begin with.
        what: the replica, for messages.
        owner: what the object says about this program.
    """

    def __init__(self, store: ObjectStore, prefix: str, what: str, owner: str | None = None) -> None:
        self.key = prefix + NAME
        self._store = store
        self._what = what
        self._owner = owner or f"{socket.gethostname()}:{os.getpid()}"
        self._generation = 0
        # The version that is ours, and until when, by `now_or_asleep`.
        self._tag: str | None = None
        self._ends = float("-inf")
        # What was written and not answered: any of it may be there. After an answer, nothing older can come.
        self._unconfirmed: collections.deque[bytes] = collections.deque(maxlen=_MOST_UNCONFIRMED)
        # The time of the storage, and when it was that.
        self._storage_time: tuple[datetime, float] | None = None

    @property
    def is_held(self) -> bool:
        """Whether no other program can have it: a request may begin that is for the holder alone."""
        return now_or_asleep() < self._ends

    def acquire(self) -> None:
        """Take the lease if nobody holds it. May be called again after an error of the storage.

        Raises:
            FormatError: the object is no lease.
            LeaseHeldError: another program holds it.
            ReplicaError: the storage failed, or many programs try to take the lease at once.
        """
        for _ in range(_TURNS):
            seen = self._look()
            if self._is_ours(seen):
                self._adopt(seen)
                self.renew()
                return
            claim = self._claim_in(seen)
            if claim is not None and not self._has_expired(claim):
                raise self._held_by(claim)
            self._generation = (0 if claim is None else claim.generation) + 1
            try:
                self._write(seen.tag)
            except (ObjectExistsError, ObjectChangedError):
                continue
            return
        raise ReplicaError(
            f"the lease of {self._what} changes all the time: several programs try to take it",
            op="lease",
            transient=True,
        )

    def renew(self) -> None:
        """Hold the lease for longer. After an error of the storage this may be tried again, even when the time is over.

        Raises:
            LeaseLostError: another program has taken or removed it. It is not held any more, and cannot be renewed.
            ReplicaError: the storage failed.
        """
        for _ in range(_TURNS):
            if self._tag is None:
                raise self._lost(None)
            try:
                self._write(self._tag)
            except ObjectChangedError:
                seen = self._look()
                if not self._is_ours(seen):
                    self._tag, self._ends = None, float("-inf")
                    raise self._lost(seen) from None
                self._adopt(seen)
                continue
            return
        raise ReplicaError(f"the lease of {self._what} changes all the time", op="lease", transient=True)

    def release(self) -> None:
        """Give the lease back, if it is held. Another program can take it at once.

        Raises:
            ReplicaError: the storage failed. The lease is not held any more, and expires by itself.
        """
        tag, self._tag, self._ends = self._tag, None, float("-inf")
        try:
            if tag is not None:
                self._give_back(tag)
            elif self._unconfirmed:
                raise ObjectChangedError
        except ObjectChangedError:
            seen = self._look()
            if seen.tag is not None and self._is_ours(seen):
                self._give_back(seen.tag)

    def _give_back(self, tag: str) -> None:
        try:
            self._store.delete_version(self.key, tag=tag)
        except ReplicaPermissionError:
            # What may not be deleted can say that it is over.
            over = Claim(self._generation, self._now() - timedelta(seconds=TTL), self._owner)
            self._store.write_version(self.key, over.format(), tag=tag)

    def _write(self, tag: str | None) -> None:
        began = now_or_asleep()
        data = Claim(self._generation, self._now() + timedelta(seconds=TTL), self._owner).format()
        self._unconfirmed.append(data)
        written = self._store.write_version(self.key, data, tag=tag)
        self._unconfirmed.clear()
        self._tag, self._ends = written.tag, began + TTL - MARGIN
        self._note_time(written)

    def _look(self) -> Version:
        seen = self._store.read_version(self.key)
        self._note_time(seen)
        return seen

    def _is_ours(self, seen: Version) -> bool:
        return seen.data is not None and seen.data in self._unconfirmed

    def _adopt(self, seen: Version) -> None:
        """Go on from a write whose answer was lost."""
        if seen.data is not None:
            self._tag, self._generation = seen.tag, Claim.parse(seen.data).generation

    def _claim_in(self, seen: Version) -> Claim | None:
        if seen.data is None:
            return None
        try:
            return Claim.parse(seen.data)
        except FormatError as error:
            hint = f"delete {self.key} if no program uses this replica"
            message = f"the object {self.key} of {self._what} is no lease"
            raise FormatError(message, op="lease", hint=hint) from error

    def _note_time(self, version: Version) -> None:
        if version.answered_at is not None:
            self._storage_time = version.answered_at, now_or_asleep()

    def _now(self) -> datetime:
        """The time of the storage, or of this machine if the storage does not say."""
        if self._storage_time is None:
            return datetime.now(UTC)
        then, at = self._storage_time
        return then + timedelta(seconds=now_or_asleep() - at)

    def _has_expired(self, claim: Claim) -> bool:
        # Subtracted, since the end of all times has nothing behind it.
        return self._now() - timedelta(seconds=MARGIN) >= claim.expires_at

    def _held_by(self, claim: Claim) -> LeaseHeldError:
        until = claim.expires_at.isoformat(timespec="seconds")
        error = LeaseHeldError(
            f"the lease of {self._what} is held by {claim.shown_owner} until {until}",
            op="lease",
            hint=f"stop that program, or, if it was killed, start again {MARGIN:.0f} seconds after that time",
            transient=True,
        )
        error.client_type = self._store.type
        error.owner, error.expires_at = claim.owner, claim.expires_at
        return error

    def _lost(self, seen: Version | None) -> LeaseLostError:
        try:
            claim = None if seen is None or seen.data is None else Claim.parse(seen.data)
        except FormatError:
            claim = None
        how = "was removed by another program" if claim is None else f"was taken by {claim.shown_owner}"
        error = LeaseLostError(
            f"the lease of {self._what} {how}",
            op="lease",
            hint="only one program may write to a replica: find out which of them has the newest data, and stop the other one",
            transient=False,
        )
        error.client_type = self._store.type
        error.owner = None if claim is None else claim.owner
        return error


def now_or_asleep() -> float:
    """Seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC)  # not that of time.monotonic(), which stops
    return time.monotonic()
