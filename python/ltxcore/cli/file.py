"""`ltxcore file`: single LTX files and database files, without a replica."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltxcore._ltxcore import SQLITE_MAGIC
from ltxcore._process.files import whole_file
from ltxcore.cli._options import SETTINGS, Group, json_option, option
from ltxcore.cli._output import print_facts, print_json, print_table
from ltxcore.cli._types import FullPath

if TYPE_CHECKING:
    from ltxcore import ltx

EXISTING = FullPath(exists=True, dir_okay=False, path_type=Path)
OUTPUT = FullPath(path_type=Path, dir_okay=False)


@click.group("file", cls=Group, context_settings=SETTINGS)
def command() -> None:
    """Dump, verify, apply and encode single LTX files."""


@command.command("dump", context_settings=SETTINGS)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=EXISTING)
@option("--no-pages", is_flag=True, help="Do not list the pages.")
@json_option
def dump(files: tuple[Path, ...], no_pages: bool, as_json: bool) -> None:
    """Verify LTX files and print their header, pages and trailer."""
    from ltxcore.cli import _dump

    if as_json:
        print_json([_dump.read(path, not no_pages) for path in files])
        return
    for number, path in enumerate(files):
        if number:
            click.echo()
        facts = _dump.read(path, not no_pages)
        listed = facts.pop("pages", None)
        print_facts((name.replace("_", " "), value) for name, value in facts.items())
        if listed is not None:
            click.echo()
            print_table(["pgno", "offset", "size"], (each.values() for each in listed))


@command.command("verify", context_settings=SETTINGS)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=EXISTING)
@json_option
def verify(files: tuple[Path, ...], as_json: bool) -> None:
    """Verify every byte of LTX files. Exit code 1 if one is not valid."""
    found = [verdict(path) for path in files]
    bad = sum(not each["ok"] for each in found)
    if as_json:
        print_json(found)
    else:
        for each in found:
            click.echo(f"{each['path']}: {'ok' if each['ok'] else each['error']}")
        if len(found) > 1:
            click.echo(f"{len(found) - bad} ok, {bad} not valid")
    click.get_current_context().exit(bool(bad))


def verdict(path: Path) -> dict[str, Any]:
    """Whether one file is valid, and what is wrong with it."""
    from ltxcore import ltx
    from ltxcore.errors import FormatError

    try:
        with ltx.open(path) as decoder:
            decoder.finish()
    except (FormatError, OSError) as error:
        why = str(error).removeprefix(f"{path}: ")
        return {"path": str(path), "ok": False, "error": why, "offset": getattr(error, "offset", None)}
    return {"path": str(path), "ok": True}


@command.command("apply", context_settings=SETTINGS, short_help="Write LTX files into a database file.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=EXISTING)
@option(
    "--db",
    required=True,
    type=OUTPUT,
    help="Database file to change or to create.",
)
@json_option
def apply(files: tuple[Path, ...], db: Path, as_json: bool) -> None:
    """Write the pages of LTX files into a database file. Name the oldest LTX file first.

    No program may have the database open. All files are verified before the first page is written. A file that is
    neither empty nor an SQLite database is refused.
    """
    from ltxcore import ltx

    refuse_wal(db)
    refuse_other(db)
    for path in files:
        if not (found := verdict(path))["ok"]:
            raise click.ClickException(f"{path}: {found['error']}")
    pos = [ltx.apply(path, db) for path in files][-1]
    if as_json:
        print_json({"db_path": str(db), "txid": str(pos.txid), "checksum": str(pos.post_apply_checksum)})
    else:
        click.echo(f"{db} is at {pos}")


@command.command("encode", context_settings=SETTINGS, short_help="Write a database file as an LTX snapshot.")
@click.argument("db", type=EXISTING)
@option("-o", "--output", required=True, type=OUTPUT, help="LTX file to write.")
@option(
    "--checksums",
    is_flag=True,
    help="Record the database's checksum. Litestream up to 0.5.17 cannot restore such a file; 0.5.18 cannot compact it.",
)
@json_option
def encode(db: Path, output: Path, checksums: bool, as_json: bool) -> None:
    """Write the database file DB as one LTX snapshot. No program may have DB open."""
    refuse_wal(db)
    if output.exists() and output.samefile(db):
        raise click.UsageError(f"{output} is the database itself")
    trailer = write_snapshot(db, output, checksums)
    if as_json:
        facts = {"path": str(output), "size": output.stat().st_size}
        print_json(facts | {"post_apply_checksum": str(trailer.post_apply_checksum)})
    else:
        click.echo(f"{output}: {output.stat().st_size} bytes")


def write_snapshot(db: Path, output: Path, checksums: bool) -> ltx.Trailer:
    """Write the LTX file; it appears whole or not at all."""
    from ltxcore import ltx

    with whole_file(output) as file:
        return ltx.encode_database(db, file, checksums=checksums)


@command.command(
    "checksum", context_settings=SETTINGS, short_help="Print the LTX checksum of database files."
)
@click.argument("dbs", metavar="DB...", nargs=-1, required=True, type=EXISTING)
@json_option
def checksum(dbs: tuple[Path, ...], as_json: bool) -> None:
    """Print the LTX checksum of whole database files. No program may have them open."""
    rows = list(checksums(dbs))
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            click.echo(f"{row['checksum']}  {row['path']}")


def checksums(dbs: Iterable[Path]) -> Iterable[dict[str, str]]:
    """Checksum and path of each database."""
    from ltxcore import ltx

    for db in dbs:
        refuse_wal(db)
        yield {"path": str(db), "checksum": str(ltx.checksum_database(db))}


def refuse_other(db: Path) -> None:
    """Refuse a file of another kind, which pages would overwrite."""
    if not db.is_file():
        return
    with db.open("rb") as file:
        start = file.read(len(SQLITE_MAGIC))
    if start not in (b"", SQLITE_MAGIC):
        raise click.ClickException(
            f"{db} is not empty, and not an SQLite database; name another file, or remove it first"
        )


def refuse_wal(db: Path) -> None:
    """Refuse a database whose newest pages are not in the database file."""
    for suffix in ("-wal", "-journal"):
        beside = db.with_name(db.name + suffix)
        if beside.exists() and beside.stat().st_size:
            raise click.ClickException(
                f"{beside} is not empty: the database is in use or was not closed; close it, or open and close "
                "it once with sqlite3"
            )
