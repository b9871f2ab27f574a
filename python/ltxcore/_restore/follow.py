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
from ltxcore._process.restoring import RestoreProgress, output_path
from ltxcore._process.times import argument_error, seconds
from ltxcore._restore.followed import FollowedDatabase, OnDivergence
from ltxcore._restore.history import listed_again
from ltxcore._restore.mark import mark_at_end
from ltxcore._restore.older import naming_older
from ltxcore._restore.position import Position, Sidecars, shape_of_new
from ltxcore._restore.restore import RestoreResult, restore_prepared
from ltxcore._restore.update import page_1_of
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
    """Restore a database, or resume a followed one, and keep it up to date with its replica.

    The position is stored in ``<output>-txid``, as Litestream stores it, so either program can resume what the other began.
    Litestream up to 0.5.17 refuses to resume once the replica has a snapshot from before the position. If the process is
    killed, readers still see whole transactions only.

    Before anything is applied, the replica must prove that it continues the database. The file that ends at the position is
    compared with the one that ``<output>-ltxcore`` names. If that file is gone, every page is compared, which reads as much as
    a restore.

    Args:
        source: the replica: a client, a URL, or the path of a directory.
        output: the path of the database. If it exists, it must be a followed database.
        interval: the time between two looks for new files, in seconds or as a ``timedelta``.
        parallelism: as for :func:`ltxcore.restore`.
        overwrite: restore again, over an existing database.
        integrity_check: as for :func:`ltxcore.restore`.
        on_divergence: what to do if the replica has another history, has lost the files that continue the database, or if
            another program wrote to the database. ``"error"`` raises. ``"restore"`` replaces the content with the newest
            state of the replica, in one transaction.
        progress: a function that is called during a restore or a comparison. Raise an exception in it to stop.
        logger: the logger for warnings and errors; the default is the logger ``ltxcore``.

    Returns:
        The followed database. Close it, or use it in a ``with`` block.

    Raises:
        OutputExistsError: ``output`` exists without a ``-txid`` file.
        RestoreError: the replica does not continue the database.
        DatabaseError: the database is being followed already, or a reader has switched it to WAL mode.
        ConfigError: an argument has an impossible value.
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
            f"{path} exists, but {path}-txid does not: the database was not restored by following",
            op="follow",
            path=os.fspath(path),
            hint="choose another path, or replace the database with overwrite=True (--force)",
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
    with naming_older(client, "they cannot be followed"):
        files = _ltxcore.restore_plan(native(client)).files
    last = file_info(files[-1])
    # Before anything is read: should the replica be replaced meanwhile, this is not the mark of what it has then.
    position = Position(last.max_txid, mark_at_end(client, last))
    sidecars, replaced = Sidecars(path), path.exists()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def prepare(new: Path) -> None:
        nonlocal position
        position = replace(position, shape=shape_of_new(new))
        sidecars.remove()
        if not replaced:
            sidecars.write(position)

    def finish(restored: _ltxcore.Restored) -> None:
        nonlocal position
        position = replace(position, page_1=page_1_of(restored))
        sidecars.write(position)

    result = restore_prepared(
        client,
        path,
        prepare=prepare,
        finish=finish,
        txid=last.max_txid,
        parallelism=parallelism,
        overwrite=overwrite,
        integrity_check=integrity_check,
        # Readers of a database in WAL mode keep their lock between transactions, and nothing could ever be applied.
        journal_mode="delete",
        progress=progress,
    )
    return result, position
