"""Settings that every test shares."""

import contextlib
import itertools
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # `tests.helpers` also runs as `python -m`, so it has one name everywhere
    sys.path.insert(0, str(ROOT))

pytest.register_assert_rewrite("tests.helpers", "ltxcore.testing")

from tests.helpers import litestream, litestream03, profiles  # noqa: E402  (needs the path above)
from tests.helpers.site import Site  # noqa: E402

if TYPE_CHECKING:
    from tests.helpers.proxy import Proxy
    from tests.helpers.s3_servers import S3Server

profiles.register()


def pytest_configure() -> None:
    # A shell without job control has what runs in the background ignore Ctrl-C, which some tests send.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    without = pytest.mark.skip(
        reason=f"no litestream {' or '.join(litestream.VERSIONS)}: set LTXCORE_LITESTREAM or install it"
    )
    without_03 = pytest.mark.skip(
        reason=f"no litestream {litestream03.VERSION}: set LTXCORE_LITESTREAM_03 or run `make tools`"
    )
    for item in items:
        if item.get_closest_marker("interop") and litestream.program() is None:
            item.add_marker(without)
        if item.get_closest_marker("litestream03") and litestream03.program() is None:
            item.add_marker(without_03)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    try:
        yield made
    finally:
        made.end()


# One server of each kind for all tests that ask for it; a test makes a bucket of its own. boto3 is imported here and not
# above, since most runs ask for none of them.
@pytest.fixture(scope="session")
def seaweedfs() -> "Iterator[S3Server]":
    from tests.helpers import s3_servers

    with s3_servers.SeaweedFS() as server:
        yield server


@pytest.fixture(scope="session")
def rclone() -> "Iterator[S3Server]":
    from tests.helpers import s3_servers

    with s3_servers.Rclone() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> "Iterator[S3Server]":
    from tests.helpers import s3_servers

    with s3_servers.Moto() as server:
        yield server


@pytest.fixture
def proxied(tmp_path: Path) -> "Iterator[Callable[..., Proxy]]":
    """Starts proxies in front of a URL, which end with the test."""
    from tests.helpers.proxy import Proxy

    with contextlib.ExitStack() as stack:
        numbers = itertools.count()
        yield lambda url, **link: stack.enter_context(
            Proxy(tmp_path / f"proxy{next(numbers)}.log", url, **link)
        )
