"""The cache of a restore: files of a remote replica that were read before, in a local directory."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

from ltxcore import _ltxcore
from ltxcore._process.arguments import local_path
from ltxcore._process.log import Log
from ltxcore._process.times import argument_error
from ltxcore.clients._identity import lasting_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ltxcore.clients import ReplicaClient

#: How much a cache holds if nothing else is said, and the least that it can hold, in bytes.
SIZE, LEAST = 10 << 30, 1 << 20
_MOST = (1 << 63) - 1

_log = Log(logging.getLogger("ltxcore"))


@contextlib.contextmanager
def opened(
    client: ReplicaClient, path: str | os.PathLike[str] | None, size: int
) -> Iterator[_ltxcore.Cache | None]:
    """The cache for a replica; ``None`` if none is wanted, or of no use. What is wrong with it is logged once.

    Raises:
        ConfigError: the path is empty or a URL, or the size is too small, too large, or no whole number.
    """
    directory = None if path is None else local_path(path, "cache", "cache")
    if not isinstance(size, int):
        raise argument_error(
            "cache_size", f"cache_size must be a whole number of bytes: {size!r}", "write 10 << 30 for 10 GiB"
        )
    if not LEAST <= size <= _MOST:
        raise argument_error(
            "cache_size", f"cache_size must be at least {LEAST} bytes, and less than 2**63: {size}"
        )
    if directory is None or client.capabilities.is_local:
        yield None
        return
    replica = lasting_name(client)
    if replica is None:
        _log.warning(
            "%r: the cache %s is not used, as the client does not say which replica it has; override identity",
            client,
            directory,
        )
        yield None
        return
    import hashlib  # slow to import

    name = hashlib.sha256(replica.encode()).hexdigest()[:32]
    cache = _ltxcore.Cache(os.fspath(directory.absolute()), size, name)
    try:
        yield cache
    finally:
        trouble = cache.trouble()
        if trouble is not None:
            _log.warning("the cache %s cannot be used: %s", directory, trouble)
