"""`ltxcore restore`: rebuild a database from a replica."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click
from click.core import ParameterSource

from ltxcore._process.urls import shown
from ltxcore.cli import _legacy, _plan
from ltxcore.cli._log import start_log
from ltxcore.cli._missing import command_line_hints, restore_missing
from ltxcore.cli._options import SETTINGS, Command, config_options, json_option, option
from ltxcore.cli._output import counted, format_time, note, print_json
from ltxcore.cli._progress import progress_bar
from ltxcore.cli._source import is_empty, located
from ltxcore.cli._types import (
    CACHE_SIZE,
    DURATION,
    GENERATION,
    INDEX,
    PARALLELISM,
    PLACE,
    TIMESTAMP,
    TXID,
    FullPath,
)

if TYPE_CHECKING:
    from ltxcore import Replica, RestoreProgress, RestoreResult
    from ltxcore._restore.followed import OnDivergence

IntegrityCheck = Literal["none", "quick", "full"]
JournalMode = Literal["keep", "delete"]
T = TypeVar("T")


@click.command(
    "restore",
    cls=Command,
    context_settings=SETTINGS,
    short_help="Rebuild a database from a replica, or follow it.",
)
@click.argument("source", type=PLACE)
@option(
    "-o",
    "--output",
    type=FullPath(path_type=Path),
    help="Path of the restored database [SOURCE, if that is a database].",
)
@option("--txid", type=TXID, help="Restore up to this transaction: 16 hexadecimal digits, as printed.")
@option("--timestamp", type=TIMESTAMP, help="Restore the newest state from before this time (RFC 3339).")
@option(
    "--generation",
    type=GENERATION,
    help="Restore from this generation of files of Litestream 0.3: 16 hexadecimal digits, as printed.",
)
@option(
    "--index",
    type=INDEX,
    help="With --generation: use no WAL file after this one: 8 hexadecimal digits, as printed.",
)
@option(
    "--parallelism",
    type=PARALLELISM,
    default=8,
    show_default=True,
    help="Number of files, or parts of files, to read and decode at once.",
)
@option(
    "--if-db-not-exists",
    is_flag=True,
    help="Do nothing and exit with 0 if the output exists. A -wal without its database is renamed.",
)
@option("--if-replica-exists", is_flag=True, help="Do nothing and exit with 0 if the replica is empty.")
@option(
    "--force",
    is_flag=True,
    help="Replace an existing output, and its WAL, when the new database is complete. No program may have it open.",
)
@option(
    "--update",
    is_flag=True,
    help="Read only what has changed since OUTPUT was last restored with --update or followed. OUTPUT is replaced.",
)
@option(
    "--cache",
    type=FullPath(path_type=Path, file_okay=False),
    help="Local directory that keeps what is read of a remote replica, for later restores. For nothing else: ltxcore "
    "may delete what is in it.",
)
@option(
    "--cache-size",
    type=CACHE_SIZE,
    default="10GiB",
    show_default=True,
    help="Size of the cache. The least recently used content is removed.",
)
@option("--dry-run", is_flag=True, help="Only list the files that would be read; needs no --output.")
@option(
    "--integrity-check",
    type=click.Choice(["none", "quick", "full"]),
    default="none",
    show_default=True,
    help="Check the result with PRAGMA quick_check or integrity_check.",
)
@option(
    "--journal-mode",
    type=click.Choice(["keep", "delete"]),
    default="keep",
    show_default=True,
    help="Keep WAL mode, or turn it off (delete) for readers that cannot write to the directory.",
)
@option(
    "-f",
    "--follow",
    is_flag=True,
    help="Keep the database up to date with the replica. Resumes if the output exists.",
)
@option(
    "--follow-interval",
    type=DURATION,
    default="1s",
    show_default=True,
    help="Time between two looks for new files.",
)
@option(
    "--on-divergence",
    type=click.Choice(["error", "restore"]),
    default="error",
    show_default=True,
    help="What to do if the replica does not continue the database: fail, or replace the content of the database.",
)
@config_options
@json_option
def command(
    source: str,
    output: Path | None,
    txid: str | None,
    timestamp: datetime | None,
    generation: str | None,
    index: int | None,
    parallelism: int,
    if_db_not_exists: bool,
    if_replica_exists: bool,
    force: bool,
    update: bool,
    cache: Path | None,
    cache_size: int,
    dry_run: bool,
    integrity_check: IntegrityCheck,
    journal_mode: JournalMode,
    follow: bool,
    follow_interval: float,
    on_divergence: OnDivergence,
    config: str | None,
    no_expand_env: bool,
    replica_name: str | None,
    as_json: bool,
) -> None:
    """Rebuild a database from the replica SOURCE: a URL, a directory, or a database of the configuration file.

    Without --txid or --timestamp, the newest state is restored. The database appears complete and verified, or not at
    all. A time after the newest transaction restores the newest state, and the command says so. If the state right before
    the time can no longer be restored, the newest earlier state is restored, and the command says which.

    SOURCE may also have files of Litestream 0.3, from before an upgrade. By the rules of Litestream 0.5 they are used if they
    have the newest state, or that of the time. With --generation nothing else is used.

    A restore of at least 64 MiB that is not from a local directory continues where it stopped if it was killed or failed: run
    the same command again. Until then, what was read is beside OUTPUT, in .OUTPUT.ltxcore-partial.

    With --follow, the database is kept up to date with the replica until SIGINT or SIGTERM, in journal mode delete. Other
    programs may read it, but not write to it. The position is stored in OUTPUT-txid, from which ltxcore or Litestream
    resumes (Litestream up to 0.5.17 only if the replica has no snapshot). If the replica does not continue the database,
    the command fails.
    """
    if follow and (txid is not None or timestamp is not None or dry_run):
        raise click.UsageError("--follow excludes --txid, --timestamp and --dry-run")
    if update and (follow or dry_run):
        raise click.UsageError("--update excludes --follow and --dry-run")
    if cache is not None and (follow or dry_run):
        raise click.UsageError("--cache excludes --follow and --dry-run")
    if cache is None and is_given("cache_size"):
        raise click.UsageError("--cache-size requires --cache")
    if txid is not None and timestamp is not None:
        raise click.UsageError("--txid and --timestamp exclude each other")
    if index is not None and generation is None:
        raise click.UsageError("--index requires --generation")
    if generation is not None and (txid is not None or follow or update or cache is not None):
        raise click.UsageError("--generation excludes --txid, --follow, --update and --cache")
    wanted = {"generation": generation, "index": index, "timestamp": timestamp}
    origin, db = located(source, config, not no_expand_env, replica_name)
    source = shown(source)  # from here on for messages
    output = output or db
    if output is None and not dry_run:
        raise click.UsageError("--output (-o) is required when restoring from a replica")
    if if_db_not_exists and output is not None and output.exists():
        note(f"{output} exists; nothing to do")
        return
    if if_replica_exists and is_empty(origin):
        note(f"{source} is empty; nothing to do")
        return
    if dry_run or output is None:
        if generation is not None or (txid is None and is_legacy(origin, timestamp)):
            _plan.show_legacy(source, origin, output, wanted, as_json)
        else:
            _plan.show(source, origin, output, txid, timestamp, as_json)
        return
    if follow:
        settings = {
            "overwrite": force,
            "parallelism": parallelism,
            "integrity_check": integrity_check,
            "on_divergence": on_divergence,
        }
        with command_line_hints():
            unless_there(
                if_db_not_exists,
                output,
                lambda: keep_up(origin, source, output, follow_interval, settings, as_json),
            )
        return
    began = time.monotonic()
    has_copy = update and output.exists()
    which = {"txid": txid, "timestamp": timestamp} if generation is None else wanted
    options: dict[str, Any] = which | {"parallelism": parallelism}
    if journal_mode != "keep":
        options["journal_mode"] = journal_mode
    if update:
        options["update"] = True
    if cache is not None:
        start_log("warning")  # a cache that cannot be used is one
        options |= {"cache": cache, "cache_size": cache_size}
    with command_line_hints(), notes_of_an_interrupt(), progress_bar() as progress:
        options |= {"overwrite": force, "integrity_check": integrity_check}
        restore = run if generation is None else run_legacy
        result = unless_there(if_db_not_exists, output, lambda: restore(origin, output, progress, **options))
    if result is None:
        return
    seconds = time.monotonic() - began
    if result.legacy is not None:
        _legacy.report(result.legacy, origin, seconds, integrity_check, as_json)
        return
    if has_copy and not result.updated:
        note("The copy could not be brought up to date, so everything was read. docs/restore.md says when.")
    report(result, origin, seconds, integrity_check, as_json)


def is_given(name: str) -> bool:
    """Whether the parameter was given, with its default value or another one."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def unless_there(is_asked: bool, output: Path, restore: Callable[[], T]) -> T | None:
    """Do `restore`; if `is_asked`, despite what a database that is gone has left, and not over one that is there."""
    return restore_missing(output, restore) if is_asked else restore()


