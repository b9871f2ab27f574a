"""`ltxcore convert`: a history of Litestream 0.3 as LTX files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from ltxcore._process.urls import shown
from ltxcore.cli._damage import damage_row, note_damages
from ltxcore.cli._options import SETTINGS, Command, config_options, json_option, option
from ltxcore.cli._output import counted, format_time, note, print_json
from ltxcore.cli._progress import progress_bar
from ltxcore.cli._source import located, replica
from ltxcore.cli._types import PARALLELISM, PLACE

if TYPE_CHECKING:
    from ltxcore.legacy import ConvertResult


@click.command(
    "convert",
    cls=Command,
    context_settings=SETTINGS,
    short_help="Write a history of Litestream 0.3 as LTX files.",
)
@click.argument("old", type=PLACE)
@click.argument("new", type=PLACE)
@option(
    "--skip-damaged",
    is_flag=True,
    help="Leave out the states that need a damaged or missing file, and say which, instead of failing.",
)
@option(
    "--parallelism",
    type=PARALLELISM,
    default=8,
    show_default=True,
    help="Number of files to read, or to store, at once.",
)
@config_options
@json_option
def command(
    old: str,
    new: str,
    skip_damaged: bool,
    parallelism: int,
    config: str | None,
    no_expand_env: bool,
    replica_name: str | None,
    as_json: bool,
) -> None:
    """Write the history of the replica OLD, which is of Litestream 0.3, as LTX files to NEW.

    OLD is a URL, a directory, or a database of the configuration file. NEW is a URL or a directory. It has no LTX files, or
    those of an earlier conversion. It may be the same place as OLD. The files of OLD are not changed.

    Every state is kept: a restore of NEW to any time gives the same database. A conversion that was interrupted continues where
    it stopped: run the same command again. It also adds what Litestream 0.3 has stored since. When the conversion is complete,
    Litestream 0.5 or ltxcore can replicate to NEW. Do not replicate to NEW before.

    The command needs space for temporary files in $TMPDIR: up to three times the size of the database.
    """
    from ltxcore import legacy

    origin, _ = located(old, config, not no_expand_env, replica_name)
    target = replica(new)
    began = time.monotonic()
    with progress_bar("converting") as progress:
        result = legacy.convert(
            origin.client,
            target.client,
            skip_damaged=skip_damaged,
            parallelism=parallelism,
            progress=progress,
        )
    report(result, shown(new), time.monotonic() - began, as_json)


def report(result: ConvertResult, new: str, seconds: float, as_json: bool) -> None:
    """Say what was converted."""
    note_damages(result.left_out, "left out")
    if as_json:
        print_json(
            {
                "new": new,
                "txid": str(result.txid),
                "timestamp": format_time(result.created_at),
                "states": result.states,
                "resumed": result.resumed,
                "files": result.files,
                "bytes_written": result.bytes_written,
                "left_out": [damage_row(each) for each in result.left_out],
                "duration_ms": round(seconds * 1000),
            }
        )
        return
    kept = result.states - sum(each.states for each in result.left_out)
    if result.resumed:
        note(f"resumed: {result.resumed} of {counted(kept, 'state')} were there already")
    click.echo(
        f"converted to {new}: {counted(kept, 'state')} up to TXID {result.txid} of {format_time(result.created_at)}, "
        f"{counted(result.files, 'file')} written, {result.bytes_written / 1e6:.1f} MB in {seconds:.1f} s"
    )
