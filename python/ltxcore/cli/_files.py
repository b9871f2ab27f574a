"""Files that commands write: whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ltxcore._restore.position import sync_dir


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
