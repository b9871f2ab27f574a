"""Restores to a time: which state that is, and what is said about it."""

import io
from datetime import timedelta
from pathlib import Path

import pytest

import ltxcore
from ltxcore import Replica, ltx
from ltxcore.errors import NoSnapshotError, RestoreError, TXIDNotAvailableError

from tests.unit.memory import MemoryClient, after, history, page, state


def test_a_time_whose_state_was_merged_gives_the_newest_earlier_one(tmp_path: Path) -> None:
    """L0 was deleted up to 6, L1 has 1-4 and 5-8: a restore to the time of 7 said that 5 and 6 are missing."""
    client = history(12)
    for first in (1, 5):
        files = {n: client.files[0, n, n] for n in range(first, first + 4)}
        alone = MemoryClient()
        alone.files = {(0, n, n): data for n, data in files.items()}
        Replica(alone).compact(1)
        client.files[1, first, first + 3] = alone.files[1, first, first + 3]
    for number in range(1, 7):
        del client.files[0, number, number]
    found = {}
    for number in range(4, 13):
        result = ltxcore.restore(client, tmp_path / "out.db", timestamp=after(number + 0.5), overwrite=True)
        assert result.created_at == after(int(result.pos.txid))
        found[number] = (int(result.pos.txid), result.exact)
    inexact = dict.fromkeys((4, 5, 6, 7), (4, False))
    assert found == inexact | {number: (number, True) for number in range(8, 13)}
    with pytest.raises(TXIDNotAvailableError) as caught:
        ltxcore.restore(client, tmp_path / "out.db", txid=7, overwrite=True)
    assert caught.value.available == 4


def test_transactions_that_no_level_has_are_missing_at_a_time_as_well(tmp_path: Path) -> None:
    client = history(8)
    del client.files[0, 5, 5]
    assert state(client, tmp_path / "out.db", timestamp=after(4.5)) == 4
    for timestamp in (after(6.5), after(99)):
        with pytest.raises(RestoreError, match="after 0000000000000004 are missing") as caught:
            ltxcore.restore(client, tmp_path / "other.db", timestamp=timestamp)
        assert (caught.value.level, caught.value.min_txid) == (0, 6)
        assert caught.value.hint is not None
        assert "0000000000000004" in caught.value.hint


def test_a_time_counts_for_the_last_transaction_of_a_state(tmp_path: Path) -> None:
    """The clock was a day ahead for transaction 2 alone: what came after it was committed before noon all the same."""
    client = history(4)
    header = ltx.Header.parse(client.files[0, 2, 2][: ltx.HEADER_SIZE])
    assert header.timestamp == after(2)
    out = io.BytesIO()
    late = ltx.Header(
        page_size=512, commit=2, min_txid=2, max_txid=2, timestamp=header.timestamp + timedelta(days=1)
    )
    encoder = ltx.Encoder(out, late)
    encoder.write(1, page(2))
    encoder.finish()
    client.files[0, 2, 2] = out.getvalue()
    assert state(client, tmp_path / "out.db", timestamp=after(4.5)) == 4
    assert state(client, tmp_path / "out.db", timestamp=after(1.5)) == 1


def test_a_time_before_everything_names_the_earliest_state(tmp_path: Path) -> None:
    with pytest.raises(NoSnapshotError) as caught:
        ltxcore.restore(history(3), tmp_path / "out.db", timestamp=after(0))
    assert (caught.value.earliest_txid, caught.value.earliest_time) == (1, after(1))
    assert "transaction 0000000000000001 of 2026-01-01T00:00:01.000Z" in str(caught.value)
    assert "nothing from before 2026-01-01T00:00:00.000Z" in str(caught.value)
