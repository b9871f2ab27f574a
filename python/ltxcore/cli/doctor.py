"""`ltxcore doctor`: what this machine and one database look like to a replicator."""

from __future__ import annotations

import sqlite3
from typing import Any

import click

from ltxcore.cli._options import SETTINGS, Command, json_option
from ltxcore.cli._output import counted, print_facts, print_json
from ltxcore.cli._types import FullPath
from ltxcore.vfs._sqlite import KNOWN_BUGS, known_bugs

#: Facts whose names say too little, as people read them.
NAMES = {
    "size": "file size",
    "wal": "write-ahead log",
    "wal_size": "its size",
    "wal_frames_at_most": "its frames, at most",
    "shm": "-shm file",
    "shared_memory": "WAL between processes works",
}
BYTES = {"size", "page_size", "wal_size"}
WAL = {"none": "no file", "empty": "a file without transactions"}


@click.command(
    "doctor",
    cls=Command,
    context_settings=SETTINGS,
    short_help="Check the SQLite of this Python, and a database.",
)
@click.argument("db", required=False, type=FullPath(exists=True, dir_okay=False))
@json_option
def command(db: str | None, as_json: bool) -> None:
    """Check the SQLite of this Python for known defects, and the database DB.

    DB may be in use: another process reads it, without a lock. Exit code 1 means that something is wrong with DB or
    its file system; the last lines say what to do.
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
        print_facts(
            (NAMES.get(name, name.replace("_", " ")), shown(name, value))
            for name, value in facts.items()
            if name != "warnings"
        )
        for warning in warnings:
            click.echo(f"\n! {warning}")
    click.get_current_context().exit(bool(faults))


def shown(name: str, value: object) -> object:
    """The value of a fact as people read it."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if name in BYTES and isinstance(value, int):
        return counted(value, "byte")
    return WAL.get(str(value), value) if name == "wal" else value


def sqlite_facts() -> dict[str, Any]:
    """The SQLite of this Python, how it can be reached, and the one that the engine brings."""
    from ltxcore import _ltxcore, errors, vfs

    facts: dict[str, Any] = {"host_sqlite": sqlite3.sqlite_version}
    try:
        library = vfs.sqlite_library()
    except errors.SQLiteNotFoundError as error:
        facts["host_sqlite_reached_by"] = f"nothing: {'; '.join(error.tried)}"
    else:
        facts["host_sqlite_path"] = str(library.path or "not known")
        facts["host_sqlite_reached_by"] = library.found_by
    facts["host_sqlite_known_bugs"] = list(known_bugs(sqlite3.sqlite_version))
    facts["engine_sqlite"] = _ltxcore.SQLITE_VERSION
    return facts


def sqlite_warnings() -> list[str]:
    """What to do about the SQLite of this Python."""
    return [
        f"SQLite {sqlite3.sqlite_version} of this Python: {KNOWN_BUGS[bug]}. ltxcore checkpoints with an SQLite of its "
        "own; for your application, install a version without the defect."
        for bug in known_bugs(sqlite3.sqlite_version)
    ]
