"""What the destinations of one database have to agree on, since there is one set of local files for all of them."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING

from ltxcore.db._snapshot import Snapshots
from ltxcore.ltx import TXID

if TYPE_CHECKING:
    from pathlib import Path

    from ltxcore import _ltxcore

#: For a mirror that has got nothing for so long, in seconds, no files are kept: it gets a snapshot when it is back.
PATIENCE = 3600.0


class Agreement:
    """Lets the engine forget what every destination has.

    Args:
        engine: the native database.
        meta_path: the directory of the local files.
    """

    def __init__(self, engine: _ltxcore.Database, meta_path: Path) -> None:
        self.engine = engine
        self.snapshots = Snapshots(engine, meta_path)
        self._lock = threading.Lock()
        # Weakly, since they know us: a closed database is let go without waiting for the collector.
        self._joined: list[weakref.ref[Party]] = []

    def join(self) -> Party:
        """Another destination. The first one is the replica, and the others are mirrors of it."""
        party = Party(self, len(self._joined))
        self._joined.append(weakref.ref(party))
        return party

    def _parties(self) -> list[Party]:
        found = (each() for each in self._joined)
        return [party for party in found if party is not None]

    def enforce(self) -> None:
        """Delete local files that are old and uploaded everywhere."""
        newest = self.engine.pos.txid
        with self._lock:
            for party in self._parties():
                party.note_newest(newest)
            least = min((party.uploaded for party in self._parties() if party.counts()), default=TXID(0))
        self.engine.enforce_l0_retention(least)

    def snapshot_stored(self) -> None:
        """Let the engine forget that a snapshot is wanted, once every destination has it."""
        with self._lock:
            stored = [party.snapshot for party in self._parties() if not party.has_left]
        if stored:
            self.engine.snapshot_stored(min(stored))


class Party:
    """What one destination has, as far as the others are concerned.

    * ``number``: 0 is the replica, others are mirrors.
    * ``uploaded``: local files up to this TXID are not needed for it.
    * ``snapshot``: the last TXID of the newest snapshot that was stored there.
    """

    def __init__(self, agreement: Agreement, number: int) -> None:
        self.number = number
        self.uploaded = self.snapshot = TXID(0)
        self.has_left = False
        self._agreement = agreement
        # Since when it lacks something, or got something last; None while it lacks nothing.
        self._lacking_since: float | None = None

    @property
    def snapshots(self) -> Snapshots:
        """Where snapshots are made, for all destinations."""
        return self._agreement.snapshots

    def counts(self) -> bool:
        """Whether local files are kept for it."""
        since = self._lacking_since
        is_late = self.number > 0 and since is not None and time.monotonic() - since > PATIENCE
        return not self.has_left and not is_late

    def note_newest(self, txid: int) -> None:
        """The newest local file is that of ``txid``. The last one that a destination has is needed, too."""
        if self.uploaded + 1 >= txid:
            self._lacking_since = None
        elif self._lacking_since is None:
            self._lacking_since = time.monotonic()

    def begin_anew(self) -> None:
        """The local history is taken from the replicas: the same TXIDs may mean something else from now on."""
        self.uploaded = self.snapshot = TXID(0)

    def needs_no_file_to(self, txid: TXID) -> None:
        """Local files up to ``txid`` are not needed for it."""
        self.uploaded, self._lacking_since = txid, None
        self._agreement.enforce()

    def snapshot_wanted(self) -> TXID | None:
        """From where on nothing can be restored there without a snapshot, as the engine knows."""
        wanted = self._agreement.engine.snapshot_wanted
        return None if wanted is None or wanted <= self.snapshot else TXID(wanted)

    def has_snapshot(self, txid: TXID) -> None:
        """A snapshot up to ``txid`` is stored there."""
        self.snapshot = max(self.snapshot, txid)
        self._agreement.snapshot_stored()

    def leave(self) -> None:
        """Nothing is uploaded there any more."""
        self.has_left = True
        self._agreement.snapshot_stored()
