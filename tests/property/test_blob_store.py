"""A blob store does whatever its model does: the same bytes, the same errors, and the same blobs evicted in the same order."""

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.helpers import blob_machine, blob_rules
from tests.helpers.profiles import marks, sized

pytestmark = marks(60, 3000)

STEPS = 40


def test_a_store_is_its_model() -> None:
    """12 lives of a store, 300 in the slow profile, of up to 40 steps each."""
    limits = settings(max_examples=sized(12, 300), stateful_step_count=STEPS)
    before = blob_machine.TALLY.steps
    run_state_machine_as_test(blob_rules.BlobRules, settings=limits)
    assert blob_machine.TALLY.steps - before >= sized(12 * 20, 10_000)
