"""The rows that the benchmarks report, and how they are printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Of = Literal["ratio", "ours"]
HEAD = ("what", "ltxcore", "Litestream / limit", "ratio", "wanted", "verdict")
#: Units of which less is better; of all others more is.
COSTS = frozenset({"s", "ms", "us", "MiB", "%", "/day", "$/month"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a row should reach: a ratio of at least ``bound``, or a figure of ours that does not go over it."""

    bound: float
    of: Of = "ratio"

    def met(self, ours: float, ratio: float | None) -> bool:
        """Whether a measurement is good enough."""
        if self.of == "ours":
            return ours <= self.bound
        return ratio is not None and ratio >= self.bound

    def text(self, unit: str) -> str:
        """The requirement as the table shows it."""
        return f"<= {self.bound:g} {unit}" if self.of == "ours" else f">= {self.bound:g}x"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    ``other`` is the figure of Litestream, or of the limit that ``against`` names. ``samples`` holds what the two
    figures were made of, for the JSON report. ``paired`` replaces the ratio of the two figures, where each sample of
    ours has one that was taken right beside it.
    """

    what: str
    unit: str
    ours: float | None = None
    other: float | None = None
    wanted: Wanted | None = None
    against: str = ""
    failure: str = ""
    samples: dict[str, list[float]] = field(default_factory=dict)
    paired: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better ours is, or which part of the limit it reaches."""
        if self.paired is not None:
            return self.paired
        return times_better(self.unit, self.ours, self.other) if self.ours and self.other else None

    @property
    def verdict(self) -> str:
        """``ok`` or ``missed`` where something is wanted, ``FAILED`` where nothing could be measured."""
        if self.failure:
            return "FAILED"
        if self.wanted is None or self.ours is None:
            return "-"
        return "ok" if self.wanted.met(self.ours, self.ratio) else "missed"

    def cells(self) -> tuple[str, ...]:
        """The line as text."""
        other = figure(self.other, self.unit)
        return (
            self.what,
            figure(self.ours, self.unit),
            f"{self.against} {other}" if self.against and self.other is not None else other,
            "-" if self.ratio is None else f"{self.ratio:.2f}x",
            "-" if self.wanted is None else self.wanted.text(self.unit),
            self.verdict,
        )

    def as_json(self) -> dict[str, Any]:
        """The line for a program."""
        # asdict() cannot copy a defaultdict, which is how samples are collected.
        plain = dataclasses.replace(self, samples=dict(self.samples))
        return dataclasses.asdict(plain) | {"ratio": self.ratio, "verdict": self.verdict}


def times_better(unit: str, ours: float, other: float) -> float:
    """How many times better the first figure is: of costs, less is better."""
    return other / ours if unit in COSTS else ours / other


def figure(value: float | None, unit: str) -> str:
    """A number with three significant digits or so, and its unit."""
    if value is None:
        return "-"
    digits = next((n for n, least in enumerate((100, 10, 0.1, 0.01)) if abs(value) >= least), 5)
    return f"{value:,.{digits}f} {unit}".rstrip()


def render(rows: Iterable[Row]) -> str:
    """All rows as one table in plain ASCII, with figures flush right; reasons of failures follow it."""
    rows = list(rows)
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "-+-".join("-" * width for width in widths)
    body = [aligned(cells, widths) for cells in lines]
    reasons = [f"{row.what}: {row.failure}" for row in rows if row.failure]
    return "\n".join([body[0], rule, *body[1:], *reasons])


def aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """One line: names to the left, the three columns of figures to the right."""
    padded = [
        cell.rjust(width) if 1 <= column <= 3 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return " | ".join(padded).rstrip()
