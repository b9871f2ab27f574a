"""`restore --follow`: from the restore to the signal that ends it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ltxcore
from ltxcore.cli._child import Events
from ltxcore.cli._log import start_log
from ltxcore.cli._output import note
from ltxcore.errors import RestoreCancelledError

if TYPE_CHECKING:
    from ltxcore import FollowedDatabase, ReplicaClient, RestoreProgress
    from ltxcore.ltx import TXID

Progress = Callable[["RestoreProgress"], None]


def keep_up(
    client: ReplicaClient,
    source: str,
    output: Path,
    interval: float,
    settings: dict[str, Any],
    bar: Callable[[], AbstractContextManager[Progress | None]],
) -> TXID | None:
    """Follow until SIGINT or SIGTERM; where the database is then, or None if it was not even restored."""
    start_log("info")
    with Events() as events:
        try:
            with bar() as progress:
                followed = ltxcore.follow(
                    client, output, interval=interval, progress=watched(progress, events), **settings
                )
        except RestoreCancelledError:
            note("ended during the restore")
            return None
        announce(followed, source)
        events.start(followed.join)
        # A signal, or the end of the thread, which close() then reports.
        events.next()
        followed.close()
    # The thread only logs that it is gone, since it may be put back.
    followed.check_place()
    note(f"{followed.path} is at TXID {followed.txid}")
    return followed.txid


def watched(progress: Progress | None, events: Events) -> Progress:
    """Call the restore off when a signal has come, since its handler interrupts nothing."""

    def report(at: RestoreProgress) -> None:
        if events.asked:
            raise RestoreCancelledError("asked to end", op="restore")
        if progress is not None:
            progress(at)

    return report


def announce(followed: FollowedDatabase, source: str) -> None:
    """Say what was found or made."""
    made = followed.restored
    verb = "restored" if made is not None else "resuming"
    note(f"{verb} {followed.path} at TXID {made.pos.txid if made is not None else followed.txid}")
    note(f"following {source}")
