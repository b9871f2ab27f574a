"""What has become of files since they were listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltxcore.legacy._history import generations_of

if TYPE_CHECKING:
    from datetime import datetime

    from ltxcore import _ltxcore


def are_gone(found: _ltxcore.LegacyHistory, now: _ltxcore.LegacyHistory) -> set[str]:
    """The names of files that a later listing does not show any more, or that were stored again.

    Litestream 0.3 deletes old files at any time, and stores a snapshot of the same name again.
    """
    return {path for path, _ in files_of(found).items() - files_of(now).items()}


def files_of(found: _ltxcore.LegacyHistory) -> dict[str, tuple[int, datetime]]:
    """Size in bytes and time of each file, by its name."""
    files: dict[str, tuple[int, datetime]] = {}
    for each in generations_of(found):
        files.update((file.path, (file.size, file.created_at)) for file in each.snapshots)
        files.update((file.path, (file.size, file.created_at)) for file in each.segments)
    return files
