"""Replicas as the command line names them: a URL, or the path of a directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ltxcore import Replica


def replica(source: str) -> Replica:
    """The replica that an argument names."""
    from ltxcore import Replica

    if "://" in source:
        return Replica(source)
    if Path(source).is_file():
        raise click.UsageError(
            f"{source} is a file, not a replica; name the replica's directory or its URL, like file:///backups/app"
        )
    return Replica(Path(source).absolute())


def is_empty(replica: Replica) -> bool:
    """Whether there is not one LTX file."""
    return next(iter(replica.files()), None) is None
