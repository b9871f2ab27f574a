"""The five lock levels: every transition against every level that somebody else holds, over every lock protocol.

The tables are the promise, written by hand from "File Locking And Concurrency In SQLite Version 3": nothing here asks the
code under test what it thinks is right. A cell is `ok`, `BUSY`, or `-` where the two cannot come to stand like that.
"""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.sqlclient import BUSY, OK, Client, clients

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

LEVELS = ("N", "S", "R", "P", "X")
READ = "SELECT count(*) FROM t"
WRITE = "INSERT INTO t VALUES (zeroblob(10))"

# Going up: columns are what the other one holds, N S R P X.
BYTES_UP = {
    "N->S": "ok ok ok BUSY BUSY",
    "S->R": "ok ok BUSY BUSY -",
    "R->P->X": "ok BUSY - - -",
    "N->X": "ok BUSY BUSY BUSY BUSY",
    "hot journal": "ok BUSY ok BUSY BUSY",
}
# Going down: columns are what the other one reaches afterwards, from N: S R X.
BYTES_DOWN = {
    "X->S": "ok ok BUSY",
    "P->S": "ok ok BUSY",
    "R->S": "ok ok BUSY",
    "X->N": "ok ok ok",
    "P->N": "ok ok ok",
    "R->N": "ok ok ok",
    "S->N": "ok ok ok",
}
# RESERVED keeps readers out already, so PENDING is never waited in; and EXCLUSIVE is kept until nothing is held.
FLOCK_UP = {
    "N->S": "ok ok BUSY - BUSY",
    "S->R": "ok BUSY - - -",
    "R->P->X": "ok - - - -",
    "N->X": "ok BUSY BUSY - BUSY",
    "hot journal": "ok BUSY BUSY - BUSY",
}
FLOCK_DOWN = BYTES_DOWN | {"X->S": "BUSY BUSY BUSY", "P->S": "-", "R->S": "BUSY BUSY BUSY", "P->N": "-"}
# One process at a time, whatever it holds.
PROCESS_UP = {
    "N->S": "ok BUSY BUSY BUSY BUSY",
    "S->R": "ok - - - -",
    "R->P->X": "ok - - - -",
    "N->X": "ok BUSY BUSY BUSY BUSY",
    "hot journal": "ok BUSY BUSY BUSY BUSY",
}
PROCESS_DOWN = BYTES_DOWN | dict.fromkeys(("X->S", "P->S", "R->S"), "BUSY BUSY BUSY")
# SQLite's own dot-file has one connection at a time: it cannot wait for a reader of its own.
NO_PENDING_UP = {name: " ".join([*row.split()[:3], "-", row.split()[4]]) for name, row in PROCESS_UP.items()}
NO_PENDING_DOWN = PROCESS_DOWN | {"P->S": "-", "P->N": "-"}

# (under test, the other one, same process, going up, going down)
PAIRS = [
    ("ltx-ofd", "ltx-ofd", False, BYTES_UP, BYTES_DOWN),
    ("ltx-ofd", "ltx-posix", False, BYTES_UP, BYTES_DOWN),
    ("ltx-posix", "ltx-ofd", False, BYTES_UP, BYTES_DOWN),
    ("ltx-posix", "ltx-posix", False, BYTES_UP, BYTES_DOWN),
    ("ltx-ofd", "unix", False, BYTES_UP, BYTES_DOWN),
    ("unix", "ltx-ofd", False, BYTES_UP, BYTES_DOWN),
    ("ltx-posix", "unix", False, BYTES_UP, BYTES_DOWN),
    ("unix", "ltx-posix", False, BYTES_UP, BYTES_DOWN),
    # What the others are measured by.
    ("unix", "unix", False, BYTES_UP, BYTES_DOWN),
    ("ltx-flock", "ltx-flock", False, FLOCK_UP, FLOCK_DOWN),
    ("ltx-dotfile", "ltx-dotfile", False, PROCESS_UP, PROCESS_DOWN),
    ("ltx-dotfile", "unix-dotfile", False, NO_PENDING_UP, PROCESS_DOWN),
    ("unix-dotfile", "ltx-dotfile", False, PROCESS_UP, NO_PENDING_DOWN),
    ("ltx-ofd", "ltx-ofd", True, BYTES_UP, BYTES_DOWN),
    ("ltx-ofd", "unix", True, BYTES_UP, BYTES_DOWN),
    ("unix", "ltx-ofd", True, BYTES_UP, BYTES_DOWN),
    ("ltx-ofd", "ltx-posix", True, BYTES_UP, BYTES_DOWN),
    ("ltx-posix", "ltx-ofd", True, BYTES_UP, BYTES_DOWN),
    ("ltx-posix", "ltx-posix", True, BYTES_UP, BYTES_DOWN),
    ("ltx-flock", "ltx-flock", True, FLOCK_UP, FLOCK_DOWN),
    ("ltx-dotfile", "ltx-dotfile", True, BYTES_UP, BYTES_DOWN),
    ("ltx-excl", "ltx-excl", True, BYTES_UP, BYTES_DOWN),
    ("ltx-dotfile", "unix-dotfile", True, NO_PENDING_UP, PROCESS_DOWN),
    ("unix-dotfile", "ltx-dotfile", True, PROCESS_UP, NO_PENDING_DOWN),
]


