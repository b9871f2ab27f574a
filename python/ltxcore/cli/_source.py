"""Replicas as the command line names them: a URL, the path of a directory, or a database of the configuration."""

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
            f"{source} is a file, not a replica; name the replica's directory or its URL, like file:///backups/app, "
            "or with --config its database"
        )
    return Replica(Path(source).absolute())


def located(source: str, config: str | None, expand_env: bool) -> tuple[Replica, Path | None]:
    """The replica that an argument names; and the database, if it names one that is in the configuration."""
    if "://" in source and not source.startswith(("sqlite://", "sqlite3://")):
        if config is not None:
            raise click.UsageError("a replica URL and --config exclude each other")
        return replica(source), None
    if config is None and Path(source).is_dir():
        return replica(source), None
    # Slow to import, as it needs the parser and the validator of the file.
    from ltxcore import Replica
    from ltxcore._config_text import expand_path
    from ltxcore.config import default_path, load

    if config is None and not default_path().exists():
        return replica(source), None
    loaded = load(config, expand_env=expand_env)
    found = loaded.find(source)
    return Replica(loaded.client(found)), expand_path(source)


def is_empty(replica: Replica) -> bool:
    """Whether there is not one LTX file."""
    return next(iter(replica.files()), None) is None
