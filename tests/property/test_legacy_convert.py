"""Random v0.3 histories as LTX files: restores from both give the same database at every time."""

import shutil
import sqlite3
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ltxcore
from ltxcore import legacy
from ltxcore.errors import NoSnapshotError

from tests.helpers.v03_history import History

MILLISECOND = timedelta(milliseconds=1)

#: What happens between two objects, and how many seconds later the next one is stored.
STEPS = st.tuples(
    st.sampled_from(["insert", "insert", "update", "delete", "shrink", "snapshot", "next"]), st.integers(0, 2)
)
#: The page size of a generation, whether it begins with the database of the one before, and by how much it overlaps with that.
GENERATIONS = st.lists(
    st.tuples(
        st.sampled_from([512, 1024, 4096]),
        st.booleans(),
        st.integers(0, 4),
        st.lists(STEPS, min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=4,
)


def change(history: History, step: str) -> None:
    execute = history.connection.execute
    if step == "insert":
        execute("INSERT INTO t (b) VALUES (randomblob(1500))")
    elif step == "update":
        execute("UPDATE t SET b = randomblob(700) WHERE a % 2")
    elif step == "delete":
        execute("DELETE FROM t WHERE a % 3")
        execute("CREATE TABLE IF NOT EXISTS u (a)")
        execute("INSERT INTO u VALUES (1)")
    elif step == "shrink":
        execute("INSERT INTO t (b) VALUES (1)")
        execute("VACUUM")


def prepare(db: Path, page_size: int, goes_on: bool) -> None:
    """What a generation begins with."""
    if not goes_on:
        for suffix in ("", "-wal", "-shm"):
            db.with_name(f"{db.name}{suffix}").unlink(missing_ok=True)
    connection = sqlite3.connect(db, isolation_level=None)
    for statement in (
        "PRAGMA journal_mode = delete",
        f"PRAGMA page_size = {page_size}",
        "VACUUM",
        "PRAGMA journal_mode = wal",
        "CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b)",
    ):
        connection.execute(statement)
    connection.close()


def make(folder: Path, generations: list[tuple[int, bool, int, list[tuple[str, int]]]]) -> Path:
    replica, stored = folder / "old", 0
    for number, (page_size, goes_on, overlap, steps) in enumerate(generations):
        prepare(folder / "db", page_size, goes_on)
        # Their names say nothing about their order.
        name = f"{(number * 7 + 3) % 11:016x}"
        with History(folder / "db", replica, generation=name, page_size=page_size) as history:
            history.stored = max(stored - overlap, 0)
            history.snapshot()
            for step, pause in steps:
                # An object is stored one second after the one before by itself.
                history.stored += pause - 1
                if step in ("snapshot", "next"):
                    if history.offset:
                        history.next_wal()
                    if step == "snapshot":
                        history.snapshot()
                    continue
                change(history, step)
                if history.wal.stat().st_size > history.offset:
                    history.segment()
            stored = history.stored
    return replica


@pytest.mark.timeout(300)
@settings(max_examples=25, deadline=None)
@given(generations=GENERATIONS, skips=st.booleans())
def test_restores_to_every_time_are_the_same(
    generations: list[tuple[int, bool, int, list[tuple[str, int]]]], skips: bool
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ltxcore-convert-"))
    try:
        old, new = make(folder, generations), folder / "new"
        done = legacy.convert(old, new, skip_damaged=skips)
        assert done.left_out == ()
        assert legacy.convert(old, new).files == 0
        assert legacy.verify(old).is_ok
        files = [*legacy.snapshots(old), *legacy.wal_segments(old)]
        one, other = folder / "one", folder / "other"
        for time in sorted(
            {file.created_at + shift for file in files for shift in (-MILLISECOND, timedelta())}
        ):
            try:
                legacy.restore(old, one, timestamp=time, overwrite=True)
            except NoSnapshotError:
                with pytest.raises(NoSnapshotError):
                    ltxcore.restore(new, other, timestamp=time, overwrite=True)
                continue
            ltxcore.restore(new, other, timestamp=time, overwrite=True)
            assert one.read_bytes() == other.read_bytes(), time
    finally:
        shutil.rmtree(folder)
