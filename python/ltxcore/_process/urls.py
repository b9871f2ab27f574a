"""URLs in messages."""

from __future__ import annotations

import re

#: What a URL begins with, however many slashes it has lost or won.
_START = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:/*|//+)")
#: A local file: there is no place for a password.
_LOCAL = re.compile(r"file:///(?!/)", re.IGNORECASE)
#: A port that is none, at the end of a host: what a password is taken for if what follows it is missing.
_NO_PORT = re.compile(r"(https?://[^/:\[]*:)(?!\d*(?:/|$))[^/]*.*", re.IGNORECASE | re.DOTALL)


def shown(url: str) -> str:
    """A URL or a path as messages show it: without its user, its password and its parameters, which may be secrets.

    When in doubt it shows less. A password that is not escaped may have each of ``/?#@`` in it, so everything up to the last
    ``@`` is left out, and all of it if that ``@`` is behind a ``?`` or a ``#``: then it may be in a parameter, too.
    """
    found = _START.match(url)
    if found is None and "://" not in url:
        return url
    start = found[0] if found is not None else "...://"
    rest = url[found.end() :] if found is not None else url.partition("://")[2]
    plain, mark, hidden = _cut(rest)
    if mark and "@" in hidden:
        return f"{start}..."
    if _LOCAL.match(url) is None:
        plain = plain.rpartition("@")[2]
    return _NO_PORT.sub(r"\1***", start + plain)


def _cut(text: str) -> tuple[str, str, str]:
    """A text before its first ``?`` or ``#``, that one, and what is behind it."""
    at = min((index for mark in "?#" if (index := text.find(mark)) >= 0), default=len(text))
    return text[:at], text[at : at + 1], text[at + 1 :]
