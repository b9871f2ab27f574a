"""restore_plan(): which files a restore would read."""

from datetime import UTC, datetime

import pytest

import ltxcore
from ltxcore import RestorePlan
from ltxcore.errors import ConfigError, NoSnapshotError, TXIDNotAvailableError

from tests.unit.memory import MemoryClient, after, filled_client


def test_a_plan_is_what_a_restore_reads(tmp_path) -> None:
    client = filled_client()
    for wish in ({}, {"txid": 2}, {"txid": "0000000000000002"}, {"timestamp": after(2.5)}):
        plan = ltxcore.restore_plan(client, **wish)
        done = ltxcore.restore(client, tmp_path / "out.db", overwrite=True, **wish)
        assert isinstance(plan, RestorePlan)
        assert (plan.files, plan.clamped, plan.txid) == (done.files, done.clamped, done.pos.txid)
        assert plan.size == sum(file.size for file in plan.files)
    assert ltxcore.restore_plan(client, timestamp=datetime.now(UTC)).clamped


def test_what_cannot_be_planned_is_the_error_of_a_restore() -> None:
    client = filled_client()
    with pytest.raises(TXIDNotAvailableError):
        ltxcore.restore_plan(client, txid=9)
    with pytest.raises(NoSnapshotError):
        ltxcore.restore_plan(MemoryClient())
    with pytest.raises(ConfigError, match="not both"):
        ltxcore.restore_plan(client, txid=1, timestamp=after(1))
