"""Durations and sizes as text: one reading for configuration files, URLs and the command line."""

from __future__ import annotations

import re
from fractions import Fraction

_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "\u03bcs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
# Python refuses to read numbers of thousands of digits.
_NUMBER = r"(?:[0-9]{1,100}(?:\.[0-9]{,100})?|\.[0-9]{1,100})"
_PIECE = re.compile(rf"({_NUMBER})({'|'.join(_SECONDS)})")
_DURATION = re.compile(rf"([-+]?)((?:{_PIECE.pattern})+)")
_SIZE = re.compile(rf"({_NUMBER})\s*(?:([kmgt])(i?)b?|b)?", re.ASCII | re.IGNORECASE)

#: The first size that is too large, in bytes.
SIZE_LIMIT = 1 << 63
#: The longest duration, in seconds, about 292 years: 64 bits of nanoseconds, as in Go. No call of the system takes more.
LONGEST = 9_223_372_036.0


def parse_duration(text: str, *, bare_seconds: bool = False) -> float:
    """Seconds, from a text such as ``250ms``, ``1h30m`` or ``7d``: a duration as Go writes it, or days.

    Args:
        text: the duration. It may be negative; the caller knows its least value.
        bare_seconds: take a number without a unit for seconds. Otherwise only ``0`` needs no unit.

    Raises:
        ValueError: it is no duration, or one of more than :data:`LONGEST` seconds.
    """
    total = _seconds(text, bare_seconds=bare_seconds)
    if abs(total) > LONGEST:
        raise ValueError(f"a duration must not be longer than {LONGEST:.0f}s: {text}")
    return total


def _seconds(text: str, *, bare_seconds: bool) -> float:
    bare = re.fullmatch(rf"[-+]?{_NUMBER}", text)
    if bare and (bare_seconds or text == "0"):
        return float(text)
    found = _DURATION.fullmatch(text)
    if found is None:
        more = " or a number of seconds" if bare_seconds else ""
        raise ValueError(f"not a duration, such as 10s, 250ms or 1h30m{more}: {text}")
    total = sum(float(number) * _SECONDS[unit] for number, unit in _PIECE.findall(found[2]))
    return -total if found[1] == "-" else total


def parse_size(text: str) -> int:
    """Bytes, from a number of them or a text such as ``512MiB`` or ``1.5GB``.

    KB, MB, GB and TB are powers of 1000, as are K, M, G and T; KiB, MiB, GiB and TiB are powers of 1024. Litestream reads
    sizes in the same way. A fraction of a byte is cut off.

    Raises:
        ValueError: it is no size, or one of 2**63 bytes or more.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or ("." in text and not found[2]):
        raise ValueError(f"not a size, such as 4096, 5MB or 64MiB: {text}")
    number, letter, binary = found.groups()
    power = "kmgt".index(letter.lower()) + 1 if letter else 0
    size = int(Fraction(number) * (1024 if binary else 1000) ** power)
    if size >= SIZE_LIMIT:
        raise ValueError(f"size must be below 2**63 bytes: {text}")
    return size
