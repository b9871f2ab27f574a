"""`ltxcore verify`: read everything that a replica holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ltxcore.cli._damage import damage_row, note_damages
from ltxcore.cli._options import SETTINGS, Command, config_options, json_option, option
from ltxcore.cli._output import counted, note, print_json
from ltxcore.cli._progress import progress_bar
from ltxcore.cli._source import has_legacy, located
from ltxcore.cli._types import PARALLELISM, PLACE

if TYPE_CHECKING:
    import ltxcore
    from ltxcore.legacy import VerifyReport


@click.command(
    "verify",
    cls=Command,
    context_settings=SETTINGS,
    short_help="Read every file of a replica, and say what is wrong.",
)
@click.argument("source", type=PLACE)
@option(
    "--parallelism",
    type=PARALLELISM,
    default=8,
    show_default=True,
    help="Number of files to read at once.",
)
@config_options
@json_option
def command(
    source: str,
    parallelism: int,
    config: str | None,
    no_expand_env: bool,
    replica_name: str | None,
    as_json: bool,
) -> None:
    """Read every file of the replica SOURCE: a URL, a directory, or a database of the configuration file.

    LTX files: checksums, page indexes and names are checked, and whether all files are there that a restore of the newest state
    needs. Files of Litestream 0.3: checksums and every frame of every WAL segment are checked, and whether segments are missing
    between others. Each damaged or missing file is named, with the states that need it. If SOURCE has both kinds, both are
    read. Nothing is written.

    Some losses cannot be found: of the newest files, and, with Litestream 0.3, of the last segments of a WAL file that has a
    successor.

    The exit code is 1 if something is wrong, or could not be read.
    """
    from ltxcore import legacy, verify
    from ltxcore.errors import NoSnapshotError

    origin, _ = located(source, config, not no_expand_env, replica_name)
    old: VerifyReport | None = None
    new: ltxcore.VerifyReport | None = None
    with progress_bar("verifying") as progress:
        if has_legacy(origin):
            old = legacy.verify(origin.client, parallelism=parallelism, progress=progress)
        try:
            new = verify(origin.client, parallelism=parallelism, progress=progress)
        except NoSnapshotError:
            if old is None:
                raise
    if old is not None:
        note_damages(old.damages, "lost")
    if new is not None:
        note_problems(new)
    is_ok = (old is None or old.is_ok) and (new is None or new.outcome == "ok")
    if as_json:
        print_json(
            {
                "ok": is_ok,
                "ltx": None if new is None else ltx_row(new),
                "v03": None if old is None else legacy_row(old),
            }
        )
    else:
        print_reports(old, new)
    if not is_ok:
        raise click.exceptions.Exit(1)


def note_problems(report: ltxcore.VerifyReport) -> None:
    """Say what is wrong with LTX files."""
    for each in report.damaged:
        note(f"level {each.file.level}, {each.file.name}: {each.error}")
    for each in report.unread:
        note(f"level {each.file.level}, {each.file.name}: not read: {each.error}")
    for gap in report.gaps:
        note(f"level {gap.level}: transactions are missing between {gap.after} and {gap.before}")
    if report.obstacle is not None:
        note(f"a restore ends at TXID {report.txid}: {report.obstacle}")


def print_reports(old: VerifyReport | None, new: ltxcore.VerifyReport | None) -> None:
    """One line for each layout."""
    if old is not None:
        outcome = "ok" if old.is_ok else f"{counted(len(old.damages), 'file')} damaged or missing"
        click.echo(
            f"Litestream 0.3: {outcome}; {counted(old.generations, 'generation')}, {counted(old.snapshots, 'snapshot')}, "
            f"{counted(old.segments, 'segment')}, {counted(old.states, 'state')}, {old.bytes_read / 1e6:.1f} MB"
        )
    if new is not None:
        click.echo(
            f"LTX: {new.outcome}; restores up to TXID {new.txid}, {counted(new.files, 'file')}, {new.bytes_read / 1e6:.1f} MB"
        )


def legacy_row(report: VerifyReport) -> dict[str, Any]:
    """What was found in files of Litestream 0.3."""
    return {
        "generations": report.generations,
        "snapshots": report.snapshots,
        "segments": report.segments,
        "bytes_read": report.bytes_read,
        "states": report.states,
        "damages": [damage_row(each) for each in report.damages],
    }


def ltx_row(report: ltxcore.VerifyReport) -> dict[str, Any]:
    """What was found in LTX files."""
    return {
        "outcome": report.outcome,
        "txid": str(report.txid),
        "obstacle": None if report.obstacle is None else str(report.obstacle),
        "files": report.files,
        "bytes_read": report.bytes_read,
        "damaged": [
            {"level": each.file.level, "name": each.file.name, "error": str(each.error)}
            for each in report.damaged
        ],
        "unread": [
            {"level": each.file.level, "name": each.file.name, "error": str(each.error)}
            for each in report.unread
        ],
        "gaps": [{"level": gap.level, "after": str(gap.after), "before": gap.before} for gap in report.gaps],
    }
