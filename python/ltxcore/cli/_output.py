"""What commands print: results on stdout, as a table or as JSON; everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click


def print_json(value: Any) -> None:
    """One JSON document, indented as Litestream indents it."""
    click.echo(json.dumps(value, indent=2))


def print_table(headings: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Columns two blanks apart, the numbers to the right. Never wrapped: other programs read this too.

    A `-` stands for a number that there is not.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    numeric = [
        bool(cells) and all(row[i].isdecimal() or row[i] == "-" for row in cells)
        for i in range(len(headings))
    ]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    for row in [list(headings), *cells]:
        fields = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        click.echo("  ".join(fields).rstrip())


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line."""
    known = [(name, str(yes_or_no(value))) for name, value in facts]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        click.echo(f"{name:<{width}}  {value}")


def yes_or_no(value: object) -> object:
    """A truth value as people read it; anything else as it is."""
    return ("yes" if value else "no") if isinstance(value, bool) else value


def counted(number: int, noun: str) -> str:
    """A number and what it counts: 1 file, 2 files."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def note(message: str) -> None:
    """Say something that is not the result."""
    click.echo(message, err=True)


def format_time(when: datetime) -> str:
    """RFC 3339 in UTC to the millisecond: a restore to a time needs that much."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
