"""Plain tables, at the end of the acceptance runs."""

from collections.abc import Sequence

Row = tuple[object, ...]


def table(head: Sequence[str], rows: Sequence[Row]) -> None:
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
