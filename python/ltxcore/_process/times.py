"""Arguments at the edge of the library: aware datetimes outside, milliseconds and seconds inside."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from ltxcore._process.units import LONGEST
from ltxcore.errors import ConfigError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MIN = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_LIKE = "write it like 2026-03-01T12:00:00Z or datetime(2026, 3, 1, 12, tzinfo=timezone.utc)"
_MAX = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND


def argument_error(key: str, message: str, hint: str | None = None) -> ConfigError:
    """The error about the argument ``key`` of a call."""
    error = ConfigError(message, hint=hint)
    error.key = key
    return error


def to_millis(when: datetime) -> int:
    """Milliseconds from the Unix epoch to an aware ``when``, rounded down.

    Raises:
        ConfigError: ``when`` has no time zone.
    """
    _check_zone(when)
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
        ConfigError: it is no time, or no zone is given.
    """
    try:
        parsed = datetime.fromisoformat(when) if isinstance(when, str) else when
    except ValueError as error:
        # Of text that is no time at all Python says no more than that.
        why = "" if str(error).startswith("Invalid isoformat") else f" ({error})"
        raise argument_error("timestamp", f"not a time: {when}{why}", _LIKE) from error
    if not isinstance(parsed, datetime):
        raise argument_error(
            "timestamp",
            f"a time is a datetime or a text, not {when!r}",
            "datetime.fromtimestamp(seconds, timezone.utc) makes one of seconds",
        )
    _check_zone(parsed)
    return parsed


def _check_zone(when: datetime) -> None:
    if when.utcoffset() is None:
        raise argument_error("timestamp", f"a time needs a time zone: {when.isoformat()}", _LIKE)


def millis_bound(when: datetime) -> int:
    """The first whole millisecond that is not before ``when``: "strictly before" it means the same as before ``when``."""
    return -((_EPOCH - when) // _MILLISECOND)


def seconds(duration: float | timedelta, name: str) -> float:
    """A duration in seconds, from seconds or a timedelta; ``name`` is for the message.

    Raises:
        ConfigError: it is negative, not finite, or more than :data:`~ltxcore._process.units.LONGEST`.
    """
    value = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not math.isfinite(value) or value < 0:
        raise argument_error(name, f"{name} must be a finite number of seconds, not negative: {value}")
    if value > LONGEST:
        raise argument_error(name, f"{name} must not be longer than {LONGEST:.0f} seconds: {value}")
    return value
