"""The shared memory of WAL mode: the eight lock slots, and the dead man's switch.

What SQLite's own `unix` VFS does stands in the same tables: both must be the same, or the two could not share a database.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import lockprobe
from tests.helpers.lockprobe import letters
from tests.helpers.process import until
from tests.helpers.sqlclient import BUSY, OK, Client, clients
from tests.helpers.strace import calls, needs_strace, traced

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

VFSES = ("ltx-ofd", "ltx-posix", "unix")
PAIRS = [(mine, theirs) for mine in VFSES for theirs in VFSES]
PAIR_NAMES = ["-".join(pair) for pair in PAIRS]
READ = "SELECT count(*) FROM t"
WRITE = "INSERT INTO t VALUES (zeroblob(3000))"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Client]]:
    with clients(tmp_path_factory.mktemp("clients")) as made:
        yield made


@pytest.fixture
def db(tmp_path: Path, two: list[Client]) -> Iterator[Path]:
    """A database in WAL mode without a WAL."""
    path = tmp_path / "app.db"
    assert two[0].open("make", path, "unix") == OK
    assert two[0].run("make", "PRAGMA journal_mode=WAL", "CREATE TABLE t (x)", WRITE) == OK
    two[0].close("make")
    yield path
    for client in two:
        client.close()


def shm(db: Path) -> Path:
    return Path(f"{db}-shm")


def opened(client: Client, name: str, db: Path, vfs: str) -> None:
    assert client.open(name, db, vfs) == OK
    assert client.run(name, READ) == OK


# (what it does, what of the slots is taken then)
SLOTS = [
    (("SELECT 1",), "DMS:R"),
    (("BEGIN", READ), "READ0:R DMS:R"),  # nothing is in the WAL
    ((WRITE, "BEGIN", READ), "READ1:R DMS:R"),
    (("BEGIN IMMEDIATE",), "WRITE:W READ0:R DMS:R"),
    ((WRITE, "BEGIN IMMEDIATE", WRITE), "WRITE:W READ1:R DMS:R"),
    ((WRITE, "PRAGMA wal_checkpoint", "BEGIN", READ), "READ0:R DMS:R"),  # all of it is in the database
    ((WRITE, "BEGIN", READ, "COMMIT"), "DMS:R"),
]


@pytest.mark.parametrize("vfs", VFSES)
def test_who_has_which_slot(two: list[Client], db: Path, vfs: str) -> None:
    for script, expected in SLOTS:
        opened(two[0], "it", db, vfs)
        assert two[0].run("it", *script) == OK
        assert letters(shm(db)) == expected, script
        owners = {pid for _, pid in lockprobe.shm_locks(shm(db)).values()}
        assert owners == {lockprobe.OF_A_DESCRIPTION if vfs == "ltx-ofd" else two[0].pid}
        two[0].close("it")


@pytest.mark.parametrize("mine, theirs", PAIRS, ids=PAIR_NAMES)
def test_readers_of_four_snapshots_and_a_checkpointer_that_waits(
    two: list[Client], db: Path, mine: str, theirs: str
) -> None:
    """Each snapshot has a mark of its own; a checkpoint that waits for the writer holds its slot meanwhile."""
    opened(two[1], "writer", db, theirs)
    for number in range(1, 5):
        assert two[1].run("writer", WRITE) == OK
        opened(two[0], f"reader{number}", db, mine)
        assert two[0].run(f"reader{number}", "BEGIN", READ) == OK
    assert letters(shm(db)) == "READ1:R READ2:R READ3:R READ4:R DMS:R"
    assert [two[0].value(f"reader{number}", READ) for number in range(1, 5)] == [2, 3, 4, 5]
    opened(two[0], "checkpointer", db, mine)
    assert two[1].run("writer", "BEGIN IMMEDIATE") == OK
    assert two[0].run("checkpointer", "PRAGMA busy_timeout=20000") == OK
    two[0].ask("start", name="checkpointer", sql="PRAGMA wal_checkpoint(FULL)")
    until(lambda: "CKPT:W" in letters(shm(db)))
    assert "WRITE:W" in letters(shm(db))
    two[0].close(*(f"reader{number}" for number in range(1, 5)))
    assert two[1].run("writer", "COMMIT") == OK
    assert two[0].ask("finish", name="checkpointer")["rows"][0][0] == 0


# What a connection may do beside a reader of the last snapshot, and beside a writer: in one process as between two.
SAME_PROCESS = [("ltx-ofd", "ltx-ofd"), ("ltx-ofd", "unix"), ("unix", "ltx-ofd"), ("ltx-posix", "ltx-posix")]
SAME_PROCESS += [("ltx-ofd", "ltx-posix"), ("ltx-posix", "ltx-ofd")]


@pytest.mark.parametrize(
    "mine, theirs, same",
    [(*pair, False) for pair in PAIRS] + [(*pair, True) for pair in SAME_PROCESS],
)
def test_exclusive_slots_exclude(two: list[Client], db: Path, mine: str, theirs: str, same: bool) -> None:
    """A sibling of the same process that shares a slot counts as much as a stranger."""
    me, other = two[0], two[0] if same else two[1]
    opened(me, "me", db, mine)
    opened(other, "other", db, theirs)
    assert me.run("me", WRITE) == OK
    assert other.run("other", "BEGIN", READ) == OK
    assert me.rows("me", "PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == 1, "the reader needs what is in the WAL"
    assert me.run("me", WRITE) == OK
    assert other.value("other", READ) == 2
    assert other.run("other", WRITE) == "SQLITE_BUSY_SNAPSHOT"
    assert other.run("other", "COMMIT", "BEGIN IMMEDIATE", WRITE) == OK
    assert me.run("me", WRITE) == BUSY
    assert me.value("me", READ) == 3
    assert me.rows("me", "PRAGMA wal_checkpoint(FULL)")[0][0] == 1, "the writer is not done"
    assert other.run("other", "COMMIT") == OK
    assert me.value("me", READ) == 4
    assert me.rows("me", "PRAGMA wal_checkpoint(TRUNCATE)") == [[0, 0, 0]]


@pytest.mark.parametrize("mine, theirs, same", [(*pair, same) for pair in PAIRS for same in (False, True)])
def test_the_last_one_out_deletes(two: list[Client], db: Path, mine: str, theirs: str, same: bool) -> None:
    if same and {mine, theirs} == {"ltx-posix", "unix"}:
        pytest.skip("two libraries' locks of one process do not see each other: documented, use ofd")
    other = two[0] if same else two[1]
    opened(two[0], "me", db, mine)
    opened(other, "other", db, theirs)
    assert two[0].run("me", WRITE) == OK
    two[0].close("me")
    assert shm(db).exists() and Path(f"{db}-wal").exists()
    assert "DMS:R" in letters(shm(db)), "whoever is left is still there for others to see"
    assert other.run("other", WRITE) == OK
    other.close("other")
    assert not shm(db).exists() and not Path(f"{db}-wal").exists()
    opened(two[0], "me", db, mine)
    assert two[0].value("me", READ) == 3


@pytest.mark.parametrize("mine, theirs", PAIRS, ids=PAIR_NAMES)
def test_garbage_that_the_dead_left_is_thrown_away(
    two: list[Client], tmp_path: Path, mine: str, theirs: str
) -> None:
    """All users are killed in the middle of a transaction; what is in `-shm` then may be anything."""
    db = tmp_path / "app.db"
    with clients(tmp_path, 2) as victims:
        for client in victims:
            assert client.open("it", db, mine) == OK
            assert (
                client.run("it", "PRAGMA journal_mode=WAL", "CREATE TABLE IF NOT EXISTS t (x)", WRITE) == OK
            )
        assert victims[1].run("it", "BEGIN IMMEDIATE", WRITE) == OK
        for client in victims:
            client.kill()
    before = shm(db).read_bytes()
    assert letters(shm(db)) == ""
    # A header that is whole, twice, and wrong: only the dead man's switch tells that it must not be believed.
    shm(db).write_bytes(before[:96] + bytes(range(1, 25)) + b"\xff" * (len(before) - 120))
    for client, name in zip(two, ("me", "other")):
        opened(client, name, db, theirs)
        assert client.value(name, READ) == 2
        assert client.value(name, "PRAGMA integrity_check") == "ok"
    assert two[0].run("me", WRITE) == OK
    assert two[1].value("other", READ) == 3
    for client in two:
        client.close()


@needs_strace
@pytest.mark.parametrize("vfs", ("ltx-ofd", "ltx-posix"))
def test_nobody_trusts_what_is_being_thrown_away(
    two: list[Client], db: Path, tmp_path: Path, vfs: str
) -> None:
    """While somebody has the dead man's switch alone, a second one looks again and again, and does not touch it."""
    (folder := tmp_path / "traced").mkdir()
    with traced(folder, "fcntl") as (client, trace):
        assert client.open("it", db, vfs) == OK
        with lockprobe.holding(shm(db), "DMS"):
            client.ask("start", name="it", sql=READ)
            time.sleep(0.4)
            assert lockprobe.shm_locks(shm(db)) == {"DMS": ("W", lockprobe.OF_A_DESCRIPTION)}
        assert client.ask("finish", name="it")["rows"] == [[1]]
        client.close("it")
    switch = [call.lock() for call in calls(trace, db.parent) if " DMS " in call.lock()]
    assert switch.count("? DMS shm !") >= 2
    assert [call for call in switch if call != "? DMS shm !"] == ["? DMS shm", "W DMS shm", "R DMS shm"]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("vfs", VFSES)
