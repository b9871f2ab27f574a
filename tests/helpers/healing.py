"""What a replicator owes after somebody pulled the database, its WAL or its notes from under it."""

import time
from typing import Any

from tests.helpers.process import ChildError
from tests.helpers.site import Site

# One of these is among the classes of an error that a replicator may answer with. The driver runs outside this process, so
# names are all there is; `LitestreamError` is what the other subject's errors are called here.
TYPED = {"DatabaseError", "ReplicaError", "FormatError", "PositionError", "LitestreamError"}


def barrier_and_compare(site: Site, replicator: Any, timeout: float = 10.0) -> None:
    """A barrier that says yes must mean it: the replica restores to what the database is. Errors go to the caller."""
    txid = replicator.barrier(timeout)
    site.assert_restores(txid=txid)
    site.assert_restores()


def assert_typed(error: ChildError) -> None:
    """Not a hang, not a panic, not an exception of somebody else."""
    assert TYPED.intersection(error.kinds), f"not a typed error: {error}"
    assert "InternalError" not in error.kinds, str(error)


def assert_heals(site: Site, replicator: Any, *, within: float = 20.0) -> None:
    """By itself, within the time: until then only typed errors, and never a yes that is not true."""
    end = time.monotonic() + within
    while True:
        try:
            barrier_and_compare(site, replicator)
            return
        except ChildError as error:
            assert_typed(error)
            if time.monotonic() > end:
                raise AssertionError(f"not healed within {within} s: {error}") from error
            time.sleep(0.2)


def assert_heals_or_says_so(site: Site, replicator: Any) -> None:
    """As above, but where the application itself was broken, a typed error and then a restart will do."""
    try:
        barrier_and_compare(site, replicator)
        return
    except ChildError as error:
        assert_typed(error)
    replicator.kill()
    replicator.start()
    assert_heals(site, replicator)
