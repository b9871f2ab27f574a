"""Files of a world of acts: copies of a database that is in use, and older states of everything.

No connection of this process ever has a live database open, so files may be opened and closed here at will; the locks of
other processes are not touched by that.
"""

import contextlib
import dataclasses
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.acts_model import Content, Model, content, tables

SIDECARS = {"both": ("-wal", "-shm"), "wal": ("-wal",), "shm": ("-shm",), "none": ()}


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def remove_sidecars(path: Path, which: str) -> None:
    for suffix in SIDECARS[which]:
        beside(path, suffix).unlink(missing_ok=True)


def copy_database(path: Path, target: Path) -> None:
    """The database and its WAL at one moment. The application is at rest; a checkpoint of the replicator may be going on."""
    for _ in range(200):
        before = _stamps(path)
        for suffix in ("", "-wal", "-shm", "-journal"):
            beside(target, suffix).unlink(missing_ok=True)
        for suffix in ("", "-wal", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(beside(path, suffix), beside(target, suffix))
        if before == _stamps(path):
            return
        time.sleep(0.01)
    raise AssertionError(f"{path.name} does not come to rest")


def _stamps(path: Path) -> list[tuple[int, int, int] | None]:
    return [_stamp(beside(path, suffix)) for suffix in ("", "-wal")]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def as_one_file(path: Path, *, form: str = "") -> None:
    """Brings a WAL into its database, which nobody has open; `form` is the journal mode that the file is left in."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        with contextlib.suppress(sqlite3.DatabaseError):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if form:
                connection.execute(f"PRAGMA journal_mode = {form}")


def says_wal_mode(path: Path) -> bool:
    """Whether the header of a database is that of WAL mode."""
    with path.open("rb") as file:
        return file.read(20)[18:] == b"\2\2"


def content_of(path: Path) -> Content:
    """What is in one file that nobody has open."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return content(connection)


def difference(expected: Path, found: Path) -> str:
    """Which rows are missing from a database, and which are too many, in one line; "" if none."""
    with (
        contextlib.closing(sqlite3.connect(expected)) as one,
        contextlib.closing(sqlite3.connect(found)) as other,
    ):
        try:
            wanted, there = tables(one), tables(other)
        except sqlite3.DatabaseError as error:
            return f"cannot be read: {error}"
    told = []
    for name in sorted(wanted.keys() | there.keys()):
        missing, more = (
            {repr(row) for row in left.get(name, ())} - {repr(row) for row in right.get(name, ())}
            for left, right in ((wanted, there), (there, wanted))
        )
        if missing or more:
            told.append(f"{name}: {len(missing)} missing, {len(more)} that should not be there")
    return "; ".join(told)


def replace_tree(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    if source.exists():
        copy_tree(source, target)


def copy_tree(source: Path, target: Path) -> None:
    """As `cp -a` does: onto what is there, in place. Files that go meanwhile are left out."""
    with contextlib.suppress(shutil.Error, FileNotFoundError):
        shutil.copytree(source, target, dirs_exist_ok=True)


@dataclasses.dataclass
class Saved:
    """Everything as it was at one moment, for the operator to put back."""

    folder: Path
    model: Model
    went_back: dict[str, int]  # how often the replica, and the meta directory, had been put back until then

    @property
    def db(self) -> Path:
        return self.folder / "db"

    @property
    def meta(self) -> Path:
        return self.folder / "meta"

    @property
    def replica(self) -> Path:
        return self.folder / "replica"

    def backup(self, form: str) -> Path:
        """The database alone, complete in one file, as `.backup` of the shell makes it."""
        target = self.folder / f"backup-{form}"
        if not target.exists():
            copy_database(self.db, target)
            as_one_file(target, form=form)
            remove_sidecars(target, "both")
        return target


def ltx_files(folder: Path) -> Iterator[Path]:
    """All LTX files below a directory, lowest level and oldest first; or the files of Litestream 0.3."""
    yield from sorted(folder.glob("ltx/?/*.ltx"))
    yield from sorted(folder.glob("generations/*/*/*.lz4"))


def write_over(source: Path, target: Path) -> None:
    """`cp`: another content in the same inode."""
    with source.open("rb") as old, target.open("wb") as new:
        shutil.copyfileobj(old, new)


def cut(path: Path, size: int) -> bool:
    """Makes a file shorter; false if it is gone, or not longer than that."""
    if not path.exists() or path.stat().st_size <= size:
        return False
    before = path.stat()
    os.truncate(path, size)
    if path.suffix == ".lz4":
        # By its time a file of an old generation would become the newest of all, and be what a restore begins with.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return True
