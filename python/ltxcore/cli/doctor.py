"""`ltxcore doctor`: what this machine and one database look like to a replicator."""

from __future__ import annotations

import sqlite3
from typing import Any

import click

from ltxcore.cli._options import SETTINGS, Command, json_option
from ltxcore.cli._output import print_facts, print_json


@click.command("doctor", cls=Command, context_settings=SETTINGS)
@click.argument("db", required=False, type=click.Path(exists=True, dir_okay=False))
@json_option
def command(db: str | None, as_json: bool) -> None:
    """Show which SQLite was found and its known defects, and look at the database DB.

    DB is looked at without a lock and by a process of its own, so it may be in use. Exit code 1 means that
    something is wrong with DB or its place; the last lines say what to do.
    """
    from ltxcore.cli import _probe

    facts = sqlite_facts()
    if db is not None:
        facts |= _probe.database_facts(db)
    faults = _probe.warnings(facts) if db is not None else []
    warnings = facts["warnings"] = [*sqlite_warnings(), *faults]
    if as_json:
        print_json(facts)
    else:
        print_facts((name.replace("_", " "), value) for name, value in facts.items() if name != "warnings")
        for warning in warnings:
            click.echo(f"\n! {warning}")
    click.get_current_context().exit(bool(faults))


def sqlite_facts() -> dict[str, Any]:
    """The SQLite of this Python and the one that the engine brings."""
    return {
        "host_sqlite": sqlite3.sqlite_version,
        "host_sqlite_wal_reset_bug": has_wal_reset_bug(sqlite3.sqlite_version_info),
        "engine_sqlite": engine_version(),
    }


def engine_version() -> str:
    """Version of the SQLite that the engine brings."""
    from ltxcore import _ltxcore

    return _ltxcore.SQLITE_VERSION


def has_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite can lose committed pages when two connections checkpoint at nearly the same time.

    3.7.0 to 3.51.2 have the defect; it was also mended in 3.44.6 and in 3.50.7.
    """
    mended = {(3, 44): (3, 44, 6), (3, 50): (3, 50, 7)}.get(version[:2], (3, 51, 3))
    return (3, 7, 0) <= version < mended


def sqlite_warnings() -> list[str]:
    """What to do about the SQLite of this Python."""
    if not has_wal_reset_bug(sqlite3.sqlite_version_info):
        return []
    return [
        f"SQLite {sqlite3.sqlite_version} of this Python can lose committed pages when two connections checkpoint "
        "at the same time. ltxcore checkpoints with an SQLite of its own; for your application, install SQLite "
        "3.51.3 or later (or 3.50.7, 3.44.6)."
    ]
