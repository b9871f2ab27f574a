"""What the commands of `ltxcore blob` share: opening a store, copying bytes, and how things are shown."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TextIO

import click

from ltxcore.cli._output import format_time
from ltxcore.errors import (
    BlobNotFoundError,
    BlobStoreError,
    BlobTooLargeError,
    NotABlobStoreError,
    StoreBusyError,
    StoreCorruptError,
    StoreFullError,
)

if TYPE_CHECKING:
    from ltxcore.blob_store import BlobStat, BlobStore

#: Bytes that are copied at once.
PIECE = 1 << 20


def is_dash(path: Path | None) -> bool:
    """Whether stdin or stdout is meant."""
    return path is None or str(path) == "-"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[BlobStore]:
    """A store that is there, to be read."""
    with opened(path, readonly=True) as store:
        yield store


@contextlib.contextmanager
def changing(
    path: Path, capacity: int | Literal["keep"] | None = "keep", *, create: bool = False
) -> Iterator[BlobStore]:
    """A store to be changed, and bounded. A lower bound comes last: nothing is evicted for what fails.

    Where nothing is ever evicted, it comes first, and is refused if there is more already.
    """
    with opened(path, create=create) as store:
        before = store.capacity
        evicts = store.effective_options.policy != "none"
        comes_last = isinstance(capacity, int) and (before is None or capacity < before) and evicts
        if capacity != "keep" and not comes_last:
            store.capacity = capacity
        yield store
        if capacity != "keep" and comes_last:
            store.capacity = capacity


@contextlib.contextmanager
def opened(path: Path, *, create: bool = False, **options: Any) -> Iterator[BlobStore]:
    """A store. Errors name its file where it could not be opened, and say where to look for a blob that is missing."""
    from ltxcore.blob_store import BlobStore

    try:
        store = BlobStore(path, create=create, **options)
    except BlobStoreError as error:
        named(error, path)
        if isinstance(error, NotABlobStoreError) and error.hint is None:
            error.hint = "name the file of a blob store"
        raise
    with store:
        try:
            yield store
        except BlobNotFoundError as error:
            error.hint = error.hint or f"ltxcore blob ls {path} shows what there is"
            raise
        except (StoreBusyError, StoreCorruptError, StoreFullError) as error:
            named(error, path)
            raise


def named(error: BlobStoreError, path: Path) -> None:
    """Have an error say which file it is about."""
    if str(path) not in str(error):
        error.args = (f"{path}: {error}",)


def refuse_store(store: Path, other: Path, role: str) -> None:
    """Refuse a file that is the store itself: to open and close it here would drop the locks of this process."""
    with contextlib.suppress(FileNotFoundError):
        if other.samefile(store):
            raise click.UsageError(f"{other} is the store itself, and cannot be the {role}")


def standard(name: Literal["stdin", "stdout"]) -> BinaryIO:
    """A standard stream, for bytes. Python has none where the shell closed it."""
    stream: TextIO | None = getattr(sys, name)
    if stream is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), name)
    return stream.buffer


@contextlib.contextmanager
def source(path: Path | None) -> Iterator[tuple[BinaryIO, int | None]]:
    """What is to be read, and its size in bytes if that is known."""
    if path is None or is_dash(path):
        yield standard("stdin"), None
        return
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        yield file, status.st_size if stat.S_ISREG(status.st_mode) else None


def copy(origin: BinaryIO, target: Any, length: int | None = None, bound: int | None = None) -> int:
    """Copy up to ``length`` bytes, or all there are; how many. More than ``bound`` are refused."""
    done = 0
    while length is None or done < length:
        piece = origin.read(PIECE if length is None else min(PIECE, length - done))
        if not piece:
            break
        done += len(piece)
        if bound is not None and done > bound:
            raise BlobTooLargeError(f"there are more bytes than the capacity of {bound}")
        target.write(piece)
    return done


def long_rows(store: BlobStore, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """What is known of each blob; a directory has its name only, and what has gone meanwhile is left out."""
    for name in names:
        if name.endswith("/") and name not in store:
            yield {"name": name, "size": None, "used_at": None, "hits": None}
            continue
        with contextlib.suppress(BlobNotFoundError):
            found = store.stat(name)
            yield {
                "name": name,
                "size": found.size,
                "used_at": format_time(found.used_at),
                "hits": found.hits,
            }


def blob_facts(found: BlobStat) -> dict[str, Any]:
    """Everything that is known of one blob."""
    return {
        "name": found.name,
        "size": found.size,
        "created_at": format_time(found.created_at),
        "used_at": format_time(found.used_at),
        "hits": found.hits,
        "etag": found.etag,
        "tags": found.tags,
    }


def store_facts(path: Path, store: BlobStore) -> dict[str, Any]:
    """How large a store is, and the settings that are in force."""
    return {"path": str(path), "usage": asdict(store.usage()), "options": asdict(store.effective_options)}


def shown(value: object) -> object:
    """A value as people read it."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items()) or "none"
    return "none" if value is None else value
