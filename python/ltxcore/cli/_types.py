"""What the values of options look like: durations, sizes, transaction ids, times."""

from __future__ import annotations

import re
from datetime import datetime
from fractions import Fraction
from typing import Any

import click

from ltxcore._time import parse_time

UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PIECE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|ms|s|m|h|d)", re.ASCII)
PIECES = re.compile(rf"(?:{PIECE.pattern})+", re.ASCII)
SECONDS = re.compile(r"\d+(?:\.\d*)?|\.\d+", re.ASCII)
SIZE_TEXT = re.compile(rf"({SECONDS.pattern}) ?(?:([kmgt])(i?b)?|b)?", re.ASCII | re.IGNORECASE)


class Duration(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.2
    """Seconds, from a plain number of them or from a text like `250ms` or `1h30m`; more than 0."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds as a float."""
        if isinstance(value, float):
            return value
        if SECONDS.fullmatch(value):
            seconds = float(value)
        elif PIECES.fullmatch(value):
            seconds = sum(float(number) * UNITS[unit] for number, unit in PIECE.findall(value))
        else:
            self.fail(
                f"{value!r} is not a duration; write 1s, 250ms, 1h30m or a number of seconds", param, ctx
            )
        if seconds <= 0:
            self.fail(f"{value!r} is not more than 0", param, ctx)
        return seconds


class Size(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.2
    """Bytes, from a plain number of them or from a text like `512MiB` or `1.5GB`; `512M` is `512MiB`."""

    name = "size"
    #: What else may be written, for the message.
    others = ""

    def __init__(self, least: int = 0) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Bytes as an int."""
        if isinstance(value, int):
            return value
        found = SIZE_TEXT.fullmatch(value)
        if found is None:
            self.fail(
                f"{value!r} is not a size; write 512MiB, 1.5GB, 64K or a number of bytes{self.others}",
                param,
                ctx,
            )
        number, letter, suffix = found.groups()
        base = 1000 if suffix and suffix.lower() == "b" else 1024
        size = Fraction(number) * base ** ("kmgt".index(letter.lower()) + 1 if letter else 0)
        if size.denominator != 1:
            self.fail(f"{value!r} is not a whole number of bytes", param, ctx)
        if not self.least <= size < 1 << 63:
            self.fail(f"{value!r} is not from {self.least} to {(1 << 63) - 1} bytes", param, ctx)
        return int(size)


class Capacity(Size):
    """How much a store may hold: a size, `none` for no bound, `keep` for what it has."""

    name = "size"
    others = "; or none, or keep"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Bytes as an int, None, or `keep`."""
        if value == "keep":
            return value
        return None if value == "none" else super().convert(value, param, ctx)


class Tag(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.2
    """A name and a text, with `=` between them."""

    name = "name=text"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The two."""
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not a tag; write NAME=TEXT", param, ctx)
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail(f"{value!r} is not UTF-8", param, ctx)
        return name, text


class FullPath(click.Path):
    """A path. An empty one, as of a variable that is not set, would mean the current directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What click makes of it."""
        return super().convert(not_empty(self, value, param, ctx), param, ctx)


class Place(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.2
    """A URL or the path of a directory, which is not empty either."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it is."""
        return str(not_empty(self, value, param, ctx))


def not_empty(
    kind: click.ParamType,  # type: ignore[type-arg]  # not generic in click 8.2
    value: Any,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> Any:
    """The value, unless it is an empty text."""
    if value == "":
        kind.fail("it is empty; if a variable stands there, it is not set", param, ctx)
    return value


class TXIDText(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.2
    """A transaction id as it is printed everywhere: 16 hexadecimal digits."""

    name = "txid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The 16 digits in lower case."""
        if not re.fullmatch(r"[0-9a-fA-F]{16}", value):
            self.fail(f"{value!r} is not 16 hexadecimal digits, like 000000000000002a", param, ctx)
        if int(value, 16) == 0:
            self.fail("TXID 0 stands for no transaction; the first one is 0000000000000001", param, ctx)
        return str(value).lower()


class Timestamp(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.2
    """A time with its zone, as in RFC 3339."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """An aware datetime."""
        try:
            return parse_time(value)
        except ValueError:
            self.fail(f"{value!r} is not a time with a zone, like 2026-03-01T12:00:00Z", param, ctx)


class Level(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.2
    """A level number, or `all` of them (None)."""

    name = "level"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """0 to 9, or None."""
        if value == "all":
            return None
        if not re.fullmatch(r"[0-9]", value):
            self.fail(f"{value!r} is not a level: 0 to 9, or all", param, ctx)
        return int(value)


PLACE, DURATION, TXID, TIMESTAMP, LEVEL = Place(), Duration(), TXIDText(), Timestamp(), Level()
SIZE, CAPACITY, TAG = Size(), Capacity(1), Tag()
