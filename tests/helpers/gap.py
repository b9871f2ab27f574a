"""The restart gap: the replicator is away while the application writes, checkpoints and writes again.

The WAL restarts while nobody looks, and the frame that the replicator read last may still lie at its old place, stale. Who
takes it for proof that nothing happened loses every row of the gap without a word. `Variant` says how the gap looks.
"""

import dataclasses
import random
import sqlite3
import time
from typing import Any

from tests.helpers import ltxfile
from tests.helpers.app import App, row_count
from tests.helpers.process import ChildError
from tests.helpers.replicators import RestoreRefused
from tests.helpers.site import Site, assert_same

MODES = ("PASSIVE", "FULL", "RESTART", "TRUNCATE")


@dataclasses.dataclass(frozen=True)
class Variant:
    stop: str = "term"  # term, kill, or close (DB.close() in a process that lives on)
    rows_before: int = 500  # all of them in the replica before the stop
    late_rows: int = 0  # committed right before the stop, not waited for
    gap_rows: int = 100  # committed while nobody replicates, before the checkpoints
    checkpoints: tuple[str, ...] = ("FULL",)
    after_rows: int = 10  # committed after the checkpoints, so that the WAL has restarted
    autocheckpoint: int = 0
    row_size: int = 100
    reopen: bool = False  # the application closes its last connection in the gap: SQLite deletes the WAL
    vacuum: bool = False
    pause: float = 0.0  # seconds between the rows and the stop, for a replicator that checkpoints by itself


def random_variant(rng: random.Random) -> Variant:
    """Any of the above; small numbers are as likely as large ones, because off-by-one lives there."""

    def near(top: int) -> int:
        return rng.randint(0, rng.choice((1, 3, 20, top)))

    return Variant(
        stop=rng.choice(("term", "kill", "close")),
        rows_before=rng.choice((1, 30, 300)) + near(50),
        late_rows=near(30) if rng.random() < 0.3 else 0,
        gap_rows=near(200),
        checkpoints=tuple(rng.choice(MODES) for _ in range(rng.choice((0, 1, 1, 1, 2, 3)))),
        after_rows=rng.randint(1, 50),
        autocheckpoint=rng.choice((0, 0, 1000, 50)),
        row_size=rng.choice((100, 100, 1000, 6000)),
        reopen=rng.random() < 0.15,
        vacuum=rng.random() < 0.1,
    )


@dataclasses.dataclass(frozen=True)
class Outcome:
    variant: Variant
    problem: str  # "" when all is well
    full_image: bool  # the first file after the restart holds every page
    seconds: float


def stop(replicator: Any, how: str) -> None:
    {"term": replicator.stop, "kill": replicator.kill, "close": replicator.close}[how]()


def before(app: App, replicator: Any, variant: Variant) -> int:
    app.autocheckpoint = variant.autocheckpoint
    app.execute(f"PRAGMA wal_autocheckpoint = {variant.autocheckpoint}")
    app.insert(variant.rows_before, size=variant.row_size)
    replicator.barrier()
    time.sleep(variant.pause)
    app.insert(5, size=variant.row_size)
    txid = int(replicator.barrier())
    app.insert(variant.late_rows, size=variant.row_size)
    return txid


def gap(app: App, variant: Variant) -> None:
    app.insert(variant.gap_rows, size=variant.row_size)
    if variant.vacuum:
        app.execute("DELETE FROM entry WHERE id % 3 = 0")
        app.execute("VACUUM")
    if variant.reopen:
        app.reopen()
    for mode in variant.checkpoints:
        app.checkpoint(mode)
    app.insert(variant.after_rows, size=variant.row_size)


def run(site: Site, app: App, replicator: Any, variant: Variant) -> Outcome:
    """One gap on a replicator that is running, and that runs again afterwards."""
    began = time.monotonic()
    known = before(app, replicator, variant)
    stop(replicator, variant.stop)
    gap(app, variant)
    replicator.start()
    problem = found_problem(site, app, replicator)
    full = any(file.holds_every_page for file in ltxfile.after(site.replica, known))
    return Outcome(variant, problem, full, time.monotonic() - began)


def found_problem(site: Site, app: App, replicator: Any) -> str:
    """What is wrong with the newest restore, in one line."""
    try:
        txid = replicator.barrier()
        output = site.restored(txid=txid)
    except (ChildError, RestoreRefused) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    try:
        rows = row_count(output)
        if rows != app.rows():
            return f"{app.rows() - rows} of {app.rows()} rows lost"
        assert_same(output, site.reference())
    except AssertionError as error:
        return str(error).splitlines()[0]
    except sqlite3.DatabaseError as error:
        return f"restored database: {error}"
    finally:
        output.unlink()
    return ""
