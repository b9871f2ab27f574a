"""`ltxcore listing`: a list of the LTX files for readers that cannot list, such as those of a web server."""

from __future__ import annotations

from pathlib import Path

import click

from ltxcore.cli._options import SETTINGS, Command, config_options, json_option, option
from ltxcore.cli._output import counted, note, print_json
from ltxcore.cli._source import located, require
from ltxcore.cli._types import PLACE, FullPath


@click.command(
    "listing",
    cls=Command,
    context_settings=SETTINGS,
    short_help="Write the listing of a replica for web servers.",
)
@click.argument("source", type=PLACE)
@option(
    "-o",
    "--output",
    type=FullPath(path_type=Path, dir_okay=False),
    help="Local file to write [ltx.json in the replica].",
)
@config_options
@json_option
def command(
    source: str,
    output: Path | None,
    config: str | None,
    no_expand_env: bool,
    replica_name: str | None,
    as_json: bool,
) -> None:
    """Write the listing of the replica SOURCE: a URL, a directory, or a database of the configuration file.

    A web server needs the listing to serve the replica to "ltxcore restore https://HOST/PATH". Write it again when files were
    added. If you copy the replica to the server, list the copy: files are added to the replica meanwhile.
    """
    origin, _ = located(source, config, not no_expand_env, replica_name)
    require(origin)
    count = origin.write_listing(output)
    if as_json:
        print_json({"files": count, "output": None if output is None else str(output)})
    else:
        note(f"listed {counted(count, 'file')}{'' if output is None else f' in {output}'}")
