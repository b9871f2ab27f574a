"""Where files can be read without their client, in the form that the native side reads. That calls these functions."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ltxcore._process.log import Log
from ltxcore.clients._client import ReplicaClient
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.stores import ObjectStore, SignedURL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ltxcore.ltx import TXID
    from ltxcore.stores import HTTPOptions, RequestCounter

    #: Proxy, bundle of certificates, whether they are verified, seconds for connecting, seconds of silence.
    Options = tuple[str | None, str | None, bool, float, float]
    #: URL, headers, seconds that it is good for, how to connect, and who counts.
    Signed = tuple[str, list[tuple[str, str]], float, Options, RequestCounter | None]

#: Files of trusted certificates, the first of which counts.
_BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")

_log = Log(logging.getLogger("ltxcore"))
_MOST_SAID = 100
_said: set[str] = set()


def locate(client: ReplicaClient, level: int, min_txid: TXID, max_txid: TXID) -> str | Signed | bool | None:
    """A path, or a URL with what belongs to it. ``None``: the client has to read this file; ``False``: so it has to for all."""
    if not _can_tell(client):
        return False
    place = client.locate(level, min_txid, max_txid)
    if place is None:
        return None
    return signed(place) if isinstance(place, SignedURL) else os.fspath(place)


def locate_object(store: ObjectStore, key: str) -> str | Signed | None:
    """The same for an object of a store; ``None``: the store has to read it."""
    if not _is_of_readers(store, ObjectStore, ("read", "open")):
        return None
    place = store.locate(key)
    if place is None:
        return None
    return signed(place) if isinstance(place, SignedURL) else os.fspath(place)


def gave_up(client: ReplicaClient, reason: str) -> None:
    """Say once why files of a client are read by its own methods, though it has said where they are."""
    if reason not in _said and len(_said) < _MOST_SAID:
        _said.add(reason)
        _log.warning("%r: cannot read without the client, so the client reads: %s", client, reason)


def _can_tell(client: ReplicaClient) -> bool:
    if not _is_of_readers(client, ReplicaClient, ("open_ltx_file", "read_ltx_file")):
        return False
    if isinstance(client, ObjectReplicaClient):
        return _is_of_readers(client.store, ObjectStore, ("read", "open"))
    return True


def _is_of_readers(owner: object, base: type, readers: Sequence[str]) -> bool:
    """Whether ``locate`` is overridden, and no reader below it: that could read other bytes than are there."""
    places = [
        getattr(owner, "__dict__", {}),
        *(vars(kind) for kind in type(owner).__mro__ if kind is not base),
    ]
    found = next((number for number, names in enumerate(places) if "locate" in names), None)
    return found is not None and not any(name in names for names in places[:found] for name in readers)


def signed(place: SignedURL) -> Signed:
    """A URL in the form that the native side takes, with what the environment says about proxies and certificates now."""
    life = (place.expires_at - datetime.now(UTC)).total_seconds()
    options = place.options
    return place.url, list(place.headers.items()), life, _options(place.url, options), options.counter


def _options(url: str, options: HTTPOptions) -> Options:
    bundle = options.ca_bundle or next(filter(None, map(os.environ.get, _BUNDLES)), None)
    proxy = _proxy_of(url) if options.proxy is None else options.proxy
    path = None if bundle is None else os.fspath(bundle)
    return proxy or None, path, options.verify, options.connect_timeout, options.stall_timeout


def _proxy_of(url: str) -> str | None:
    """The proxy that the environment names for a URL, by the rules of :mod:`urllib`."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    # Takes tens of milliseconds, and few have a proxy.
    from urllib import request

    # The checker's description of the library knows its twin only.
    bypasses: Callable[[str, dict[str, str]], bool] = vars(request)["proxy_bypass_environment"]
    proxies, parts = request.getproxies_environment(), urlsplit(url)
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    host = parts.netloc.rpartition("@")[2]
    return None if not proxy or bypasses(host, proxies) else proxy
