"""`ltxcore replicate`: follow one database and keep a replica of it."""

from __future__ import annotations

import os
import shlex
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltxcore._process.urls import shown
from ltxcore.cli._account import report
from ltxcore.cli._child import Child, Events, Finished, Signalled
from ltxcore.cli._log import LEVELS, start_log
from ltxcore.cli._options import SETTINGS, Command, json_option, option
from ltxcore.cli._origins import restore_first
from ltxcore.cli._output import note
from ltxcore.cli._source import replica
from ltxcore.cli._types import DURATION, PLACE, FullPath
from ltxcore.replica._limit import LEAST

if TYPE_CHECKING:
    from ltxcore import DB, Replica

#: Of replicas.
LAYOUTS = LTX, V03 = ("ltx", "v0.3")

#: What runs beside the main thread.
REPLICATION, COMMAND, CLOSING = "replication", "command", "closing"


@click.command(
    "replicate",
    cls=Command,
    context_settings=SETTINGS,
    short_help="Replicate a database continuously, or once.",
)
@click.argument("db", type=FullPath(path_type=Path, dir_okay=False))
@click.argument("url", type=PLACE)
@click.argument("mirrors", type=PLACE, nargs=-1, metavar="[MIRROR]...")
@option("--once", is_flag=True, help="Replicate the commits up to now, then end.")
@option("--exec", "exec_line", metavar="COMMAND", help="Start COMMAND without a shell, and end when it ends.")
@option(
    "--restore-if-db-not-exists",
    is_flag=True,
    help="If DB does not exist, restore it from the replica first. A -wal without its database is renamed.",
)
@option(
    "--lease",
    is_flag=True,
    help="Write only while this process holds the lease of the replica. Needs a storage with conditional writes.",
)
@option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default=LTX,
    show_default=True,
    help="Layout of the replica and its mirrors. v0.3 is that of Litestream 0.3.",
)
@option(
    "--snapshot-interval",
    type=DURATION,
    metavar="DURATION",
    help="With --layout v0.3: store the whole database this often [once every --retention].",
)
@option(
    "--retention",
    type=DURATION,
    metavar="DURATION",
    help="With --layout v0.3: time that can be restored; older files are deleted [24h].",
)
@option("--force-snapshot", is_flag=True, help="With --once: also store the whole database as one file.")
@option(
    "--sync-interval", type=DURATION, default="1s", show_default=True, help="Minimum time between uploads."
)
@option(
    "--max-requests-per-hour",
    type=click.IntRange(min=LEAST),
    metavar="N",
    help="Send at most N requests an hour, at least 10, by uploading less often [no limit].",
)
@option(
    "--monitor-interval",
    type=DURATION,
    default="1s",
    show_default=True,
    help="Minimum time between L0 files.",
)
@option(
    "--checkpoint-interval",
    type=DURATION,
    default="1m",
    show_default=True,
    help="Run a checkpoint if no program has for this long.",
)
@option(
    "--l0-retention",
    type=DURATION,
    default="5m",
    show_default=True,
    help="Time to keep local L0 files after their upload.",
)
@option(
    "--busy-timeout",
    type=DURATION,
    default="1s",
    show_default=True,
    help="Time to wait for a lock of the application.",
)
@option(
    "--shutdown-timeout",
    type=DURATION,
    default="30s",
    show_default=True,
    help="Time to retry a final upload that fails.",
)
@option(
    "--meta-path", type=FullPath(path_type=Path), help="Directory for local files [.DB-litestream beside DB]."
)
@option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="Least severe messages to log on stderr.",
)
@json_option
def command(
    db: Path,
    url: str,
    mirrors: tuple[str, ...],
    once: bool,
    exec_line: str | None,
    restore_if_db_not_exists: bool,
    lease: bool,
    layout: str,
    snapshot_interval: float | None,
    retention: float | None,
    force_snapshot: bool,
    sync_interval: float,
    max_requests_per_hour: int | None,
    shutdown_timeout: float,
    log_level: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Replicate the database DB to a replica, a URL or a directory, until SIGINT or SIGTERM.

    Each MIRROR gets the same files. If one cannot be reached, the others go on.

    The last commits are uploaded before the command ends. If that fails, the exit code is 1. A second signal ends the
    command at once. With --exec, signals go to COMMAND, and its exit code is the exit code of this command if it is not 0.

    If another process has continued the database in the same replica, replication ends with exit code 3, and COMMAND gets a
    SIGTERM.

    With --lease, the command fails with exit code 1 while another program holds the lease, and may be started again. If another
    program takes the lease, replication ends with exit code 3.
    """
    arguments = exec_arguments(exec_line, once)
    if force_snapshot and not once:
        raise click.UsageError("--force-snapshot needs --once")
    start_log(log_level)
    urls = [url, *mirrors]
    of_legacy = {"snapshot_interval": snapshot_interval, "retention": retention}
    of_ltx: dict[str, Any] = {"lease": lease, "max_requests_per_hour": max_requests_per_hour}
    check_layout(layout, of_ltx if layout == V03 else of_legacy)
    if layout == V03:
        destinations = [legacy_replica(each, sync_interval=sync_interval, **of_legacy) for each in urls]
    else:
        destinations = [
            replica(url, sync_interval=sync_interval, **of_ltx),
            *(mirror(each, sync_interval=sync_interval, lease=lease) for each in mirrors),
        ]
    for each in destinations:
        each.check_writable()
    if restore_if_db_not_exists and not db.exists():
        restore_first(destinations, db)
    began = time.monotonic()
    database = make_database(db, destinations, options)
    code = run_once(database, force_snapshot) if once else serve(database, urls, arguments, shutdown_timeout)
    report(database, destinations, time.monotonic() - began, as_json)
    click.get_current_context().exit(code)


def exec_arguments(line: str | None, once: bool) -> list[str] | None:
    """The words of `--exec`, as a shell would split them."""
    if line is None:
        return None
    if once:
        raise click.UsageError("--once and --exec exclude each other")
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise click.UsageError(f"--exec: {error}") from error
    if not words:
        raise click.UsageError("--exec needs a command")
    return words


def check_layout(layout: str, others: dict[str, Any]) -> None:
    """Refuse options that only the other layout has."""
    for name, value in others.items():
        if value:
            other = LTX if layout == V03 else V03
            raise click.UsageError(f"--{name.replace('_', '-')} needs --layout {other}")


def legacy_replica(url: str, **options: Any) -> Replica:
    """A destination in the layout of Litestream 0.3."""
    from ltxcore import legacy  # few need it

    given = {name: value for name, value in options.items() if value is not None}
    return legacy.Replica(replica(url).client, **given)


def mirror(url: str, *, sync_interval: float, lease: bool) -> Replica:
    """A further destination, with a lease unless it is a directory, which cannot have one."""
    made = replica(url, sync_interval=sync_interval)
    made.lease = lease and not made.client.capabilities.is_local
    return made


def make_database(path: Path, destinations: list[Replica], options: dict[str, Any]) -> DB:
    """The database with its settings, not open yet."""
    import ltxcore
    from ltxcore._process import runtime

    # Nothing else in this process opens the database.
    runtime.be_alone()
    return ltxcore.DB(path, replica=destinations[0], mirrors=destinations[1:], **options)


def run_once(database: DB, force_snapshot: bool) -> int:
    """Bring the replica and its mirrors up to what is committed now."""
    with database:
        database.sync()
        for each in (database.replica, *database.mirrors):
            database.wait(replica=each)
            if force_snapshot:
                database.snapshot(replica=each)
    return 0


def serve(database: DB, urls: list[str], arguments: list[str] | None, shutdown_timeout: float) -> int:
    """Replicate until a signal, or until the command ends; then sync and close. The exit code."""
    with Events() as events:  # before the database is opened: an end that is asked for early is orderly, too
        database.open()
        start = Start(database, urls)
        start.check()
        events.start(database.join, REPLICATION)
        code, asked = 0, False
        try:
            if arguments:
                code, asked = look_after(events, Child(arguments), start)
            else:
                asked = isinstance(events.next(start.check), Signalled)
        finally:
            close(database, shutdown_timeout, events, asked)
    return code


class Start:
    """Says that a database is replicated, or first what is waited for."""

    INTERVAL = 0.5
    #: Between two messages about the pages that were read, in seconds.
    SCAN_INTERVAL = 10.0

    def __init__(self, database: DB, urls: list[str]) -> None:
        self._database = database
        self._path, self._urls = database.path, " and ".join(map(shown, urls))
        self._said: str | None = None

    def check(self) -> float | None:
        """Say what is new; in how many seconds there may be more to say."""
        if self._said != "replicating" and not self._path.exists():
            self._say("waiting", f"waiting for {self._path}: the file does not exist yet")
            return self.INTERVAL
        self._say("replicating", f"replicating {self._path} to {self._urls}")
        scan = self._database.status().scan
        if scan is None:
            return None
        note(f"reading {self._path}: {100 * scan.pages_done // scan.pages} % of {scan.pages} pages")
        return self.SCAN_INTERVAL

    def _say(self, what: str, message: str) -> None:
        if what != self._said:
            self._said = what
            note(message)


def look_after(events: Events, child: Child, start: Start) -> tuple[int, bool]:
    """Wait for the command; its exit code, and whether a signal asked for an end.

    If replication ends by itself the command has to end as well: nothing that it writes would be in the replica.
    """
    asked = False
    events.start(child.wait, COMMAND)
    while True:
        event = events.next(start.check)
        if isinstance(event, Signalled):
            asked = True
            child.forward(event.number)
        elif event.what == COMMAND:
            return int(event.result), asked
        else:
            note("replication has ended: the command gets a SIGTERM")
            child.forward(signal.SIGTERM)


def close(database: DB, timeout: float, events: Events, asked: bool) -> None:
    """The final sync, beside the main thread, which so remains free for the signal that cuts it short."""
    events.start(lambda: database.close(timeout=timeout), CLOSING)
    while True:
        event = events.next()
        if isinstance(event, Finished):
            if event.what != CLOSING:
                continue
            if event.error is not None:
                note("the last commits may be missing from the replica")
                raise event.error
            return
        if asked:
            note("Error: ended at once; the last commits may be missing from the replica")
            # Everything on disk is whole at every moment, and interpreter exit would wait for the upload.
            os._exit(1)
        asked = True
        note("finishing the last upload; send the signal again to end at once")
