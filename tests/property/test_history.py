"""Restoring any TXID that was ever reported gives exactly the database that plain SQLite had at that moment.

Under LTXCORE_TEST_SUBJECT=litestream hypothesis finds a counterexample within seconds: a replicator that goes away while the
application checkpoints.
"""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.helpers import history
from tests.helpers.profiles import marks, sized

pytestmark = [pytest.mark.process, *marks(180, 7200)]


@pytest.fixture
def drivers() -> Iterator[None]:
    yield
    history.Drivers.end()


def test_any_txid_restores_to_what_was(drivers: None) -> None:
    """Random histories of work, syncs, absences and restores: 12 of them, 500 in the slow profile."""
    limits = settings(max_examples=sized(12, 500), stateful_step_count=20)
    run_state_machine_as_test(history.History, settings=limits)
