"""That no two of the directories of replication are one: of local files and replica, and of two replicas."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ltxcore.clients.file import FileClient
from ltxcore.errors import ConfigError
from ltxcore.ltx import SNAPSHOT_LEVEL

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from ltxcore.clients import ReplicaClient

_lock = threading.Lock()
#: Which database has a place, as long as it is open.
_taken: dict[Hashable, Path] = {}


def _after_fork_in_child() -> None:
    """The places are the parent's; and a thread of it may have had the lock, which nobody would ever let go here."""
    global _lock
    _lock = threading.Lock()
    _taken.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)


def check_apart(client: ReplicaClient, meta_path: Path) -> None:
    """Refuse a directory as a replica that shares files with the directory of the local files.

    Raises:
        ConfigError: it does.
    """
    if not isinstance(client, FileClient):
        return
    local = (meta_path / "ltx" / "0", meta_path / "ltxcore")
    for level in range(SNAPSHOT_LEVEL + 1):
        folder = client.path / "ltx" / str(level)
        if _is_within(folder, meta_path) or any(_is_within(each, folder) for each in local):
            raise _config_error(
                f"the replica {client.path} overlaps with the directory of the local files: {meta_path}",
                hint="choose another directory for the replica",
            )


def check_replicas(clients: Sequence[ReplicaClient], meta_path: Path) -> None:
    """Refuse replicas of one database that share files with each other, or with the local files.

    Raises:
        ConfigError: they do.
    """
    seen = set()
    for client in clients:
        check_apart(client, meta_path)
        if client.identity in seen:
            raise _config_error(
                f"two replicas of one database in one place: {client!r}", hint="give each a place of its own"
            )
        seen.add(client.identity)


def take(client: ReplicaClient, database: Path) -> Hashable | None:
    """Note that a database is replicated there from now on; what to give back when that is over.

    Raises:
        ConfigError: another database of this process is replicated there.
    """
    place = client.identity
    with _lock:
        holder = _taken.get(place)
        if holder is None:
            _taken[place] = database
            return place
        if holder == database:
            # The engine has a better error: somebody replicates this database already.
            return None
        raise _config_error(
            f"the replica {client!r} is that of another database of this process: {holder}",
            hint="give each database a replica of its own",
        )


def give_back(place: Hashable | None) -> None:
    """The reverse of :func:`take`."""
    if place is not None:
        with _lock:
            _taken.pop(place, None)


def _is_within(path: Path, directory: Path) -> bool:
    """Whether ``path`` is ``directory`` or below it, by whatever links or mounts."""
    target = Path(os.path.realpath(directory))
    identity = _identity(target)
    real = Path(os.path.realpath(path))
    return any(
        each == target or (identity is not None and _identity(each) == identity)
        for each in (real, *real.parents)
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _config_error(message: str, *, hint: str) -> ConfigError:
    error = ConfigError(message, op="open", hint=hint)
    error.key = "replica"
    return error
