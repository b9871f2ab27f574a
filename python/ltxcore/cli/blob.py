"""`ltxcore blob`: what is in a blob store, from a shell."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ltxcore.cli._options import SETTINGS, Group, json_option, option
from ltxcore.cli._output import counted, note, print_facts, print_json, print_table
from ltxcore.cli._types import CAPACITY, SIZE, TAG, FullPath

if TYPE_CHECKING:
    from ltxcore.blob_store import BlobStore

STORE = FullPath(dir_okay=False, path_type=Path)
FILE_OR_DASH = FullPath(dir_okay=False, path_type=Path, allow_dash=True)
SOURCE = FullPath(exists=True, dir_okay=False, path_type=Path, allow_dash=True)
EXISTING = FullPath(exists=True, dir_okay=False, path_type=Path)
Bound = int | Literal["keep"] | None

capacity_option = option(
    "--capacity",
    type=CAPACITY,
    default="keep",
    show_default=True,
    help="Largest payload of the store: a size, none for no limit, or keep.",
)


@click.group("blob", cls=Group, context_settings=SETTINGS)
def command() -> None:
    """List, read, write and check the blobs of a store."""


@command.command("ls", context_settings=SETTINGS, short_help="List blobs.")
@click.argument("store", type=STORE)
@click.argument("prefix", default="")
@option("-l", "--long", "is_long", is_flag=True, help="Show size, last use and number of reads.")
@option("--directory", is_flag=True, help="Treat names as paths; list only what is directly in PREFIX.")
@json_option
def ls(store: Path, prefix: str, is_long: bool, directory: bool, as_json: bool) -> None:
    """List the blobs of STORE whose names start with PREFIX, sorted by name."""
    from ltxcore.cli import _blob

    with _blob.reading(store) as blobs:
        names = blobs.iterdir(prefix) if directory else blobs.list(prefix)
        if is_long:
            rows = list(_blob.long_rows(blobs, names))
        elif as_json:
            rows = [{"name": name} for name in names]
        else:
            for name in names:
                click.echo(name)
            return
    if as_json:
        print_json(rows)
    else:
        columns = ("size", "used_at", "hits", "name")
        cells = (["-" if row[column] is None else row[column] for column in columns] for row in rows)
        print_table(["size", "used", "hits", "name"], cells)


@command.command("get", context_settings=SETTINGS, short_help="Write a blob to stdout or to a file.")
@click.argument("store", type=STORE)
@click.argument("name")
@option(
    "-o", "--output", type=FILE_OR_DASH, help="File to write [stdout]. It appears complete or not at all."
)
@option("--offset", type=SIZE, default="0", show_default=True, help="Start at this byte.")
@option("--length", type=SIZE, help="Number of bytes to read [up to the end].")
@json_option
def get(store: Path, name: str, output: Path | None, offset: int, length: int | None, as_json: bool) -> None:
    """Write the bytes of the blob NAME, or a part of them, to stdout or to a file.

    The store is opened read-only, so the read does not count as use of the blob.
    """
    from ltxcore._process.files import whole_file
    from ltxcore.cli import _blob

    to_stdout = output is None or _blob.is_dash(output)
    if as_json and to_stdout:
        raise click.UsageError("--json needs --output (-o) FILE, since stdout gets the blob")
    if output is not None and not to_stdout:
        _blob.refuse_store(store, output, "output")
    with _blob.reading(store) as blobs, blobs.open(name) as blob:
        blob.seek(offset)
        if output is None or to_stdout:
            target = _blob.standard("stdout")
            _blob.copy(blob, target, length)
            target.flush()
            return
        with whole_file(output) as file:
            size = _blob.copy(blob, file, length)
    if as_json:
        print_json({"name": name, "offset": offset, "size": size, "path": str(output)})
    else:
        click.echo(f"{output}: {counted(size, 'byte')}")


@command.command("put", context_settings=SETTINGS, short_help="Store a file, or stdin, as a blob.")
@click.argument("store", type=STORE)
@click.argument("name")
@click.argument("file", required=False, type=SOURCE)
@capacity_option
@option("--tag", "tags", multiple=True, type=TAG, help="Text to store with the blob; may be repeated.")
@option("--exclusive", is_flag=True, help="Fail if a blob of this name exists.")
@json_option
def put(
    store: Path,
    name: str,
    file: Path | None,
    capacity: Bound,
    tags: tuple[tuple[str, str], ...],
    exclusive: bool,
    as_json: bool,
) -> None:
    """Store FILE, or the bytes from stdin, as the blob NAME. Creates STORE if it does not exist.

    An existing blob of this name is replaced. The new blob appears complete, and is committed when the command ends.
    """
    from ltxcore.cli import _blob

    if file is not None and not _blob.is_dash(file):
        _blob.refuse_store(store, file, "source")
    with (
        _blob.changing(store, capacity, create=True) as blobs,
        _blob.source(file) as (origin, size),
        blobs.open(name, "xb" if exclusive else "wb", size=size, tags=dict(tags)) as blob,
    ):
        count = _blob.copy(origin, blob, bound=None if capacity == "keep" else capacity)
    evicted = blobs.stats().evictions
    if as_json:
        print_json({"name": name, "size": count, "tags": dict(tags), "evicted": evicted})
    else:
        click.echo(
            f"{name}: {counted(count, 'byte')}" + (f", {counted(evicted, 'blob')} evicted" if evicted else "")
        )


@command.command("rm", context_settings=SETTINGS)
@click.argument("store", type=STORE)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@option("--prefix", is_flag=True, help="Remove all blobs whose names start with NAME.")
@option("--missing-ok", is_flag=True, help="Ignore names without a blob.")
@json_option
def rm(store: Path, names: tuple[str, ...], prefix: bool, missing_ok: bool, as_json: bool) -> None:
    """Remove blobs. Exit code 1 if a blob does not exist; the others are removed."""
    from ltxcore.cli import _blob

    missing: list[str] = []
    removed = 0
    with _blob.changing(store) as blobs:
        for name in names:
            count = blobs.delete_prefix(name) if prefix else int(delete(blobs, name))
            removed += count
            if not count:
                missing.append(name)
    if as_json:
        print_json({"removed": removed, "missing": missing})
    else:
        click.echo(f"{removed} removed")
    if not missing_ok:
        for name in missing:
            note(f"no blob {'starts with ' if prefix else ''}{name!r}")
    click.get_current_context().exit(bool(missing) and not missing_ok)


def delete(blobs: BlobStore, name: str) -> bool:
    """Remove one blob; whether it was there."""
    from ltxcore.errors import BlobNotFoundError

    try:
        blobs.delete(name)
    except BlobNotFoundError:
        return False
    return True


@command.command("stat", context_settings=SETTINGS, short_help="Show a blob, or a store and its settings.")
@click.argument("store", type=STORE)
@click.argument("name", required=False)
@json_option
def stat(store: Path, name: str | None, as_json: bool) -> None:
    """Show the size, times and tags of the blob NAME. Without NAME, show the size of STORE and its settings.

    Page size, vacuum, journal mode and policy are stored in the file. Each process has its own values of the others.
    """
    from ltxcore.cli import _blob

    with _blob.reading(store) as blobs:
        facts = _blob.store_facts(store, blobs) if name is None else _blob.blob_facts(blobs.stat(name))
    if as_json:
        print_json(facts)
        return
    if name is None:
        facts = {"path": facts["path"]} | facts["usage"] | facts["options"]
    print_facts((key.replace("_", " "), _blob.shown(value)) for key, value in facts.items())


@command.command("check", context_settings=SETTINGS, short_help="Check a store, and repair it.")
@click.argument("store", type=STORE)
@option("--repair", is_flag=True, help="Repair what can be repaired. Removes blobs with missing bytes.")
@json_option
def check(store: Path, repair: bool, as_json: bool) -> None:
    """Compare all tables of STORE with one another, and run SQLite's own check.

    Exit code 1 if the store is damaged and was not repaired.
    """
    from ltxcore.cli import _blob

    with _blob.changing(store) if repair else _blob.reading(store) as blobs:
        report = blobs.check(repair=repair)
    is_bad = not report.is_clean and not report.repaired
    if as_json:
        print_json(asdict(report) | {"ok": not is_bad})
    else:
        for problem in report.problems:
            click.echo(f"{store}: {problem}")
        verdict = "ok" if report.is_clean else "repaired" if report.repaired else "not ok"
        click.echo(f"{store}: {verdict}")
    if is_bad:
        note(
            "Hint: put the blobs that can still be read into a new store, or restore a backup"
            if repair
            else f"Hint: repair what can be repaired with: ltxcore blob check --repair {store}"
        )
    click.get_current_context().exit(is_bad)


@command.command("vacuum", context_settings=SETTINGS)
@click.argument("store", type=STORE)
@option("--pages", type=click.IntRange(min=0), metavar="N", help="Largest number of pages to return [all].")
@json_option
def vacuum(store: Path, pages: int | None, as_json: bool) -> None:
    """Return free pages of the file STORE to the file system."""
    from ltxcore.cli import _blob

    with _blob.changing(store) as blobs:
        count = blobs.vacuum(pages)
        page_size = blobs.effective_options.page_size
    if as_json:
        print_json({"pages": count, "bytes": count * page_size})
    else:
        click.echo(f"{counted(count, 'page')} of {page_size} bytes returned to the file system")


@command.command("import", context_settings=SETTINGS, short_help="Copy the blobs of an original database.")
@click.argument("store", type=STORE)
@click.argument("original", type=EXISTING)
@capacity_option
@json_option
def import_(store: Path, original: Path, capacity: Bound, as_json: bool) -> None:
    """Copy all blobs of ORIGINAL, a database with the tables blob, blob_meta and setting, into STORE.

    The blobs keep their order of use. Creates STORE if it does not exist, and does not change ORIGINAL. Blobs that a
    store cannot hold are skipped; stderr says why.
    """
    from ltxcore.blob_store import _importer
    from ltxcore.cli import _blob

    _blob.refuse_store(store, original, "original")
    with _importer.rows_of(original):
        pass  # what cannot be read is refused before anything is changed
    with _blob.opened(store, capacity=capacity, create=True) as blobs:
        done = blobs.import_original(original)
    evicted = blobs.stats().evictions
    for reason in done.skipped:
        note(f"skipped: {reason}")
    if as_json:
        print_json(asdict(done) | {"evicted": evicted})
    else:
        click.echo(
            f"{counted(done.blobs, 'blob')} of {counted(done.bytes, 'byte')} imported, {len(done.skipped)} skipped, "
            f"{evicted} evicted"
        )