def table_of(pair: tuple) -> str:
    ours, theirs, same, *_ = pair
    return f"{ours}-{theirs}-{'same' if same else 'two'}"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Client]]:
    with clients(tmp_path_factory.mktemp("clients")) as made:
        yield made


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`app.db`, and what a crash in the middle of an update leaves behind: `hot.db` with half of it, `hot.db-journal`."""
    folder = tmp_path_factory.mktemp("template")
    script = f"""
import shutil, sqlite3
con = sqlite3.connect({str(folder / "app.db")!r}, isolation_level=None)
con.executescript("PRAGMA page_size=1024; CREATE TABLE t (x); PRAGMA cache_size=2; PRAGMA cache_spill=2")
con.executemany("INSERT INTO t VALUES (zeroblob(?))", [(700,)] * 40)
shutil.copy({str(folder / "app.db")!r}, {str(folder / "clean.db")!r})
con.execute("BEGIN")
con.execute("UPDATE t SET x = randomblob(700)")
for end in ("", "-journal"):
    shutil.copy({str(folder / "app.db")!r} + end, {str(folder / "hot.db")!r} + end)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
    (folder / "clean.db").replace(folder / "app.db")
    assert (folder / "hot.db-journal").read_bytes()[:4] == b"\xd9\xd5\x05\xf9"
    return folder


