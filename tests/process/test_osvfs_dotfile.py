"""`lock=dotfile`: a lock that is a directory, which outlives a crash and can be removed by anybody."""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ltxcore.vfs import break_lock

from tests.helpers.mixture import READ, make
from tests.helpers.process import until
from tests.helpers.sqlclient import BUSY, OK, Client, clients
from tests.helpers.strace import needs_strace, traced

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

NO_PROCESS = 2**22 + 1  # Linux has no such number


@pytest.fixture
def db(tmp_path: Path) -> Path:
    (folder := tmp_path / "data").mkdir()
    make(folder / "app.db")
    return folder / "app.db"


@pytest.fixture
def lock(db: Path) -> Path:
    return db.with_name("app.db.lock")


@pytest.fixture
def two(tmp_path: Path, db: Path) -> Iterator[list[Client]]:
    with clients(tmp_path) as made:
        for client in made:
            assert client.open("it", db, "ltx-dotfile") == OK
        yield made


def leave_lock(client: Client, lock: Path, *, pid: int = NO_PROCESS, place: str | None = None) -> None:
    """The lock of a process like this one, but for its number or place."""
    assert client.run("it", "BEGIN IMMEDIATE") == OK
    (name,) = os.listdir(lock)
    assert client.run("it", "ROLLBACK") == OK
    parts = name.split("-")
    assert parts[:2] == ["owner", str(client.pid)]
    parts[1], parts[3] = str(pid), place or parts[3]
    lock.mkdir()
    (lock / "-".join(parts)).touch()


# --- an owner that has ended -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ("BEGIN; SELECT x FROM t", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"))
def test_what_a_crash_left_is_taken_over_by_the_next_one(two: list[Client], lock: Path, level: str) -> None:
    assert two[0].run("it", *level.split("; ")) == OK
    assert two[1].run("it", READ) == BUSY, "its owner lives"
    two[0].kill()
    assert lock.is_dir()
    assert two[1].run("it", "UPDATE t SET x = 1") == OK
    assert not lock.exists()


def test_a_process_that_is_stopped_is_not_dead(two: list[Client]) -> None:
    assert two[0].run("it", "BEGIN", READ) == OK
    two[0].send_signal(19)  # SIGSTOP
    until(lambda: "\nState:\tT" in Path(f"/proc/{two[0].pid}/status").read_text())
    assert two[1].run("it", READ) == BUSY
    two[0].send_signal(18)  # SIGCONT
    assert two[0].run("it", "COMMIT") == OK
    assert two[1].run("it", READ) == OK


@pytest.mark.parametrize("place, expected", [(None, OK), ("0123456789abcdef", BUSY), ("unknown", BUSY)])
def test_only_here_a_number_says_who_has_ended(
    two: list[Client], db: Path, lock: Path, place: str | None, expected: str
) -> None:
    """Of another host, boot or container nobody can know whether its process lives: that takes a human."""
    leave_lock(two[0], lock, place=place)
    assert two[1].run("it", READ) == expected
    if expected == BUSY:
        assert two[1].run("it", "PRAGMA busy_timeout=100", READ) == BUSY
        break_lock(db)
        assert two[1].run("it", READ) == OK
    assert not lock.exists()


def test_a_number_that_means_another_process_by_now(two: list[Client], lock: Path) -> None:
    leave_lock(two[0], lock, pid=os.getpid())
    assert two[1].run("it", READ) == OK


@pytest.mark.parametrize("files", ((), ("owner",), ("owner-1-2-3",)), ids=str)
def test_a_lock_without_an_owner_is_in_use(
    two: list[Client], db: Path, lock: Path, files: Sequence[str]
) -> None:
    """As `unix-dotfile` makes it, for example."""
    lock.mkdir()
    for file in files:
        (lock / file).touch()
    assert two[0].run("it", READ) == BUSY
    assert sorted(os.listdir(lock)) == sorted(files)
    break_lock(db)
    assert two[0].run("it", READ) == OK


def test_a_hot_journal_under_a_stale_lock_is_rolled_back(two: list[Client], db: Path, tmp_path: Path) -> None:
    """The crash that left the lock left half a transaction as well."""
    assert two[0].run("it", "PRAGMA cache_size=2", "BEGIN", "UPDATE t SET x = 7") == OK
    before = shutil.copy(db, tmp_path / "copy.db")
    two[0].kill()
    con = sqlite3.connect(before)
    with pytest.raises(AssertionError):
        assert con.execute(READ).fetchone() == ("0",), "the test needs pages that were written"
    con.close()
    assert two[1].value("it", READ) == "0"
    assert two[1].value("it", "PRAGMA integrity_check") == "ok"


# --- killed at any moment ------------------------------------------------------------------------------------------------

CHANGES = "mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir"