def keep_up(
    origin: Replica, source: str, output: Path, interval: float, settings: dict[str, Any], as_json: bool
) -> None:
    """Restore and follow, and say where it ended."""
    from ltxcore.cli._keep_up import keep_up

    end = keep_up(origin.client, source, output, interval, settings, progress_bar)
    if as_json:
        print_json(
            {
                "db_path": str(output),
                "replica": origin.client.type,
                "txid": None if end is None else str(end),
                "integrity_check": settings["integrity_check"],
            }
        )


def run(
    origin: Replica, output: Path, progress: Callable[[RestoreProgress], None] | None, **options: Any
) -> RestoreResult:
    """The restore itself."""
    import ltxcore

    return ltxcore.restore(origin.client, output, progress=progress, **options)


def run_legacy(
    origin: Replica, output: Path, progress: Callable[[RestoreProgress], None] | None, **options: Any
) -> RestoreResult:
    """The same, of files of Litestream 0.3 alone."""
    from ltxcore import legacy
    from ltxcore._restore.restore import of_legacy

    return of_legacy(legacy.restore(origin.client, output, progress=progress, **options))


def is_legacy(origin: Replica, timestamp: datetime | None) -> bool:
    """Whether a restore would use files of Litestream 0.3."""
    from ltxcore._restore.restore import find_legacy

    return find_legacy(origin.client, timestamp) is not None