class Stage:
    """One cell: a database of its own, `me` under test, `other`, and the reader that gets `other` stuck in PENDING."""

    def __init__(self, folder: Path, me: Client, other: Client, pair: tuple) -> None:
        self.me, self.other = me, other
        self.mine, self.theirs = pair[0], pair[1]
        self.db = folder / "app.db"

    @contextlib.contextmanager
    def new(self, template: Path) -> Iterator[None]:
        shutil.copy(template / "app.db", self.db)
        assert self.me.open("me", self.db, self.mine) == OK
        assert self.other.open("other", self.db, self.theirs) == OK
        assert self.other.open("helper", self.db, self.theirs) == OK
        try:
            yield
        finally:
            self.me.close("me")
            self.other.close("other", "helper")
            for path in self.db.parent.glob("app.db*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def rise(self, who: Client, name: str, level: str, reader: str) -> str:
        """From NONE to a level, by ordinary SQL."""
        if level == "P":
            # A commit that has to wait for a reader stays in PENDING; then the reader goes.
            code = who.run(reader, "BEGIN", READ)
            code = code if code != OK else who.run(name, "BEGIN IMMEDIATE", WRITE)
            if code == OK:
                assert who.run(name, "COMMIT") == BUSY
            who.run(reader, "ROLLBACK")
            return code
        scripts = {"N": (), "S": ("BEGIN", READ), "R": ("BEGIN IMMEDIATE",), "X": ("BEGIN EXCLUSIVE",)}
        return who.run(name, *scripts[level])

    def plant_hot_journal(self) -> None:
        # Not with copies made in here: closing the database would drop the locks of this process. `cp` has none.
        for end in ("", "-journal"):
            source, target = f"{self.db.parent / 'hot.db'}{end}", f"{self.db}{end}"
            subprocess.run(["cp", source, target], check=True)


def up(stage: Stage, name: str, level: str) -> str:
    """`-` if the other one cannot be where the cell wants it while `me` is where the transition begins."""
    before: dict[str, Callable[[], str]] = {
        "N->S": lambda: OK,
        "N->X": lambda: OK,
        "S->R": lambda: stage.me.run("me", "BEGIN", READ),
        "R->P->X": lambda: stage.me.run("me", "BEGIN IMMEDIATE", WRITE),
        "hot journal": lambda: OK,
    }
    steps = {
        "N->S": ("BEGIN", READ),
        "N->X": ("BEGIN EXCLUSIVE",),
        "S->R": (WRITE,),
        "R->P->X": ("COMMIT",),
        "hot journal": (READ,),
    }
    assert before[name]() == OK
    if stage.rise(stage.other, "other", level, "helper") != OK:
        return "-"
    if name == "hot journal":
        stage.plant_hot_journal()
    code = stage.me.run("me", *steps[name])
    if name == "hot journal" and code == OK:
        rolled_back = not stage.me.value("me", "SELECT sum(x != zeroblob(700)) FROM t")
        # SQLite's own dot-file takes its own lock for that of a writer, and never rolls anything back.
        is_hot = level == "N" and stage.mine != "unix-dotfile"
        assert rolled_back == is_hot, "the journal of a writer that lives, or that of nobody"
    return {OK: "ok", BUSY: "BUSY"}.get(code, code)


def down(stage: Stage, name: str) -> str:
    """What the other one reaches after `me` went down: an open cursor keeps SHARED when the transaction ends."""
    begin, end = name.split("->")
    # Whoever makes `me` wait must be allowed in beside it: in its own process, under its own lock protocol.
    assert stage.me.open("reader", stage.db, stage.mine) == OK
    reached = stage.rise(stage.me, "me", begin, "reader")
    stage.me.close("reader")
    if reached != OK:
        return "-"
    if end == "S":
        assert stage.me.ask("cursor", name="me", sql="SELECT length(x) FROM t")["code"] == OK
    assert stage.me.run("me", "ROLLBACK" if begin == "P" else "COMMIT") == OK
    cells = []
    for level in ("S", "R", "X"):
        code = stage.rise(stage.other, "other", level, "helper")
        cells.append({OK: "ok", BUSY: "BUSY"}.get(code, code))
        stage.other.run("other", "ROLLBACK")
    if end == "S":
        assert stage.me.ask("rest", name="me")["code"] == OK
    return " ".join(cells)


@pytest.mark.parametrize("pair", PAIRS, ids=table_of)
def test_the_lock_table(two: list[Client], template: Path, tmp_path: Path, pair: tuple) -> None:
    _ours, _theirs, same, expected_up, expected_down = pair
    for end in ("hot.db", "hot.db-journal"):
        shutil.copy(template / end, tmp_path / end)
    stage = Stage(tmp_path, two[0], two[0] if same else two[1], pair)
    found_up: dict[str, list[str]] = {name: [] for name in BYTES_UP}
    for name in BYTES_UP:
        for level in LEVELS:
            with stage.new(template):
                found_up[name].append(up(stage, name, level))
    assert {name: " ".join(row) for name, row in found_up.items()} == expected_up
    found_down = {}
    for name in BYTES_DOWN:
        with stage.new(template):
            found_down[name] = down(stage, name)
    assert found_down == expected_down


CAN_READ_BESIDE_A_WRITER = [pair for pair in PAIRS if pair[3] is BYTES_UP]


@pytest.mark.parametrize("pair", CAN_READ_BESIDE_A_WRITER, ids=table_of)
def test_a_journal_of_a_writer_is_not_hot(
    two: list[Client], template: Path, tmp_path: Path, pair: tuple
) -> None:
    """xCheckReservedLock: a reader finds a journal with content, and must learn that its writer lives.

    If it does not, the reader tries to roll it back: it gets BUSY at best. No test program of SQLite notices. A journal has
    its header before the writer is beyond RESERVED only if nothing is synced.
    """
    stage = Stage(tmp_path, two[0], two[0] if pair[2] else two[1], pair)
    with stage.new(template):
        writer, reader = stage.other, stage.me
        assert writer.run("other", "PRAGMA synchronous=OFF", "BEGIN IMMEDIATE", WRITE) == OK
        journal = Path(f"{stage.db}-journal").read_bytes()
        assert journal[:4] == b"\xd9\xd5\x05\xf9", "the test needs a journal that looks hot"
        assert reader.rows("me", READ) == [[40]]
        assert Path(f"{stage.db}-journal").exists()
        assert writer.run("other", "COMMIT") == OK
        assert reader.rows("me", READ) == [[41]]