@needs_strace
@pytest.mark.timeout(300)
@pytest.mark.parametrize("is_stale", (False, True), ids=("free", "stale"))
def test_a_process_that_is_killed_at_any_call_locks_nobody_out(
    two: list[Client], tmp_path: Path, db: Path, lock: Path, is_stale: bool
) -> None:
    """One run for each call that changes a directory: it is killed on its way in, so after all those before."""
    for number in range(1, 30):
        if is_stale:
            leave_lock(two[0], lock)
        (folder := tmp_path / f"traced{number}").mkdir()
        with traced(folder, CHANGES, f"--inject={CHANGES}:signal=KILL:when={number}") as (client, _trace):
            assert client.open("it", db, "ltx-dotfile") == OK
            client.send("it", f"UPDATE t SET x = {number} WHERE rowid = 1")
            try:
                done = client.answer()
                client.close("it")
            except AssertionError:
                done = None
                client.wait(30)
        assert two[0].run("it", "UPDATE t SET x = 0 WHERE rowid = 2") == OK, number
        assert not lock.exists()
        if done is not None:
            assert done == OK
            break
    else:
        raise AssertionError("it was killed every time")
    assert number > 3, "nothing was tried"
    assert two[0].value("it", "PRAGMA integrity_check") == "ok"
    two[0].close("it")
    # Who begins to use the database removes what they left beside it.
    assert two[1].run("it", READ) == OK
    assert os.listdir(db.parent) == ["app.db"]


# Where a slow process is, as the calls that are slow; whether a lock is there that was left over.
RACES = [("rename,renameat", True), ("renameat2", False), ("mkdir,mkdirat", False)]


@needs_strace
@pytest.mark.parametrize("slow_call, is_stale", RACES)
def test_two_that_come_at_once(
    two: list[Client], tmp_path: Path, db: Path, lock: Path, slow_call: str, is_stale: bool
) -> None:
    """Both see that they may have the lock. The slower one must leave alone what the faster one has made."""
    if is_stale:
        leave_lock(two[0], lock)
    (folder := tmp_path / "traced").mkdir()
    inject = f"--inject={slow_call}:delay_enter=700000:when=1"
    with traced(folder, CHANGES, inject) as (slow, trace):
        assert slow.open("it", db, "ltx-dotfile") == OK
        slow.send("it", "BEGIN EXCLUSIVE")
        time.sleep(0.3)
        faster = two[0].run("it", "BEGIN EXCLUSIVE")
        assert {faster, slow.answer()} == {OK, BUSY}
        assert len(os.listdir(lock)) == 1
        winner = two[0] if faster == OK else slow
        assert winner.run("it", "UPDATE t SET x = 1", "COMMIT") == OK
        assert os.listdir(db.parent) == ["app.db"]
    assert "DELAYED" in trace.read_text()


@needs_strace
@pytest.mark.parametrize("error", ("EINVAL", "ENOSYS", "EOPNOTSUPP"))
def test_a_file_system_without_renames_that_replace_nothing(
    two: list[Client], tmp_path: Path, db: Path, lock: Path, error: str
) -> None:
    """A plain rename would replace the empty directory of `unix-dotfile`."""
    (folder := tmp_path / "traced").mkdir()
    with traced(folder, CHANGES, f"--inject=renameat2:error={error}") as (poor, trace):
        assert poor.open("it", db, "ltx-dotfile") == OK
        assert two[1].open("stock", db, "unix-dotfile") == OK
        assert two[1].run("stock", "BEGIN IMMEDIATE") == OK
        assert poor.run("it", READ) == BUSY
        assert os.listdir(lock) == []
        assert two[1].run("stock", "COMMIT") == OK
        assert poor.run("it", "BEGIN IMMEDIATE") == OK
        assert two[0].run("it", READ) == two[1].run("stock", READ) == BUSY
        assert poor.run("it", "UPDATE t SET x = 1", "COMMIT") == OK
        assert os.listdir(db.parent) == ["app.db"]
        leave_lock(two[0], lock)
        assert poor.run("it", "UPDATE t SET x = 2") == OK
        assert two[0].value("it", READ) == "2"
    assert "(INJECTED)" in trace.read_text()


# --- an owner that cannot be seen ----------------------------------------------------------------------------------------

