"""Restores from the layout of Litestream 0.3, beside Litestream 0.3.13."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from benches import datasets, rows_bulk, tools
from benches.site import Site, say
from benches.table import Row

from tests.helpers import litestream03


def legacy(site: Site) -> list[Row]:
    """Restore of a database and very many WAL segments after it."""
    if litestream03.program() is None:
        raise tools.BenchError(f"Litestream {litestream03.VERSION} is not installed; `make tools` does it")
    site.free_big_database()
    sizes, directory = site.sizes, site.directory()
    db, replica = directory / "db", directory / "replica"
    say(f"making {sizes.chain_files} WAL segments on {sizes.chain_mb} MB")
    datasets.filled_database(db, sizes.chain_mb)
    datasets.legacy_replica(db, replica, sizes.chain_files)
    datasets.remove_database(db)
    samples = rows_bulk.restores(site, directory, replica, line=line)
    what = f"restore, {sizes.chain_mb} MB and {sizes.chain_files} segments of v0.3"
    rows = rows_bulk.rows(what, samples, 2.0, site)
    return [dataclasses.replace(row, against=litestream03.VERSION) for row in rows]


def line(name: tools.Name, replica: Path, output: Path) -> list[str]:
    """The command that restores the newest state; that of Litestream is another program here."""
    _, *arguments = tools.restore_line(name, replica, output)
    program = tools.program(name) if name == "ltxcore" else str(litestream03.program())
    return [program, *arguments]
