"""What the values of options look like: durations, sizes, transaction ids, times."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import click

from ltxcore import ltx
from ltxcore._ltxcore import MAX_PARALLELISM
from ltxcore._process.arguments import check_parallelism
from ltxcore._process.times import parse_time
from ltxcore._process.units import parse_duration, parse_size
from ltxcore._process.urls import shown
from ltxcore.errors import ConfigError, Error, FormatError


class Duration(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.2
    """Seconds, from a plain number of them or from a text like `250ms` or `1h30m`; more than 0."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds as a float."""
        if isinstance(value, float):
            return value
        try:
            seconds = parse_duration(value, bare_seconds=True)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds <= 0:
            self.fail(f"duration must be more than 0: {value}", param, ctx)
        return seconds


class Size(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.2
    """Bytes, from a plain number of them or from a text like `512MiB` or `1.5GB`; `512M` is `512MB`."""

    name = "size"
    #: What else may be written, for the message.
    others = ""

    def __init__(self, least: int = 0) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Bytes as an int."""
        if isinstance(value, int):
            return value
        try:
            size = parse_size(value)
        except ValueError as error:
            self.fail(f"{error}{self.others}", param, ctx)
        if size < self.least:
            self.fail(f"size must be at least {self.least}: {value}", param, ctx)
        return size


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
    """A path. An empty one, as of a variable that is not set, would mean the current directory. A URL is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What click makes of it."""
        if isinstance(value, str) and "://" in value:
            self.fail(f"a path is needed, not a URL: {shown(value)}", param, ctx)
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
        try:
            txid = ltx.TXID.parse(value)
        except FormatError as error:
            self.fail(with_hint(error), param, ctx)
        if not txid:
            self.fail("TXID 0 stands for no transaction; the first one is 0000000000000001", param, ctx)
        return str(txid)


def with_hint(error: Error) -> str:
    """What an error says, in one line."""
    return str(error) if error.hint is None else f"{error}; {error.hint}"


class Parallelism(click.IntRange):
    """How much a restore does at once."""

    def __init__(self) -> None:
        super().__init__(1, MAX_PARALLELISM)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """An int."""
        number = click.INT.convert(value, param, ctx)
        try:
            check_parallelism(number)
        except ConfigError as error:
            self.fail(str(error), param, ctx)
        return number


class Timestamp(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.2
    """A time with its zone, as in RFC 3339."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """An aware datetime."""
        try:
            return parse_time(value)
        except ConfigError as error:
            self.fail(f"{error}; write it like 2026-03-01T12:00:00Z", param, ctx)


class Generation(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.2
    """A generation of a replica of Litestream 0.3: 16 hexadecimal digits."""

    name = "generation"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The digits."""
        from ltxcore.legacy._pos import check_generation  # few need it

        try:
            return check_generation(value)
        except FormatError as error:
            self.fail(with_hint(error), param, ctx)


class Index(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.2
    """The number of a WAL file as it is printed everywhere: 8 hexadecimal digits."""

    name = "index"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        if isinstance(value, int):
            return value
        if not re.fullmatch(r"[0-7]?[0-9a-fA-F]{1,7}", value):
            self.fail(f"{value!r} is not an index: up to 8 hexadecimal digits, such as 0000001f", param, ctx)
        return int(value, 16)


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


GENERATION, INDEX = Generation(), Index()
PLACE, DURATION, TXID, TIMESTAMP, LEVEL = Place(), Duration(), TXIDText(), Timestamp(), Level()
SIZE, CAPACITY, CACHE_SIZE, TAG, PARALLELISM = Size(), Capacity(1), Size(1 << 20), Tag(), Parallelism()
