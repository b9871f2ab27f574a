"""How a run is shown: one table, and below it the reasons of what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

HEAD = ("check", "s", "over our VFS", "stock", "negative controls", "verdict")
REASONS = 12


@dataclass(slots=True)
class Line:
    """One check."""

    title: str
    seconds: float = 0.0
    ours: str = ""
    stock: str = ""
    caught: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong with it, and nothing went past it."""
        return not self.faults and not self.missed

    def cells(self) -> tuple[str, ...]:
        """The line as text."""
        tried = len(self.caught) + len(self.missed)
        controls = f"{len(self.caught)} of {tried} caught" if tried else "-"
        verdict = "ok" if self.is_good else "FAILED"
        return (self.title, f"{self.seconds:.1f}", self.ours, self.stock or "-", controls, verdict)

    def reasons(self) -> list[str]:
        """What was wrong."""
        lines = [f"{self.title}: {fault}" for fault in self.faults[:REASONS]]
        if len(self.faults) > REASONS:
            lines.append(f"{self.title}: and {len(self.faults) - REASONS} more")
        return lines + [f"{self.title}: passes although {method} is broken" for method in self.missed]


def render(lines: Sequence[Line]) -> str:
    """All lines in plain ASCII, figures flush right."""
    rows = [HEAD, *(line.cells() for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    body = [aligned(row, widths) for row in rows]
    rule = "-+-".join("-" * width for width in widths)
    return "\n".join([body[0], rule, *body[1:]])


def aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """One line of it."""
    padded = [
        cell.rjust(width) if column == 1 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return " | ".join(padded).rstrip()
