"""Nothing that ltxcore does in a process may release a lock of the application's own connections there.

POSIX locks belong to the process and the file: the close of any descriptor drops them all. Seen before there was a
descriptor pool: a second process committed in the middle of the first one's transaction, and its row was lost; in WAL mode
it deleted the live `-wal`.
"""

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import ltxcore

from tests.helpers import hazards, locks
from tests.helpers.process import Child, ended

pytestmark = pytest.mark.process

ACTIONS = [name for name in hazards.ACTIONS if name != "naked_close"]
# The check asks for five seconds before it gives up on a database that it may not read.
PATIENT = {("pending", "engine_check"), ("exclusive", "engine_check")}
CASES = [
    pytest.param(state, action, marks=[pytest.mark.slow] if (state, action) in PATIENT else [])
    for state in hazards.STATES
    for action in ACTIONS
]
# A lock that a newcomer runs into, in each state; what the intruder of the story would do.
EXCLUDED = {
    "shared": {"exclude"},
    "reserved": {"write", "exclude"},
    "pending": {"read", "write", "exclude"},
    "exclusive": {"read", "write", "exclude"},
    "wal_read": {"leave_wal"},
    "wal_write": {"write", "leave_wal"},
    "wal_idle": {"leave_wal"},
}


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[locks.Stranger]:
    made = locks.Stranger(tmp_path_factory.mktemp("stranger") / "log")
    with ended(made):
        yield made


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replica of some other database."""
    room = tmp_path_factory.mktemp("replica")
    hazards.prepare("wal_idle", room / "db")
    with ltxcore.DB(room / "db", replica=(room / "replica").as_uri()) as db:
        db.wait(db.sync().txid, timeout=20)
    return room / "replica"


class Holder(Child):
    """The process with the lock."""

    def __init__(self, state: str, action: str, path: Path, replica: Path, vfs: str = "unix") -> None:
        argv = [sys.executable, "-m", "tests.helpers.hazards", state, action, str(path), str(replica), vfs]
        super().__init__(argv, path.with_name("log"), talk=True)
        self.expect("ready")

    def expect(self, word: str) -> None:
        assert self.read_line(20) == word

    def act(self) -> None:
        self.write_line("act")
        self.expect("done")

    def rows_after_commit(self) -> int:
        self.write_line("commit")
        return int(self.read_line(20))


Named = tuple[str, locks.Held]


def held(path: Path) -> list[Named]:
    return [(file.name, lock) for file in (path, locks.shm(path)) for lock in locks.held(file)]


def seen(look: Callable[[], list[Named]]) -> set[Named]:
    """The kernel's list can leave a lock out, or name it twice, while others come and go."""
    return {each for _ in range(5) for each in look()}


def lost(before: set[Named], look: Callable[[], list[Named]]) -> set[Named]:
    """Those that are not in the list any more, however often one looks."""
    missing = before - set(look())
    for _ in range(40):
        if not missing:
            break
        time.sleep(0.05)
        missing -= set(look())
    return missing


@pytest.mark.parametrize("state, action", CASES)
def test_locks_survive(
    state: str, action: str, tmp_path: Path, replica: Path, stranger: locks.Stranger
) -> None:
    path = tmp_path / "db"
    holder = Holder(state, action, path, replica)
    with ended(holder):
        look = partial(locks.of_process, path, holder.pid)
        before = seen(look)
        refused = stranger.refused(path)
        assert before, "nothing is locked, so that nothing is shown"
        assert refused >= EXCLUDED[state]
        holder.act()
        assert lost(before, look) == set()
        assert stranger.refused(path) >= refused
        rows = holder.rows_after_commit()
        # Seen from outside: the commit came through, and in WAL mode the log was not deleted under its writer.
        assert stranger.execute(path, "SELECT count(*) FROM t") == [[rows]]
        assert rows == (1 if state in ("shared", "wal_read") else 2)
        assert stranger.execute(path, "PRAGMA integrity_check") == [["ok"]]


@pytest.mark.parametrize("state", hazards.STATES)
def test_a_naked_close_loses_them(
    state: str, tmp_path: Path, replica: Path, stranger: locks.Stranger
) -> None:
    """The hazard is real, and the test above would see it."""
    path = tmp_path / "db"
    holder = Holder(state, "naked_close", path, replica)
    with ended(holder):
        refused = stranger.refused(path)
        holder.act()
        assert locks.of_process(path, holder.pid) == []
        assert not stranger.refused(path) & refused


@pytest.mark.parametrize("state", hazards.STATES)
def test_locks_over_the_os_vfs_survive_even_that(
    state: str, tmp_path: Path, replica: Path, stranger: locks.Stranger
) -> None:
    path = tmp_path / "db"
    holder = Holder(state, "naked_close", path, replica, "ltx-os")
    with ended(holder):
        look = partial(held, path)
        before, refused = seen(look), stranger.refused(path)
        assert all(lock.is_ofd for _, lock in before)
        assert refused >= EXCLUDED[state]
        holder.act()
        assert lost(before, look) == set()
        assert stranger.refused(path) == refused
        rows = holder.rows_after_commit()
        assert stranger.execute(path, "SELECT count(*) FROM t") == [[rows]]
