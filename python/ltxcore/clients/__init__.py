"""Replica clients: the code that talks to one kind of storage.

A replica client is a subclass of :class:`ReplicaClient` with five methods. An :class:`~ltxcore.stores.ObjectStore` has four
methods and knows nothing of LTX; most storages need no more. An installed package announces its client with an entry point in
the group ``ltxcore.replica_clients``, named after the URL scheme. The object of the entry point is called with the URL and the
options, and returns the client.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, TypeAlias

from ltxcore._process.urls import shown
from ltxcore.clients._client import ReplicaClient
from ltxcore.clients._urls import url_error, url_parameters
from ltxcore.clients.file import FileClient, from_url
from ltxcore.stores import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ENTRY_POINT_GROUP", "ReplicaClient", "Source", "as_client", "client_from_url", "url_parameters"]

#: Where installed packages announce clients for further URL schemes.
ENTRY_POINT_GROUP = "ltxcore.replica_clients"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


#: A replica: its client, the object store that it is in, its URL, or the path of its directory. A ``str`` with ``://`` is a
#: URL, any other one is a path.
Source: TypeAlias = ReplicaClient | ObjectStore | str | os.PathLike[str]


def client_from_url(url: str, **options: Any) -> ReplicaClient:  # noqa: ANN401 - each client has its own
    """Return the client for a URL such as ``file:///var/backups/app``.

    Args:
        url: a scheme, ``://`` and the rest, which depends on the scheme.
        options: settings of the client; they override those in the URL.

    Raises:
        ConfigError: the URL has no scheme, no client is installed for it, or it refuses the URL or an option.
    """
    if not url:
        raise url_error("the URL of the replica is empty", hint="if a variable stands there, it is not set")
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise url_error(
            f"a replica URL needs a scheme and two slashes: {shown(url)}",
            hint="write file:///path for a directory",
        )
    return _factory(scheme[1].lower())(url, **options)


def as_client(source: Source) -> ReplicaClient:
    """The client meant by a client, an object store, a URL or the path of a directory.

    Raises:
        ConfigError: see :func:`client_from_url`; or the path is empty, or a URL that has lost a slash.
    """
    if isinstance(source, ReplicaClient):
        return source
    if isinstance(source, str) and "://" in source:
        return client_from_url(source)
    if isinstance(source, ObjectStore):
        from ltxcore.clients.objects import ObjectReplicaClient  # not needed for a directory

        return ObjectReplicaClient(source)
    return FileClient(source)


def _factory(scheme: str) -> Callable[..., ReplicaClient]:
    if scheme == "file":
        return from_url
    if scheme == "s3":
        from ltxcore.clients import s3  # not needed for a directory

        return s3.from_url
    if scheme in ("http", "https"):
        from ltxcore.clients import http  # as above

        return http.from_url
    # Slow to import, and not needed for a directory.
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINT_GROUP, name=scheme):
        factory: Callable[..., ReplicaClient] = entry.load()
        return factory
    raise url_error(
        f"no replica client for the URL scheme {scheme!r}",
        hint="write the path of a directory, file:///path, s3://bucket/path or https://host/path; another scheme "
        f"needs an installed package with an entry point in the group {ENTRY_POINT_GROUP}",
    )
