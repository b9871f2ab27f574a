"""`ltxcore generations`: the histories that a replica of Litestream 0.3 holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ltxcore.cli._options import SETTINGS, Command, config_options, json_option
from ltxcore.cli._output import format_time, print_json, print_table
from ltxcore.cli._source import located, require
from ltxcore.cli._types import PLACE

if TYPE_CHECKING:
    from pathlib import Path

    from ltxcore.legacy import GenerationInfo


@click.command(
    "generations",
    cls=Command,
    context_settings=SETTINGS,
    short_help="List the generations of a replica of Litestream 0.3.",
)
@click.argument("source", type=PLACE)
@config_options
@json_option
def command(
    source: str, config: str | None, no_expand_env: bool, replica_name: str | None, as_json: bool
) -> None:
    """List the generations of the replica SOURCE: a URL, a directory, or a database of the configuration file.

    A generation is an unbroken history of the database, in the layout of Litestream 0.3. It can be restored from its first
    snapshot to its end. If SOURCE is a database, the lag is the time from the end of the generation to the last change of the
    database.
    """
    from ltxcore import legacy

    origin, db = located(source, config, not no_expand_env, replica_name)
    rows = [row(each, db) for each in legacy.generations(origin.client)]
    if not rows:
        require(origin)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["generation", "lag", "start", "end", "snapshots", "segments", "size"],
        ([value if value is not None else "-" for value in each.values()] for each in rows),
    )


def row(each: GenerationInfo, db: Path | None) -> dict[str, Any]:
    """One generation."""
    return {
        "generation": each.generation,
        "lag": None if db is None else lag(each.updated_at, db),
        "start": format_time(each.created_at),
        "end": format_time(each.updated_at),
        "snapshots": len(each.snapshots),
        "segments": len(each.segments),
        "size": each.size,
    }


def lag(end: datetime, db: Path) -> str | None:
    """For how long the database was changed after the end of a generation."""
    changed = [path.stat().st_mtime for path in (db, db.with_name(f"{db.name}-wal")) if path.exists()]
    if not changed:
        return None
    seconds = (datetime.fromtimestamp(max(changed), UTC) - end).total_seconds()
    return f"{max(seconds, 0.0):.1f}s"
