"""Replicas as the command line names them: a URL, the path of a directory, or a database of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltxcore._process.arguments import local_path
from ltxcore.errors import ConfigError

if TYPE_CHECKING:
    from ltxcore import Replica
    from ltxcore.clients import ReplicaClient
    from ltxcore.config import Config, DBConfig

#: What `restore` and `ltx` may be given besides.
WITH_CONFIG = ", or with --config its database"


def replica(source: str, *, other: str = "", **options: Any) -> Replica:
    """The replica that an argument names, with ``options``; ``other`` is what else may be named, for the message."""
    from ltxcore import Replica

    if "://" in source:
        return Replica(source, **options)
    if Path(source).is_file():
        raise click.UsageError(
            f"{source} is a file, not a replica; name the replica's directory or its URL, like file:///backups/app{other}"
        )
    return Replica(source, **options)


def located(
    source: str, config: str | None, expand_env: bool, name: str | None
) -> tuple[Replica, Path | None]:
    """The replica that an argument names; and the database, if it names one that is in the configuration.

    ``name`` is that of one of the database's replicas.
    """
    if "://" in source and not source.startswith(("sqlite://", "sqlite3://")):
        if config is not None:
            raise click.UsageError("a replica URL and --config exclude each other")
        if name is not None:
            raise click.UsageError("a replica URL and --replica exclude each other")
        return replica(source, other=WITH_CONFIG), None
    if "://" not in source:
        # A URL that has lost a slash would be a path that the configuration does not have, and be shown as one.
        local_path(source, "replica", "client")
    if config is None and Path(source).is_dir():
        if name is not None:
            raise click.UsageError(f"{source} is the directory of a replica, and excludes --replica")
        return replica(source), None
    # Slow to import, as it needs the parser and the validator of the file.
    from ltxcore import Replica
    from ltxcore.config import default_path, load
    from ltxcore.config._text import expand_path

    if config is None and name is None and not default_path().exists():
        return replica(source, other=WITH_CONFIG), None
    loaded = load(config, expand_env=expand_env)
    found = loaded.find(source)
    return Replica(chosen(loaded, found, name)), expand_path(source)


def chosen(loaded: Config, db: DBConfig, name: str | None) -> ReplicaClient:
    """The client of the replica with this name, with the option in place of the argument in the hint."""
    try:
        return loaded.client(db, name)
    except ConfigError as error:
        if error.key == "name" and name is None:
            error.hint = "choose one with --replica NAME"
        raise


def require(origin: Replica) -> None:
    """Fail as a restore does if the directory of a replica does not exist.

    Raises:
        NoSnapshotError: it does not.
    """
    from ltxcore import FileClient, restore_plan

    client = origin.client
    if type(client) is FileClient and not client.path.exists():
        restore_plan(client)


def is_empty(replica: Replica) -> bool:
    """Whether there is not one LTX file, nor one of Litestream 0.3."""
    from ltxcore.legacy import Replica as LegacyReplica  # few need it

    # One that is written in that layout has no LTX files to ask for.
    has_ltx_files = not isinstance(replica, LegacyReplica) and next(iter(replica.files()), None) is not None
    return not has_ltx_files and not has_legacy(replica)


def has_legacy(replica: Replica) -> bool:
    """Whether there are files of Litestream 0.3."""
    from ltxcore.legacy._history import find_history  # few need it

    return find_history(replica.client) is not None
