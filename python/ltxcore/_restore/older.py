"""Errors about replicas without LTX files that have files of Litestream 0.3: they say so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ltxcore.errors import Error, NoSnapshotError

if TYPE_CHECKING:
    from ltxcore.clients import ReplicaClient


@contextlib.contextmanager
def naming_older(client: ReplicaClient, advice: str) -> Iterator[None]:
    """Let the error about an empty replica say that there are files of Litestream 0.3, and what reads them: ``advice``."""
    try:
        yield
    except NoSnapshotError as error:
        if error.earliest_time is None and _has_legacy(client):
            error.hint = f"it has files of Litestream 0.3: {advice}"
            error.__notes__ = [f"hint: {error.hint}"]
        raise


def _has_legacy(client: ReplicaClient) -> bool:
    from ltxcore.legacy._history import find_history  # few need it

    with contextlib.suppress(Error):
        return find_history(client) is not None
    return False
