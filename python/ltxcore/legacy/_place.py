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

#: How the names of the two kinds of files end.
SNAPSHOT_END, SEGMENT_END = ".snapshot.lz4", ".wal.lz4"


def snapshot_path(generation: str, index: int) -> str:
    """The name of a snapshot, below the place of the replica."""
    return f"{GENERATIONS}{generation}/snapshots/{index:08x}{SNAPSHOT_END}"


def segment_path(generation: str, index: int, offset: int) -> str:
    """The name of a WAL segment, below the place of the replica."""
    return f"{GENERATIONS}{generation}/wal/{index:08x}_{offset:08x}{SEGMENT_END}"


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
