"""Restoring a database that is not there, whatever an earlier one has left in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TypeVar

from ltxcore.cli._output import note
from ltxcore.errors import OutputExistsError

T = TypeVar("T")

#: What SQLite keeps beside a database. The last one holds no data.
SIDECARS = ("-wal", "-journal", "-shm")


def restore_missing(db: Path, restore: Callable[[], T]) -> T | None:
    """Do `restore`, which makes the database; None if there is one all the same.

    A `-wal` or `-journal` without its database is of no use to SQLite: it deletes them when it makes a new database. Beside a
    restored one it would apply them to pages that they do not belong to. So they get another name, from which nothing is read.
    """
    for _ in SIDECARS:
        try:
            return restore()
        except OutputExistsError as error:
            if db.is_file():
                # Another process was faster, or one that was ended while it replaced the database had set the old one aside.
                note(f"{db} exists; nothing to restore")
                return None
            if not is_left(error):
                raise
            set_aside(Path(str(error.path)))
    return restore()


def is_left(error: OutputExistsError) -> bool:
    """Whether what is in the way is a file that belongs to a database."""
    return error.path is not None and error.path.endswith(SIDECARS) and Path(error.path).is_file()


def set_aside(path: Path) -> None:
    """Take a file away from where SQLite looks for it; what holds data stays under another name."""
    if path.name.endswith(SIDECARS[-1]) or not path.stat().st_size:
        path.unlink()
        return
    target = next(
        each for number in count(1) if not (each := path.with_name(f"{path.name}.left-{number}")).exists()
    )
    path.rename(target)
    note(f"{path} belongs to a database that is gone; it is kept as {target}")


@contextmanager
def command_line_hints() -> Iterator[None]:
    """Let errors about the output name an option where the library's hint names an argument."""
    try:
        yield
    except OutputExistsError as error:
        if error.path is not None and Path(error.path).is_dir():
            error.hint = "it is a directory; give --output the path of a file"
        elif is_left(error):
            error.hint = (
                "SQLite would apply that file to the restored database; move it away, use --force to remove it, or use "
                "--if-db-not-exists to have it renamed"
            )
        else:
            error.hint = "use --force to replace it, or choose another path with --output"
        raise
