"""follow(): restore a database and keep it up with its replica, or go on with one."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ltxcore import _ltxcore
from ltxcore._process.arguments import check_parallelism
from ltxcore._process.awaiting import awaitable, cancellation
from ltxcore._process.times import argument_error, seconds
from ltxcore._restore.followed import FollowedDatabase, OnDivergence
from ltxcore._restore.history import listed_again
from ltxcore._restore.mark import mark_at_end
from ltxcore._restore.position import Position, Shape, Sidecars
from ltxcore._restore.restore import RestoreProgress, RestoreResult, output_path, restore_prepared
from ltxcore.clients import as_client
from ltxcore.clients.file import file_info, native
from ltxcore.errors import OutputExistsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from ltxcore.clients import ReplicaClient, Source


def follow(
    source: Source,
    output: str | os.PathLike[str],
    *,
    interval: float | timedelta = 1.0,
    parallelism: int = 8,
    overwrite: bool = False,
    integrity_check: Literal["none", "quick", "full"] = "none",
    on_divergence: OnDivergence = "error",
    progress: Callable[[RestoreProgress], None] | None = None,
    logger: logging.Logger | None = None,
) -> FollowedDatabase:
    """Restore a database, or continue one that was restored this way, and keep it up with its replica.

    The position is kept in ``<output>-txid``, as Litestream keeps it: either program continues what the other began.
    Litestream up to 0.5.17 refuses to, once the replica has a snapshot from before the position. A process that dies
    leaves the database at a transaction, or one that SQLite takes back to it.

    Before anything is applied, the replica has to prove that it continues the database: by the file that ends where the
    database is, which ``<output>-ltxcore`` remembers, or else by a comparison of every page, which reads as much as a restore.

    Args:
        source: the replica: its client, its URL, or the path of its directory.
        output: where the database goes, or is.
        interval: how often to look for new files, in seconds.
        parallelism: see :func:`ltxcore.restore`; so are ``integrity_check`` and ``progress``.
        overwrite: restore anew, over whatever is there.
        integrity_check: let SQLite check what is restored.
        on_divergence: what to do when the replica has begun another history, has lost what continues the database, or
            somebody has written to the database: ``"error"`` leaves it alone, ``"restore"`` replaces its content, in one
            transaction, by what is newest in the replica.
        progress: called while it is restored, or compared; an exception from it calls that off.
        logger: where to report trouble; the logger ``ltxcore``, if left out.

    Raises:
        OutputExistsError: ``output`` exists without a ``-txid`` file.
        RestoreError: the replica does not continue the database.
        DatabaseError: it is being followed already, or a reader has switched it to WAL mode.
        ConfigError: arguments that make no sense.
        Error: as for :func:`ltxcore.restore`.
    """
    client = as_client(source)
    path = output_path(output).absolute()
    every = seconds(interval, "interval")
    check_parallelism(parallelism)
    if not every:
        raise argument_error("interval", "interval must be more than 0")
    if on_divergence not in ("error", "restore"):
        raise argument_error(
            "on_divergence", f"on_divergence must be 'error' or 'restore': {on_divergence!r}"
        )
    position = None if overwrite or not path.exists() else _saved(path)
    restored = None
    if position is None:
        restored, position = _restore(client, path, parallelism, overwrite, integrity_check, progress)
    followed = FollowedDatabase(
        client,
        path,
        position,
        restored,
        interval=every,
        on_divergence=on_divergence,
        logger=logger or logging.getLogger("ltxcore"),
    )
    try:
        followed._start(_watch(path, progress))
    except BaseException:
        followed.close()
        raise
    return followed


follow_async = awaitable(follow, FollowedDatabase.close)


def _watch(path: Path, progress: Callable[[RestoreProgress], None] | None) -> Callable[[int, int], None]:
    """Report the pages that have been compared, in bytes of the database."""
    size, check = path.stat().st_size, cancellation()

    def watch(done: int, total: int) -> None:
        if check is not None:
            check()
        if progress is not None:
            progress(RestoreProgress(size * done // total, size, 0, 0))

    return watch


def _saved(path: Path) -> Position:
    position = Sidecars(path).read()
    if position is None:
        raise OutputExistsError(
            f"{path} exists, but {path}-txid does not: it cannot be continued",
            op="follow",
            path=os.fspath(path),
            hint="restore to another path, or over it with overwrite=True (--force)",
        )
    return position


def _restore(
    client: ReplicaClient,
    path: Path,
    parallelism: int,
    overwrite: bool,
    integrity_check: Literal["none", "quick", "full"],
    progress: Callable[[RestoreProgress], None] | None,
) -> tuple[RestoreResult, Position]:
    """The first restore."""
    return listed_again(
        lambda: _restore_once(client, path, parallelism, overwrite, integrity_check, progress)
    )


def _restore_once(
    client: ReplicaClient,
    path: Path,
    parallelism: int,
    overwrite: bool,
    integrity_check: Literal["none", "quick", "full"],
    progress: Callable[[RestoreProgress], None] | None,
) -> tuple[RestoreResult, Position]:
    """The sidecars are there before the database; those of an old database are gone before it is."""
    files = _ltxcore.restore_plan(native(client)).files
    last = file_info(files[-1])
    # Before anything is read: should the replica be replaced meanwhile, this is not the mark of what it has then.
    position = Position(last.max_txid, mark_at_end(client, last))
    sidecars, replaced = Sidecars(path), path.exists()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def prepare(new: Path) -> None:
        nonlocal position
        position = replace(position, shape=_shape(new))
        sidecars.remove()
        if not replaced:
            sidecars.write(position)

    result = restore_prepared(
        client,
        path,
        prepare=prepare,
        txid=last.max_txid,
        parallelism=parallelism,
        overwrite=overwrite,
        integrity_check=integrity_check,
        # Readers of a database in WAL mode keep their lock between transactions, and nothing could ever be applied.
        journal_mode="delete",
        progress=progress,
    )
    if replaced:
        sidecars.write(position)
    return result, position


def _shape(new: Path) -> Shape:
    fd = os.open(new, os.O_RDONLY)  # under a temporary name: nobody else has it open
    try:
        return Shape.of(fd)
    finally:
        os.close(fd)
