"""URLs in messages."""

from __future__ import annotations

from urllib.parse import urlsplit


def shown(url: str) -> str:
    """A URL or a path as messages show it: without its parameters and its password, which may be secrets.

    On web servers a user may be one, too: a token.
    """
    if "://" not in url:
        return url
    plain = url.partition("?")[0]
    if _is_web(plain):
        scheme, _, rest = plain.partition("#")[0].partition("://")
        # Up to the last one: in a password that is not escaped there may be slashes.
        return f"{scheme}://{rest.rpartition('@')[2]}"
    before, at, _ = urlsplit(plain).netloc.rpartition("@")
    user, colon, password = before.partition(":")
    return plain.replace(f"{user}:{password}@", f"{user}:***@", 1) if at and colon else plain


def _is_web(url: str) -> bool:
    """Whether a URL is one of http or https."""
    return url.lower().startswith(("http://", "https://"))
