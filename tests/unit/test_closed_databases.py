"""Nothing is left of a closed database: there are descriptors and threads behind it, and it must not wait for the collector."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from ltxcore import DB, Replica
from ltxcore.clients.objects import ObjectReplicaClient

from tests.unit.databases import eventually, insert
from tests.unit.leases import Storage
from tests.unit.memory import MemoryClient


def parts() -> set[str]:
    """What belongs to an open database, and to its replicas while it is open."""
    kinds = {type(each) for each in gc.get_objects()}
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in kinds if isinstance(kind, type)}
    of_open = ("ltxcore.db.", "ltxcore.replica._held_lease.")
    return {name for name in names if name.startswith(of_open)} - {"ltxcore.db._db.DB"}


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("kind", ["one", "mirrors", "lease"])
def test_its_parts_go_at_once(database: Path, client: MemoryClient, tmp_path: Path, kind: str) -> None:
    before = parts()
    replica = Replica(client)
    if kind == "lease":
        replica = Replica(ObjectReplicaClient(Storage(), "app"), lease=True)
    mirrors = [MemoryClient(), tmp_path / "mirror"] if kind == "mirrors" else []
    db = DB(database, replica=replica, mirrors=mirrors).open()
    insert(database, 1)
    for each in (replica, *db.mirrors):
        db.wait(timeout=20, replica=each)
    assert parts() > before
    db.close()
    del replica
    # The ends of threads may still be on their way.
    allowed = {"ltxcore.replica._held_lease.HeldLease"} if kind == "lease" else set()
    eventually(lambda: parts() - before <= allowed)
