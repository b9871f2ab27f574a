"""What is wrong with a v0.3 history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ltxcore._process.times import from_millis

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that is damaged or missing, and the states that are lost with it.

    * ``path``: the name of the file, below the place of the replica.
    * ``reason``: what is wrong with it.
    * ``states``: the number of states that need it. The first damaged file on the way to a state counts.
    * ``first``, ``last``: the times of the first and of the last of these states; ``None`` if there are none.
    """

    path: str
    reason: str
    states: int
    first: datetime | None
    last: datetime | None


def damage(row: tuple[str, str, int, tuple[int, int] | None]) -> Damage:
    """A damage as the native side reports it: name, reason, number of states, milliseconds."""
    path, reason, states, times = row
    first, last = (None, None) if times is None else map(from_millis, times)
    return Damage(path, reason, states, first, last)
