"""`ltxcore ltx`: the LTX files of a replica."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ltxcore._process.urls import shown
from ltxcore.cli._options import SETTINGS, Command, config_options, json_option, option
from ltxcore.cli._output import format_time, note, print_json, print_table
from ltxcore.cli._source import has_legacy, located, require
from ltxcore.cli._types import LEVEL, PLACE

if TYPE_CHECKING:
    from ltxcore.ltx import FileInfo


@click.command("ltx", cls=Command, context_settings=SETTINGS, short_help="List the LTX files of a replica.")
@click.argument("source", type=PLACE)
@option(
    "--level",
    type=LEVEL,
    default="0",
    show_default=True,
    help="Level to list: 0 to 9 (9: snapshots), or all.",
)
@config_options
@json_option
def command(
    source: str,
    level: int | None,
    config: str | None,
    no_expand_env: bool,
    replica_name: str | None,
    as_json: bool,
) -> None:
    """List the LTX files of the replica SOURCE: a URL, a directory, or a database of the configuration file."""
    origin, _ = located(source, config, not no_expand_env, replica_name)
    rows = [row(file) for file in origin.files(level)]
    if not rows:
        require(origin)
        if has_legacy(origin):
            note(f"no LTX files, but files of Litestream 0.3: ltxcore generations {shown(source)}")
    if as_json:
        print_json(rows)
    else:
        print_table(["level", "min_txid", "max_txid", "size", "created"], (each.values() for each in rows))


def row(file: FileInfo) -> dict[str, Any]:
    """One file, with the keys that Litestream prints."""
    return {
        "level": file.level,
        "min_txid": str(file.min_txid),
        "max_txid": str(file.max_txid),
        "size": file.size,
        "timestamp": format_time(file.created_at),
    }
