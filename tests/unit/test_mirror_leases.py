"""Mirrors that have to have a lease."""

import logging
from pathlib import Path

import pytest

from ltxcore import DB, Replica
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import LeaseHeldError, LeaseLostError

from tests.unit.databases import eventually, insert, restored
from tests.unit.leases import KEY, Storage
from tests.unit.memory import MemoryClient


def test_a_mirror_waits_for_its_lease_alone(
    database: Path, client: MemoryClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Storage()
    storage.put()
    mirror = Replica(ObjectReplicaClient(storage, "app"), sync_interval=0.05, lease=True)
    with DB(database, replica=client, mirrors=[mirror], monitor_interval=0.05) as db:
        insert(database, 1)
        db.wait(timeout=10)
        with caplog.at_level(logging.ERROR, "ltxcore"):
            eventually(lambda: isinstance(db.status().mirrors[0].last_error, LeaseHeldError))
        assert storage.files == []
        with pytest.raises((LeaseHeldError, LeaseLostError)):
            db.snapshot(replica=mirror)
        assert storage.files == []
        assert db.status().last_error is None
        del storage.objects[KEY]
        db.wait(timeout=20, replica=mirror)
        assert restored(mirror.client, tmp_path) == [1]
        assert storage.owner is not None
    assert storage.owner is None
    assert restored(client, tmp_path) == [1]
