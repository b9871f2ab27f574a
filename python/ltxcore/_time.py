"""Times and durations at the edge of the library: aware datetimes outside, milliseconds and seconds inside."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MIN = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_MAX = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND


def to_millis(when: datetime) -> int:
    """Milliseconds from the Unix epoch to an aware ``when``, rounded down.

    Raises:
        ValueError: ``when`` has no time zone.
    """
    if when.utcoffset() is None:
        raise ValueError(f"a time needs a time zone: {when.isoformat()}")
    return (when - _EPOCH) // _MILLISECOND


def from_millis(millis: int) -> datetime:
    """The UTC time ``millis`` milliseconds after the Unix epoch.

    What lies outside the years 1 to 9999 is moved to their end: the number may come from a damaged file, and one
    such file must not make a whole listing unreadable.
    """
    return _EPOCH + min(max(millis, _MIN), _MAX) * _MILLISECOND


def parse_time(when: datetime | str) -> datetime:
    """An aware datetime from itself or from ISO 8601 text with a zone (``2026-03-01T12:00:00Z``).

    Raises:
        ValueError: the text is no time, or no zone is given.
    """
    parsed = datetime.fromisoformat(when) if isinstance(when, str) else when
    if parsed.utcoffset() is None:
        raise ValueError(f"a time needs a time zone: {parsed.isoformat()}")
    return parsed


def millis_bound(when: datetime) -> int:
    """The first whole millisecond that is not before ``when``: "strictly before" it means the same as before ``when``."""
    return -((_EPOCH - when) // _MILLISECOND)


def seconds(duration: float | timedelta, name: str) -> float:
    """A duration in seconds, from seconds or a timedelta; ``name`` is for the message.

    Raises:
        ValueError: it is negative or not finite.
    """
    value = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be a finite number of seconds, not negative: {value}")
    return value