def test_a_switch_that_is_never_let_go_is_an_error_in_the_end(two: list[Client], db: Path, vfs: str) -> None:
    assert two[0].open("it", db, vfs) == OK
    with lockprobe.holding(shm(db), "DMS"):
        assert two[0].run("it", READ) in ("SQLITE_PROTOCOL", BUSY)
    assert two[0].run("it", READ) == OK


# (state, code of a read, code of a write)
READ_ONLY = [
    ("nobody, no WAL", "no file can be made", "no file can be made"),
    ("a writer", OK, "SQLITE_READONLY"),
    # What is left of a crash: the memory may not be begun anew, so SQLite makes its own, on its heap.
    ("nobody, a WAL", OK, "SQLITE_READONLY"),
]


@pytest.mark.parametrize("vfs", VFSES)
@pytest.mark.parametrize("state, read, write", READ_ONLY)
@pytest.mark.parametrize("how", ("readonly_shm=1", "permissions"))
def test_shared_memory_that_may_only_be_read(
    two: list[Client], open_folder: Path, vfs: str, state: str, read: str, write: str, how: str
) -> None:
    db = open_folder / "app.db"
    opened_as = {"readonly_shm": 1} if how == "readonly_shm=1" else {}
    assert two[0].open("writer", db, "unix") == OK
    assert two[0].run("writer", "PRAGMA journal_mode=WAL", "CREATE TABLE t (x)", WRITE) == OK
    if state == "nobody, no WAL":
        two[0].close("writer")
    if state == "nobody, a WAL":
        for end in ("", "-wal", "-shm"):
            shutil.copy(f"{db}{end}", open_folder / f"left.db{end}")
        two[0].close("writer")
        db = open_folder / "left.db"
    if how == "permissions":
        open_folder.chmod(0o555)
        for path in open_folder.iterdir():
            path.chmod(0o444 if path.name.endswith("-shm") else 0o666)
    with clients(open_folder.parent, 1) as (reader,):
        reader.ask("drop")
        assert reader.open("it", db, vfs, **opened_as) == OK
        no_file = "SQLITE_READONLY_DIRECTORY" if how == "permissions" else "SQLITE_CANTOPEN"
        expected = [no_file if code == "no file can be made" else code for code in (read, write)]
        assert [reader.run("it", READ), reader.run("it", WRITE)] == expected
        if state == "a writer":
            assert two[0].run("writer", WRITE) == OK
            assert reader.value("it", READ) == 2, "a reader that cannot write the memory still reads it"
        reader.close()
    two[0].close()
