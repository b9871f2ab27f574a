"""URLs of replicas on web servers: what is asked of the server, and what of it may be shown."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ltxcore._process.urls import shown
from ltxcore.clients._urls import url_error

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What a URL that was signed for one object has among its parameters, in small letters.
_OF_ONE_OBJECT = {"x-amz-signature", "x-goog-signature"}
#: What need not be said.
_PORTS = {"http": 80, "https": 443}
#: What is no part of a path as it stands, and what is.
_IN_PATH = "%/:=&;,+$!*'()~@"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a replica is: a URL without what may be a secret, and what may be one.

    * ``url``: scheme, host and path, without a slash at the end. Messages show it.
    * ``query``: what stands behind the ``?``, and is sent with each request. It is not part of ``repr()``.
    * ``headers``: headers of each request. They are not part of ``repr()``.
    * ``user``: the user in the URL, as it stands there. It may be a token, so it is not part of ``repr()`` either.
    """

    url: str
    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    user: str = field(default="", repr=False)

    @property
    def identity(self) -> str:
        """What tells the replica from others: the URL, and a digest of what else may choose what the server answers with.

        A password does not, since it may be changed.
        """
        if not self.user and not self.query:
            return self.url
        secret = repr((self.user, self.query)).encode()
        return f"{self.url} {hashlib.sha256(secret).hexdigest()}"

    def of(self, key: str) -> str:
        """The URL of a file below the replica, with its secrets."""
        query = f"?{self.query}" if self.query else ""
        return f"{self.url}/{key}{query}"

    def shown(self, key: str) -> str:
        """The URL of a file below the replica, for messages."""
        return f"{self.url}/{key}"


def parse(url: str, headers: Mapping[str, str] | None = None) -> Address:
    """Take a URL apart.

    Args:
        url: a URL of ``http`` or ``https``.
        headers: headers of each request.

    Raises:
        ConfigError: it has no host, a port that is none, or a fragment; or it was signed for one object.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = None
    if parts is None or parts.scheme.lower() not in ("http", "https") or not host or not host.isascii():
        raise url_error(
            f"not the URL of a web server: {shown(url)}",
            hint="write https://HOST/PATH, the host in ASCII; in a password, escape / as %2F, ? as %3F, # as %23, @ as %40",
        )
    if "#" in url:
        raise url_error(f"the URL has a #: {shown(url)}", hint="write %23 if it belongs to the path")
    if any(name.lower() in _OF_ONE_OBJECT for name, _ in parse_qsl(parts.query)):
        raise url_error(
            f"the URL is signed for one object, and a replica has many: {shown(url)}",
            hint="use s3://BUCKET/PATH with credentials, or a token that is good for all files",
        )
    place = f"[{host}]" if ":" in host else host
    place = place if port in (None, _PORTS[parts.scheme.lower()]) else f"{place}:{port}"
    path = quote(parts.path.rstrip("/"), safe=_IN_PATH)
    found = {**_authorization(parts.username, parts.password), **(headers or {})}
    query = quote(parts.query, safe=_IN_PATH + "?[]")
    return Address(f"{parts.scheme.lower()}://{place}{path}", query, found, parts.username or "")


def _authorization(user: str | None, password: str | None) -> dict[str, str]:
    """The header for the user and the password of a URL (RFC 7617)."""
    if user is None:
        return {}
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
