"""What stands for a replica in other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ltxcore.clients._client import ReplicaClient


def lasting_name(client: ReplicaClient) -> str | None:
    """A text that is the same for every client of a replica, in every process; ``None`` if the client does not say that much.

    By default a client or a store is known by its ``id()``, which means another one tomorrow.
    """
    identity = client.identity
    return None if _has_number(identity) else repr((client.type, identity))


def _has_number(identity: Hashable) -> bool:
    if isinstance(identity, tuple):
        return any(map(_has_number, identity))
    return isinstance(identity, int)
