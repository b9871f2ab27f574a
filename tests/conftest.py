"""Settings that every test shares."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # `tests.helpers` also runs as `python -m`, so it has one name everywhere
    sys.path.insert(0, str(ROOT))

pytest.register_assert_rewrite("tests.helpers", "ltxcore.testing")

from tests.helpers import litestream, profiles  # noqa: E402  (needs the path above)
from tests.helpers.site import Site  # noqa: E402

profiles.register()


def pytest_configure() -> None:
    # A shell without job control has what runs in the background ignore Ctrl-C, which some tests send.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    without = pytest.mark.skip(
        reason=f"no litestream {' or '.join(litestream.VERSIONS)}: set LTXCORE_LITESTREAM or install it"
    )
    for item in items:
        if item.get_closest_marker("interop") and litestream.program() is None:
            item.add_marker(without)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    try:
        yield made
    finally:
        made.end()
