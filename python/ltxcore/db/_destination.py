"""What an uploader needs of a destination, whatever layout the replica has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from ltxcore.errors import Error
    from ltxcore.ltx import TXID, FileInfo


@dataclass(frozen=True, slots=True)
class Known:
    """How far a restore from the replica comes, and what keeps it from coming further, if anything does."""

    reach: TXID
    obstacle: Error | None

    def holds(self, txid: TXID) -> bool:
        """Whether a restore of the newest state works, and contains ``txid``."""
        return self.obstacle is None and txid <= self.reach


class Destination(Protocol):
    """Fills one replica from the local L0 files, one pass after the other.

    One thread runs the passes; the other methods are for all threads.
    """

    #: When something was uploaded last, in milliseconds since 1970.
    last_upload_ms: int | None
    #: Set when what is under way is no longer waited for: no further file is begun.
    is_abandoned: bool

    @property
    def known(self) -> Known | None:
        """What a restore contains, as far as is known; ``None`` before the first look, and where something failed since."""

    @property
    def sent(self) -> TXID:
        """The last local file that the replica has got."""

    @property
    def is_held(self) -> bool:
        """Whether the last pass has left files for later, as a limit of requests was reached."""

    @property
    def due(self) -> float:
        """When a pass has something to do although nothing is new, on the monotonic clock; infinity for never."""

    @property
    def busy_for(self) -> float | None:
        """For how many seconds the file that is being uploaded has been; ``None`` while nothing is."""

    @property
    def conflict(self) -> Error | None:
        """What no retry can end: another writer has continued the same history in the replica."""

    def is_settled(self) -> bool:
        """Whether what was known at the end of the last pass is still true, as far as that can be told for nothing."""

    def is_confirmed(self, since: float) -> bool:
        """Whether what is known was seen to be true after ``since``, on the monotonic clock; or lately, where looking costs."""

    def forget(self) -> None:
        """What is known may be wrong: it has to be found out again."""

    def remote_txid(self) -> TXID:
        """The TXID after which the local history has to continue, as the replica is now."""

    def adopt_chain(self, txid: TXID) -> None:
        """Let the engine know what the replica holds at ``txid``, so that only pages that differ follow."""

    def run(self, *, is_awaited: bool, is_last: bool) -> bool:
        """One pass: upload what is new. Whether anything was uploaded.

        Args:
            is_awaited: somebody waits for it, so that the replica may be looked at without a reason.
            is_last: the database is being closed. No limit holds the uploads back then.
        """

    def snapshot(self, claim: Callable[[TXID], None]) -> FileInfo:
        """Upload the whole database.

        Args:
            claim: waits until the local files up to a TXID are in the replica.
        """

    def compact(self, level: int) -> FileInfo | None:
        """Merge new files of the level below into one of ``level``."""
