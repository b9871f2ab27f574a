"""Where a v0.3 replica is: an object store, and what its keys begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltxcore._process.times import argument_error
from ltxcore.clients._directory import DirectoryStore
from ltxcore.clients.file import FileClient

if TYPE_CHECKING:
    from ltxcore.clients import ReplicaClient
    from ltxcore.stores import ObjectStore

#: The folder of all generations, below the place of the replica.
GENERATIONS = "generations/"


def find_place(client: ReplicaClient) -> tuple[ObjectStore, str] | None:
    """The store and the prefix; ``None`` if the client is not made of objects."""
    if type(client) is FileClient:
        return DirectoryStore(client.path), ""
    return client.object_place()


def place_of(client: ReplicaClient) -> tuple[ObjectStore, str]:
    """The store and the prefix.

    Raises:
        ConfigError: the client is not made of objects.
    """
    place = find_place(client)
    if place is None:
        raise argument_error(
            "source",
            f"files of Litestream 0.3 cannot be in a replica of the type {client.type}",
            "name a directory, a replica in S3, or an object store; a web server cannot list such files",
        )
    return place
