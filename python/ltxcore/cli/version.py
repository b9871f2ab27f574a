"""`ltxcore version`: what is installed."""

from __future__ import annotations

import platform
import sys

import click

import ltxcore
from ltxcore.cli._options import SETTINGS, Command, json_option, option
from ltxcore.cli._output import print_facts, print_json


@click.command("version", cls=Command, context_settings=SETTINGS)
@option("--verbose", is_flag=True, help="Print the Python version and the platform, too.")
@json_option
def command(verbose: bool, as_json: bool) -> None:
    """Print the version."""
    facts = {"version": ltxcore.__version__}
    if verbose:
        facts |= {
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "executable": sys.executable,
            "platform": platform.platform(),
        }
    if as_json:
        print_json(facts)
    elif verbose:
        print_facts(facts.items())
    else:
        click.echo(f"ltxcore {facts['version']}")
