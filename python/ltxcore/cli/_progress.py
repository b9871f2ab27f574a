"""How far a command is, as a bar."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Protocol


class Progress(Protocol):
    """``done`` of ``total`` bytes."""

    @property
    def done(self) -> int: ...

    @property
    def total(self) -> int: ...


@contextlib.contextmanager
def progress_bar(what: str = "restoring") -> Iterator[Callable[[Progress], None] | None]:
    """A bar on stderr if that is a terminal; otherwise nothing. ``what`` is what is done."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(what), BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda at: bar.update(task, completed=at.done, total=at.total)
