"""Arguments that several calls take: paths, and how much is done at once."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ltxcore._ltxcore import MAX_PARALLELISM
from ltxcore._process.times import argument_error
from ltxcore._process.urls import shown

if TYPE_CHECKING:
    from collections.abc import Collection

#: What is left of a URL that has lost a slash, as pathlib removes it.
_CUT_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|(?:abs|file|gs|https?|nats|oss|s3|sftp|webdavs?):")


def local_path(path: str | os.PathLike[str], what: str, key: str) -> Path:
    """The path that an argument names.

    Args:
        path: the argument.
        what: what it is the path of, for the message.
        key: the name of the argument, for the error.

    Raises:
        ConfigError: it is empty, which would mean the current directory; or a URL, with both slashes or with one.
    """
    text = os.fspath(path)
    if not text:
        raise argument_error(
            key, f"the path of the {what} is empty", "if a variable stands there, it is not set"
        )
    if "://" in text:
        raise argument_error(
            key, f"the path of the {what} is a URL: {shown(text)}", "write the path without a scheme"
        )
    cut = _CUT_URL.match(text)
    if cut is not None:
        raise argument_error(
            key,
            f"the path of the {what} looks like a URL without its slashes: {shown(text)}",
            f"write {cut[0].rstrip('/')}//... for a URL, in Python as a str; write an absolute path for such a directory",
        )
    return Path(path)


def meant(name: str, known: Collection[str], what: str) -> str:
    """The hint about a name that nobody knows: which one it resembles, or which ones there are.

    Args:
        name: the name.
        known: those that are known, in the order in which they are told.
        what: what they are names of, in the plural.
    """
    import difflib  # slow to import, and of no use without a mistake

    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"the {what} are {', '.join(known)}"


def page_count(value: object, key: str) -> int:
    """A number of pages from an argument.

    Raises:
        ConfigError: it is not a number that SQLite's pages can have, 0 to 2**32 - 1.
    """
    if not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise argument_error(key, f"{key} must be a number of pages from 0 to {(1 << 32) - 1}: {value!r}")
    return value


def check_parallelism(parallelism: int) -> None:
    """Refuse a number of workers that a restore cannot have.

    Raises:
        ConfigError: it is not from 1 to :data:`MAX_PARALLELISM`.
    """
    if not 1 <= parallelism <= MAX_PARALLELISM:
        raise argument_error(
            "parallelism",
            f"parallelism must be from 1 to {MAX_PARALLELISM}: {parallelism}",
            "leave it out for 8",
        )
