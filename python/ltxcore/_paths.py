"""Paths as arguments: what is no path is refused before a directory of that name is made."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ltxcore._time import argument_error

#: What is left of a URL that has lost a slash, as pathlib removes it.
_CUT_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


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
        raise argument_error(key, f"the path of the {what} is a URL: {text}", "write the path alone")
    cut = _CUT_URL.match(text)
    if cut is not None:
        raise argument_error(
            key,
            f"the path of the {what} looks like a URL without its second slash: {text}",
            f"write {cut[0]}/..., as a str, for a URL; write the absolute path of a file or directory with this name",
        )
    return Path(path)
