"""Numbers that no clock, no file and no system call takes: refused as arguments, or as good as the largest one."""

import math
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import ltxcore
from ltxcore import DB, Replica
from ltxcore.errors import ConfigError

from tests.unit.databases import insert
from tests.unit.memory import MemoryClient

DURATIONS = ["monitor_interval", "checkpoint_interval", "busy_timeout", "l0_retention"]
PAGES = ["min_checkpoint_page_n", "truncate_page_n"]
LONGEST = 9_223_372_036.0


@pytest.mark.parametrize("value", [-1, math.inf, math.nan, LONGEST + 1, 2**64, 1e300, timedelta.max])
def test_a_duration_that_cannot_be_waited_for_is_refused(tmp_path: Path, value: Any) -> None:
    """They were panics, overflows in a thread of the background, and errors that did not say which argument it was."""
    makers: dict[str, Callable[[], object]] = {
        name: lambda name=name: DB(tmp_path / "app.db", **{name: value})  # type: ignore[misc]
        for name in DURATIONS
    }
    makers["sync_interval"] = lambda: Replica(tmp_path, sync_interval=value)
    makers["interval"] = lambda: ltxcore.follow(tmp_path, tmp_path / "copy.db", interval=value)
    for name, make in makers.items():
        with pytest.raises(ConfigError, match=name) as caught:
            make()
        assert caught.value.key == name


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("value", [-1, 2**32, 2**64, 1.5, None, "1"])
def test_a_number_of_pages_that_there_cannot_be_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        DB(tmp_path / "app.db", **{name: value})
    assert caught.value.key == name


@pytest.mark.timeout(60)
def test_the_largest_numbers_work(database: Path) -> None:
    largest: dict[str, Any] = dict.fromkeys(DURATIONS, LONGEST) | dict.fromkeys(PAGES, 2**32 - 1)
    with DB(database, replica=Replica(MemoryClient(), sync_interval=LONGEST), **largest) as db:
        insert(database, 1)
        db.wait(timeout=20)
        assert not db.checkpoint("TRUNCATE").busy


@pytest.mark.timeout(60)
@pytest.mark.parametrize("timeout", [math.inf, 1e300, 2**64])
def test_whoever_waits_for_longer_than_any_clock_goes_just_waits(
    database: Path, tmp_path: Path, timeout: float
) -> None:
    """A `close` of a follower raised OverflowError, and nobody could follow with the database any more."""
    client, copy = MemoryClient(), tmp_path / "copy.db"
    with DB(database, replica=Replica(client, sync_interval=0.02), monitor_interval=0.02) as db:
        db.wait(timeout=timeout)
        for value in (1, 2):
            followed = ltxcore.follow(client, copy, interval=0.02)
            goal = followed.txid + 1
            waits = [threading.Thread(target=each.wait, args=(goal, timeout)) for each in (db, followed)]
            for wait in waits:
                wait.start()
            insert(database, value)
            for wait in waits:
                wait.join()
            assert followed.txid >= goal
            followed.close(timeout=timeout)
        db.close(timeout=timeout)
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)
