"""Locks that are not on bytes: `flock`, whose upgrade can lose what it had. For directories: `test_osvfs_dotfile.py`."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.mixture import READ, make
from tests.helpers.sqlclient import BUSY, OK, Client, clients
from tests.helpers.strace import needs_strace, traced

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[Client]]:
    with clients(tmp_path) as made:
        yield made


def flocked(path: Path) -> bool:
    """Whether anybody has the file shared or alone, by the kernel's list."""
    found = f":{path.stat().st_ino} "
    return any("FLOCK" in line and found in line for line in Path("/proc/locks").read_text().splitlines())


def test_a_failed_upgrade_keeps_the_shared_lock(two: list[Client], tmp_path: Path) -> None:
    """On Linux it does not by itself: then a writer could begin while the reader goes on."""
    db = tmp_path / "app.db"
    make(db)
    for client in two:
        assert client.open("it", db, "ltx-flock") == OK
        assert client.run("it", "BEGIN", READ) == OK
    assert two[0].run("it", "UPDATE t SET x = 1") == BUSY
    assert two[1].run("it", "COMMIT") == OK
    assert flocked(db)
    assert two[1].run("it", "BEGIN IMMEDIATE") == BUSY, "the first one still reads"
    assert two[0].value("it", READ) == "0"
    assert two[0].run("it", "UPDATE t SET x = 1", "COMMIT") == OK, "nobody wrote in between"
    assert two[1].value("it", READ) == "1"


# What the other one does while a failed upgrade has let the lock go; whether the reader may then read on.
IN_THE_GAP = [
    (("COMMIT",), True),
    (("COMMIT", "BEGIN IMMEDIATE", "UPDATE t SET x = 1", "COMMIT"), False),
    (("COMMIT", "BEGIN EXCLUSIVE"), False),
    (("COMMIT", "BEGIN IMMEDIATE", "PRAGMA cache_size=2", "UPDATE t SET x = 1"), False),
]


@needs_strace
@pytest.mark.parametrize("after", (READ, "UPDATE t SET x = 9"))
@pytest.mark.parametrize("script, may_read_on", IN_THE_GAP)
def test_a_reader_that_lost_its_lock_reads_nothing_stale(
    two: list[Client], tmp_path: Path, script: tuple[str, ...], may_read_on: bool, after: str
) -> None:
    """The gap of a microsecond is made one of most of a second: strace lets the call that fails return late."""
    db = tmp_path / "app.db"
    make(db)
    (folder := tmp_path / "traced").mkdir()
    # Shared and unlocked for the schema, shared for the transaction, then alone, which fails.
    with traced(folder, "flock", "--inject=flock:delay_exit=800000:when=4") as (reader, trace):
        other = two[0]
        assert other.open("it", db, "ltx-flock") == OK
        assert other.run("it", "BEGIN", READ) == OK
        assert reader.open("it", db, "ltx-flock") == OK
        assert reader.run("it", "PRAGMA cache_size=5", "BEGIN") == OK
        assert reader.value("it", "SELECT x FROM t LIMIT 1") == 0
        reader.send("it", "UPDATE t SET x = x + 10")
        time.sleep(0.3)
        for sql in script:
            assert other.run("it", sql) == OK
        assert reader.answer() == BUSY
        if may_read_on:
            assert reader.value("it", READ) == "0"
        else:
            # SQLite answers such an error with a rollback, so the connection is of use again afterwards.
            assert reader.run("it", after).startswith("SQLITE_IOERR")
        reader.run("it", "ROLLBACK")
        other.run("it", "COMMIT")
        # Once nothing is held it is as good as new.
        assert reader.run("it", "UPDATE t SET x = x + 10") == OK
        expected = 11 if any(sql.startswith("UPDATE") for sql in script) else 10
        assert reader.value("it", READ) == other.value("it", READ) == str(expected)
        assert reader.value("it", "PRAGMA integrity_check") == "ok"
    delayed = [line for line in trace.read_text().splitlines() if "DELAYED" in line]
    assert len(delayed) == 1 and "LOCK_EX|LOCK_NB" in delayed[0] and "EAGAIN" in delayed[0]


def upgrade_race(db: Path, folder: Path, seconds: float) -> int:
    """Two readers that become writers, and a third one that only writes; how often an upgrade failed."""
    with clients(folder, 3) as many:
        failed, problems, stop = [], [], time.monotonic() + seconds

        def upgrade(client: Client) -> None:
            assert client.open("it", db, "ltx-flock") == OK
            while time.monotonic() < stop:
                client.run("it", "BEGIN")
                first = client.value("it", READ)
                code = client.run("it", "UPDATE t SET x = x + 1")
                second = client.value("it", READ)
                if code == BUSY and not first.startswith("SQLITE"):
                    failed.append(second)
                    if second != first and not second.startswith("SQLITE_"):
                        problems.append((first, second))
                client.run("it", "COMMIT" if code == OK else "ROLLBACK")

        threads = [threading.Thread(target=upgrade, args=(client,)) for client in many]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert many[0].value("it", "PRAGMA integrity_check") == "ok"
        assert "," not in many[0].value("it", READ)
        return len(failed)


@pytest.mark.parametrize("seconds", [2, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(90)])])
def test_upgrades_that_race(tmp_path: Path, seconds: float) -> None:
    make(tmp_path / "app.db")
    assert upgrade_race(tmp_path / "app.db", tmp_path, seconds) > 10
