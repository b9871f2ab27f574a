"""A cache under a replica that was begun anew with files of the same names, sizes and times."""

import io
import random
from collections.abc import Hashable
from datetime import UTC, datetime
from pathlib import Path

import pytest

import ltxcore
from ltxcore import TXID
from ltxcore.clients.objects import ObjectReplicaClient

from tests.helpers.stores import MemoryStore
from tests.unit.memory import ltx_file

PAGES = 1200


class Timeless(MemoryStore):
    """One that keeps no times that would tell two objects apart, and that is the same one in every process."""

    def write(self, *args: object, **options: object) -> ltxcore.stores.ObjectInfo:
        found = super().write(*args, **options)  # type: ignore[arg-type]
        with self._lock:
            data, _ = self.objects[found.key]
            self.objects[found.key] = data, datetime(2026, 3, 1, tzinfo=UTC)
        return found

    @property
    def identity(self) -> Hashable:
        return "timeless"


def filled(client: ObjectReplicaClient, seeds: list[int]) -> None:
    """A snapshot and two transactions, whose contents depend on the seeds, and their sizes do not."""
    client.delete_all()
    for (level, txid, count), seed in zip([(9, 1, PAGES), (0, 2, 3), (0, 3, 3)], seeds, strict=True):
        chance = random.Random(seed)
        pages = {pgno: chance.randbytes(512) for pgno in range(1, count + 1)}
        data = ltx_file(pages, commit=PAGES, min_txid=txid)
        client.write_ltx_file(level, TXID(txid), TXID(txid), io.BytesIO(data))


@pytest.mark.parametrize("seeds", [[4, 5, 6], [1, 2, 6], [4, 2, 3]])
def test_what_is_cached_of_the_old_one_is_not_used(tmp_path: Path, seeds: list[int]) -> None:
    client, cache = ObjectReplicaClient(Timeless(), "app"), tmp_path / "cache"
    filled(client, [1, 2, 3])
    ltxcore.restore(client, tmp_path / "old.db", cache=cache)
    old = list(client.all_ltx_files())
    filled(client, seeds)
    assert list(client.all_ltx_files()) == old, "nothing tells them apart"
    ltxcore.restore(client, tmp_path / "cached.db", cache=cache)
    ltxcore.restore(client, tmp_path / "expected.db")
    assert (tmp_path / "cached.db").read_bytes() == (tmp_path / "expected.db").read_bytes()
    assert (tmp_path / "cached.db").read_bytes() != (tmp_path / "old.db").read_bytes()
