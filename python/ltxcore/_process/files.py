"""Files that appear whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def whole_file(output: Path) -> Iterator[BinaryIO]:
    """A file to write that gets its name when the block ends, durably, and never after an error in it.

    What exists and is no regular file, such as a pipe or a device, is written to as it is.
    """
    if output.exists() and not output.is_file():
        with output.open("wb") as file:
            yield file
        return
    if not output.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(output.parent))
    import tempfile  # slow to import

    descriptor, name = tempfile.mkstemp(prefix=f".{output.name}.tmp-", dir=output.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(output)
    finally:
        Path(name).unlink(missing_ok=True)
    sync_dir(output.parent)


def sync_dir(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
