"""Which file an error is about."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ltxcore.errors import FormatError, NotReadyError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def about(file: object) -> Iterator[None]:
    """Errors in the content of a file say which file that is, if it was given by its path."""
    try:
        yield
    except (FormatError, NotReadyError) as error:
        if error.path is None and isinstance(file, str | os.PathLike):
            error.path = os.fsdecode(file)
            error.args = (f"{error.path}: {error}",)
        raise