WITHOUT_PROC = 'mount -t tmpfs none /proc; exec "$@"'
HIDDEN = 'mount -t proc -o hidepid=2 proc /proc; exec "$@"'
ELSEWHERE = {
    "PID namespace": ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"],
    "PID namespace under the outer /proc": ["unshare", "--pid", "--fork", "--kill-child"],
    "time namespace": ["unshare", "--time", "--boottime", "100000", "--fork", "--kill-child"],
    "host name": ["unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh"],
    "no /proc": ["unshare", "--mount", "sh", "-c", WITHOUT_PROC, "sh"],
    "another user, hidepid=2": ["unshare", "--mount", "sh", "-c", HIDDEN, "sh"],
}


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
@pytest.mark.parametrize("where", ELSEWHERE)
def test_the_lock_of_a_living_process_stays_its_own(tmp_path: Path, open_folder: Path, where: str) -> None:
    """Seen from where its number means nothing, or another process, or where it cannot be seen."""
    path = open_folder / "app.db"
    make(path)
    path.chmod(0o666)
    with clients(tmp_path, 1) as (owner,):
        assert owner.open("it", path, "ltx-dotfile") == OK
        assert owner.run("it", "BEGIN IMMEDIATE", "UPDATE t SET x = 1") == OK
        (there := open_folder / "there").mkdir(mode=0o777)
        with clients(there, 1, under=ELSEWHERE[where]) as (other,):
            if "user" in where:
                other.ask("drop")
            assert other.open("it", path, "ltx-dotfile") == OK
            assert other.run("it", READ) == BUSY
            assert owner.run("it", "COMMIT") == OK
            assert other.value("it", READ) == "1"


# --- a lock that somebody removed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", ("BEGIN", "BEGIN IMMEDIATE"))
@pytest.mark.parametrize("next_one", ("ltx-dotfile", "unix-dotfile", None))
def test_its_owner_notices_and_does_not_write(
    two: list[Client], db: Path, lock: Path, begin: str, next_one: str | None
) -> None:
    assert two[0].run("it", begin, READ) == OK
    break_lock(db)
    if next_one is not None:
        assert two[1].open("next", db, next_one) == OK
        assert two[1].run("next", "BEGIN IMMEDIATE", "UPDATE t SET x = 1", "COMMIT", "BEGIN IMMEDIATE") == OK
    code = two[0].run("it", "UPDATE t SET x = x + 10", "COMMIT")
    assert code.startswith("SQLITE_IOERR"), "waiting would not bring the lock back"
    two[0].run("it", "ROLLBACK")
    if next_one is not None:
        assert lock.is_dir(), "the lock of another one"
        assert two[0].run("it", READ) == BUSY
        assert two[1].run("next", "COMMIT") == OK
    # Once it holds nothing it is as good as new.
    assert two[0].run("it", "UPDATE t SET x = x + 10") == OK
    assert two[0].value("it", READ) == ("10" if next_one is None else "11")
    assert two[0].value("it", "PRAGMA integrity_check") == "ok"
    assert not lock.exists()


def test_a_reader_that_ends_leaves_the_lock_of_another_one(two: list[Client], db: Path, lock: Path) -> None:
    assert two[0].run("it", "BEGIN", READ) == OK
    two[0].ask("log")
    shutil.rmtree(lock)
    assert two[1].run("it", "BEGIN IMMEDIATE") == OK
    two[0].run("it", "COMMIT")
    assert len(os.listdir(lock)) == 1
    assert "IOERR_UNLOCK" in " ".join(two[0].ask("log")), "the log is told"
    assert two[0].run("it", READ) == BUSY
    assert two[1].run("it", "COMMIT") == OK
    assert two[0].run("it", READ) == OK


def test_in_wal_mode_too(two: list[Client], db: Path, lock: Path) -> None:
    """There SHARED is held until the connection is closed, and a write takes no other lock on the database."""
    assert two[0].run("it", "PRAGMA journal_mode=WAL", "UPDATE t SET x = 1") == OK
    assert two[0].open("other", db, "ltx-dotfile") == OK
    assert two[0].value("other", READ) == "1"
    break_lock(db)
    for name in ("it", "other"):
        assert two[0].run(name, "UPDATE t SET x = 2").startswith("SQLITE_IOERR")
        assert two[0].run(name, "PRAGMA wal_checkpoint").startswith("SQLITE_IOERR")
    two[0].close("it", "other")
    assert two[1].run("it", "UPDATE t SET x = x + 2") == OK
    assert two[1].value("it", READ) == "3"
    assert two[1].value("it", "PRAGMA integrity_check") == "ok"


def test_a_directory_that_cannot_be_written_is_not_busy(tmp_path: Path, open_folder: Path) -> None:
    """Waiting would not help."""
    make(path := open_folder / "app.db")
    path.chmod(0o666)
    open_folder.chmod(0o555)
    with clients(tmp_path, 1) as (client,):
        client.ask("drop")
        assert client.open("it", path, "ltx-dotfile") == OK
        client.ask("log")
        code = client.run("it", READ)
        assert code == (OK if os.access(open_folder, os.W_OK) and os.geteuid() != 0 else "SQLITE_IOERR_LOCK")
        assert "Permission denied" in " ".join(client.ask("log"))
