"""A blob store under load, killed, replicated: small versions of the acceptance runs."""

import random
from pathlib import Path

import pytest

from tests.helpers import blob_kill9, blob_load
from tests.helpers.profiles import sized

# So small that much is evicted even where the machine is slow.
CAPACITY = 1_000_000

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    report = blob_kill9.run(tmp_path, sized(6, 40), random.Random(7))
    assert report.problems == []
    assert report.acknowledged > 20


def test_under_load_nothing_is_torn_nothing_grows_and_the_capacity_holds(tmp_path: Path) -> None:
    report = blob_load.load(tmp_path, sized(4.0, 30.0), 11, capacity=CAPACITY)
    assert report.problems == []
    assert report.operations > 200 and report.samples > 20 and report.evictions > 0
    # Fewer, where the garbage of other tests went meanwhile.
    assert report.descriptors <= 0 and report.threads <= 0


def test_a_replica_of_a_store_is_a_whole_store_at_every_txid(tmp_path: Path) -> None:
    report = blob_load.replicated(tmp_path, sized(3.0, 20.0), 13, capacity=CAPACITY)
    assert report.problems == []
    assert report.restored > 3 and report.operations > 50 and report.evictions > 0
