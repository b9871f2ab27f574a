"""Signed URLs for many objects: botocore signs one, and what it did is repeated for the others.

botocore takes half a millisecond of the interpreter for each URL, as much as the rest of reading a small file by it. The
signature of AWS (version 4) covers the path, so the URLs of two objects differ in the path and the signature alone. That our
signature is botocore's is checked for the one URL; if it is not, botocore signs them all.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: How long URLs are made like one of botocore's, in seconds: it looks after credentials that change.
_LIKE_IT = 60.0
#: What botocore leaves as it is in the path of an object.
_SAFE = "/~"


@dataclass(frozen=True, slots=True, repr=False)
class _Template:
    """One URL of botocore's, taken apart. All of it is secret."""

    begin: str
    path: str
    query: str
    canonical_query: str
    canonical_headers: str
    to_sign: str
    signing_key: bytes
    until: float
    expires_at: datetime

    def signed(self, key: str) -> str:
        path = self.path + quote(key, safe=_SAFE)
        canonical = f"GET\n{path}\n{self.canonical_query}\n{self.canonical_headers}\nUNSIGNED-PAYLOAD"
        text = self.to_sign + hashlib.sha256(canonical.encode()).hexdigest()
        signature = hmac.new(self.signing_key, text.encode(), hashlib.sha256).hexdigest()
        return f"{self.begin}{path}?{self.query}&X-Amz-Signature={signature}"


class Presigner:
    """Signs URLs of the objects of one bucket.

    Args:
        sign: what signs one with botocore.
        secret: the secret key that botocore signs with now, or ``None`` if that is not known.
        headers: what is signed beside the host.
        life: how long a URL is good for.
    """

    def __init__(
        self,
        sign: Callable[[str], str],
        secret: Callable[[], str | None],
        headers: Mapping[str, str],
        life: timedelta,
    ) -> None:
        self._sign, self._secret, self._headers, self._life = sign, secret, headers, life
        self._template: _Template | None = None
        self._is_other = False

    def url(self, key: str) -> tuple[str, datetime]:
        """A URL, and until when it is good."""
        template = self._template
        if template is not None and time.monotonic() < template.until:
            return template.signed(key), template.expires_at
        if self._is_other:
            return self._signed(key)
        return self._renew(key)

    def _signed(self, key: str) -> tuple[str, datetime]:
        now = datetime.now(UTC)
        return self._sign(key), now + self._life

    def _renew(self, key: str) -> tuple[str, datetime]:
        secret = self._secret()
        url, expires_at = self._signed(key)
        try:
            template = _template(url, key, secret or "", self._headers, expires_at)
        except (KeyError, ValueError):
            template = None
        if template is not None and secret and _is_same(template.signed(key), url):
            self._template = template
        else:
            # Signed in another way, or the secret key has just changed.
            self._is_other = secret == self._secret()
        return url, expires_at


def _template(url: str, key: str, secret: str, headers: Mapping[str, str], expires_at: datetime) -> _Template:
    """Take a URL apart.

    Raises:
        KeyError, ValueError: it is signed in another way.
    """
    parts = urlsplit(url)
    pairs = [pair for pair in parts.query.split("&") if not pair.startswith("X-Amz-Signature=")]
    found = dict(parse_qsl(parts.query))
    date, scope = found["X-Amz-Date"], found["X-Amz-Credential"].partition("/")[2]
    names = found["X-Amz-SignedHeaders"].split(";")
    values = {name.lower(): value for name, value in headers.items()} | {"host": parts.netloc}
    signed = "".join(f"{name}:{values[name]}\n" for name in names)
    quoted = quote(key, safe=_SAFE)
    if not parts.path.endswith(quoted) or found["X-Amz-Algorithm"] != "AWS4-HMAC-SHA256":
        raise ValueError(scope)
    signing_key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        signing_key = hmac.new(signing_key, part.encode(), hashlib.sha256).digest()
    return _Template(
        begin=f"{parts.scheme}://{parts.netloc}",
        path=parts.path.removesuffix(quoted),
        query="&".join(pairs),
        canonical_query="&".join(sorted(pairs)),
        canonical_headers=f"{signed}\n{';'.join(names)}",
        to_sign=f"AWS4-HMAC-SHA256\n{date}\n{scope}\n",
        signing_key=signing_key,
        until=time.monotonic() + _LIKE_IT,
        expires_at=expires_at,
    )


def _is_same(one: str, other: str) -> bool:
    """Whether two URLs are the same but for the order of their parameters."""
    a, b = urlsplit(one), urlsplit(other)
    return (a.scheme, a.netloc, a.path) == (b.scheme, b.netloc, b.path) and sorted(
        parse_qsl(a.query)
    ) == sorted(parse_qsl(b.query))
