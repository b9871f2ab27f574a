"""`ltxcore wal`: the WAL segments of a replica of Litestream 0.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ltxcore.cli._options import SETTINGS, Command, config_options, generation_option, json_option
from ltxcore.cli._output import format_time, print_json, print_table
from ltxcore.cli._source import located, require
from ltxcore.cli._types import PLACE

if TYPE_CHECKING:
    from ltxcore.legacy import WALSegmentInfo


@click.command(
    "wal",
    cls=Command,
    context_settings=SETTINGS,
    short_help="List the WAL segments of a replica of Litestream 0.3.",
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
    """List the WAL segments of the replica SOURCE: a URL, a directory, or a database of the configuration file.

    A segment is a part of a WAL file, from an offset in bytes on, and ends with a transaction. --generation and --index restore
    to the end of a WAL file, --timestamp to the time of a segment.
    """
    from ltxcore import legacy

    origin, _ = located(source, config, not no_expand_env, replica_name)
    rows = [row(each) for each in legacy.wal_segments(origin.client, generation)]
    if not rows:
        require(origin)
    if as_json:
        print_json(rows)
    else:
        print_table(["generation", "index", "offset", "size", "created"], (each.values() for each in rows))


def row(each: WALSegmentInfo) -> dict[str, Any]:
    """One segment."""
    return {
        "generation": each.generation,
        "index": f"{each.index:08x}",
        "offset": each.offset,
        "size": each.size,
        "created": format_time(each.created_at),
    }
