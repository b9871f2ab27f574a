"""Fixtures of the tests that play acts."""

from collections.abc import Iterator

import pytest

from tests.helpers.acts_processes import Pool


@pytest.fixture(scope="module")
def pool() -> Iterator[None]:
    """Processes that one world leaves for the next; none is left behind."""
    yield
    Pool.end()
