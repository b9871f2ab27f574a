"""Where a replica stands after it was written, and what that has taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltxcore.cli._output import counted, note, print_json
from ltxcore.replica._costs import request_costs

if TYPE_CHECKING:
    from ltxcore import DB, Replica, RequestCosts
    from ltxcore.legacy import SnapshotInfo, WALSegmentInfo
    from ltxcore.ltx import TXID


def report(database: DB, destinations: list[Replica], seconds: float, as_json: bool) -> None:
    """Say where the replica and its mirrors stand, and what they have taken."""
    answers = [Account(each, seconds) for each in destinations]
    if as_json:
        first, *others = [each.for_programs() for each in answers]
        print_json(
            {
                "db_path": str(database.path),
                "duration_ms": round(seconds * 1000),
                **first,
                **({"mirrors": others} if others else {}),
            }
        )
        return
    for number, each in enumerate(answers):
        each.tell(f"mirror {number}" if number else "replica")


class Account:
    """What is said of one destination.

    Args:
        destination: it is listed.
        seconds: for how long it was written.
    """

    def __init__(self, destination: Replica, seconds: float) -> None:
        from ltxcore import legacy  # few need it

        self._type = destination.client.type
        self._is_legacy = isinstance(destination, legacy.Replica)
        #: The newest file of Litestream 0.3.
        self._file: WALSegmentInfo | SnapshotInfo | None = None
        self._txid: TXID | None = None
        if self._is_legacy:
            self._file = _newest_file(destination)
        else:
            self._txid = destination.newest_txid()
        # If the client counts them.
        sent = destination.client.requests_sent()
        self._costs = None if sent is None else request_costs(sent, sent, seconds)

    def tell(self, name: str) -> None:
        """Say it to people."""
        if not self._txid and self._file is None:
            note(f"{name} is empty" if name != "replica" else "nothing was replicated: the replica is empty")
        elif self._file is None:
            note(f"{name} is at TXID {self._txid}")
        else:
            note(f"{name} has {self._file.path} as its newest file")
        if self._costs is not None:
            note(costs_text(self._costs))

    def for_programs(self) -> dict[str, Any]:
        """The same as data."""
        costs, pos = self._costs, None if self._file is None else self._file.pos
        place: dict[str, Any] = {"txid": str(self._txid)}
        if self._is_legacy:
            place = {
                "layout": "v0.3",
                "generation": None if pos is None else pos.generation,
                "index": None if pos is None else f"{pos.index:08x}",
                "offset": None if pos is None else pos.offset,
            }
        return {
            "replica": self._type,
            **place,
            "requests": None if costs is None else costs.requests,
            "usd_per_month": None if costs is None else costs.per_month,
        }


def _newest_file(destination: Replica) -> WALSegmentInfo | SnapshotInfo | None:
    """The newest file of Litestream 0.3, if there is one; of equal ones, the last segment."""
    from ltxcore import legacy

    found = legacy.generations(destination.client)
    files: list[WALSegmentInfo | SnapshotInfo] = [*found[-1].snapshots, *found[-1].segments] if found else []
    return max(reversed(files), key=lambda file: file.created_at, default=None)


def costs_text(costs: RequestCosts) -> str:
    """One line about requests, the most frequent operations first."""
    named = sorted(costs.requests.items(), key=lambda each: (-each[1], each[0]))
    text = f"{counted(sum(costs.requests.values()), 'request')}: "
    text += ", ".join(f"{number} {operation}" for operation, number in named)
    if costs.per_day is None:
        return text
    return f"{text}; about ${costs.per_day:.4f} a day, ${costs.per_month:.2f} a month at the prices of S3 Standard"
