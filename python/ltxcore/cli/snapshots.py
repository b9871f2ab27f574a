"""`ltxcore snapshots`: the snapshots of a replica of Litestream 0.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ltxcore.cli._options import SETTINGS, Command, config_options, generation_option, json_option
from ltxcore.cli._output import format_time, print_json, print_table
from ltxcore.cli._source import located, require
from ltxcore.cli._types import PLACE

if TYPE_CHECKING:
    from ltxcore.legacy import SnapshotInfo


@click.command(
    "snapshots",
    cls=Command,
    context_settings=SETTINGS,
    short_help="List the snapshots of a replica of Litestream 0.3.",
)
@click.argument("source", type=PLACE)
@generation_option
@config_options
@json_option
def command(
    source: str,
    generation: str | None,
    config: str | None,
    no_expand_env: bool,
    replica_name: str | None,
    as_json: bool,
) -> None:
    """List the snapshots of the replica SOURCE: a URL, a directory, or a database of the configuration file.

    They are those in the layout of Litestream 0.3. "ltxcore ltx --level 9" lists the others.
    """
    from ltxcore import legacy

    origin, _ = located(source, config, not no_expand_env, replica_name)
    rows = [row(each) for each in legacy.snapshots(origin.client, generation)]
    if not rows:
        require(origin)
    if as_json:
        print_json(rows)
    else:
        print_table(["generation", "index", "size", "created"], (each.values() for each in rows))


def row(each: SnapshotInfo) -> dict[str, Any]:
    """One snapshot."""
    return {
        "generation": each.generation,
        "index": f"{each.index:08x}",
        "size": each.size,
        "created": format_time(each.created_at),
    }
