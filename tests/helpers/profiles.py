"""How long the tests may take: LTXCORE_HYPOTHESIS is `fast` (the gate) or `slow` (the acceptance runs)."""

import os
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

T = TypeVar("T")

NAME = os.environ.get("LTXCORE_HYPOTHESIS", "fast")
SLOW = NAME == "slow"
if NAME not in ("fast", "slow"):
    raise ValueError(f"LTXCORE_HYPOTHESIS must be fast or slow, not {NAME!r}")


def sized(fast: T, slow: T) -> T:
    """The size of a test in the profile that runs."""
    return slow if SLOW else fast


def marks(fast: int, slow: int) -> list[pytest.MarkDecorator]:
    """The time limits of a module in seconds; in the slow profile its tests count as `slow` ones."""
    return [pytest.mark.timeout(sized(fast, slow)), *([pytest.mark.slow] if SLOW else [])]


def register() -> None:
    """Load the hypothesis profile. Examples start processes, so a slow one says nothing."""
    unhurried = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    # The fast profile is the gate: the same examples every time. Failures found there must not come and go.
    settings.register_profile("fast", deadline=None, derandomize=True, suppress_health_check=unhurried)
    settings.register_profile("slow", deadline=None, suppress_health_check=unhurried)
    settings.load_profile(NAME)
