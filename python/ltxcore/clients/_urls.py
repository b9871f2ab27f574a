"""What the URLs of all replica clients have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from ltxcore._process.arguments import meant
from ltxcore._process.urls import shown
from ltxcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection


def url_parameters(url: str, known: Collection[str] = ()) -> dict[str, str]:
    """The parameters of a URL, which stand behind its ``?``, with percent escapes replaced.

    Args:
        url: the URL of a replica.
        known: the names that the client knows.

    Raises:
        ConfigError: another name is among them, or one of them twice. The hint says which name is meant.
    """
    pairs = parse_qsl(url.partition("?")[2], keep_blank_values=True)
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            hint = meant(name, sorted(known), "parameters")
            # With an @ in it, it may be a part of a password with a ? that is not escaped.
            raise url_error(
                f"unknown parameter of the URL {shown(url)}: {'...' if '@' in name else name}",
                hint=hint if known else "remove it; this kind of URL has no parameters",
            )
        if name in found:
            raise url_error(f"parameter given twice in the URL {shown(url)}: {name}", hint="give it once")
        found[name] = value
    return found


def url_error(message: str, *, hint: str) -> ConfigError:
    """The error about the URL of a replica."""
    error = ConfigError(message, op="open", hint=hint)
    error.key = "url"
    return error
