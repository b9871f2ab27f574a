"""What is written in the v0.3 layout restores, at each remembered time, to what the database was then."""

from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.helpers import v03_machine
from tests.helpers.acts_base import TALLY, Fault
from tests.helpers.acts_machine import machine
from tests.helpers.history import Drivers
from tests.helpers.profiles import marks, sized

pytestmark = [pytest.mark.process, *marks(180, 7200)]


@pytest.fixture
def drivers() -> Iterator[None]:
    yield
    Drivers.end()


def test_any_time_restores_to_what_was(drivers: None) -> None:
    """Random histories of work, syncs, absences, snapshots and restores: 8 of them, 300 in the slow profile."""
    limits = settings(max_examples=sized(8, 300), stateful_step_count=20)
    run_state_machine_as_test(v03_machine.History, settings=limits)


@pytest.mark.usefixtures("pool")
@pytest.mark.timeout(sized(300, 14_400))
def test_random_acts_of_operators() -> None:
    """8 worlds of 40 acts each, 600 in the slow profile: whatever an operator does, what `wait` promised is in a restore.

    `python -m tests.helpers.acceptance operator-acts --layout v0.3` shortens what fails, and goes on after it.
    """
    limits = settings(max_examples=sized(8, 600), stateful_step_count=40, phases=[Phase.generate])
    before = sum(TALLY.acts.values())
    TALLY.broken.clear()
    try:
        run_state_machine_as_test(machine(layout="v0.3"), settings=limits)
    except Exception:
        # Hypothesis plays the acts again, which need not go wrong in the same way.
        if not TALLY.broken:
            raise
        raise Fault(f"{TALLY.broken[0].problem}\n{TALLY.broken[0].script}") from None
    assert sum(TALLY.acts.values()) - before >= sized(300, 20_000)