def report(
    result: RestoreResult, origin: Replica, seconds: float, integrity_check: IntegrityCheck, as_json: bool
) -> None:
    """Say what was restored."""
    if result.clamped:
        note("The time is after the newest transaction: this is the newest state.")
    at = "" if result.created_at is None else f" of {format_time(result.created_at)}"
    if not result.exact:
        note(
            "The states right before that time were merged with later ones. "
            f"This is the newest earlier one: TXID {result.pos.txid}{at}."
        )
    if as_json:
        found = {
            "db_path": str(result.path),
            "replica": origin.client.type,
            "txid": str(result.pos.txid),
            "duration_ms": round(seconds * 1000),
            "integrity_check": integrity_check,
            "page_size": result.page_size,
            "page_count": result.page_count,
            "files": len(result.files),
            "bytes_read": result.bytes_read,
            "bytes_resumed": result.resumed,
            "clamped": result.clamped,
            "updated": result.updated,
        }
        if result.created_at is not None:
            found |= {"timestamp": format_time(result.created_at), "exact": result.exact}
        print_json(found)
        return
    if result.resumed:
        note(f"resumed: {result.resumed / 1e6:.0f} of {result.bytes_read / 1e6:.0f} MB were there already")
    checked = "" if integrity_check == "none" else f", {integrity_check} check ok"
    done = "updated" if result.updated else "restored"
    click.echo(
        f"{done} {result.path}: TXID {result.pos.txid}{at}, {counted(result.page_count, 'page')} of {result.page_size} "
        f"bytes from {counted(len(result.files), 'file')} in {seconds:.1f} s{checked}"
    )


@contextlib.contextmanager
def notes_of_an_interrupt() -> Iterator[None]:
    """Print what Ctrl-C has left for the next restore: click shows nothing of the exception."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        for text in getattr(interrupt, "__notes__", ()):
            note(text[:1].upper() + text[1:])
        raise
