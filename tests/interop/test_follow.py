"""`litestream restore -f` and ours on the same output: each goes on where the other stopped, orderly or not."""

import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore

from tests.helpers import litestream
from tests.helpers.process import Child, ended, until
from tests.helpers.profiles import marks, sized
from tests.helpers.replicas import Source, content
from tests.helpers.site import Site

pytestmark = [pytest.mark.interop, pytest.mark.process, *marks(90, 900)]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    made = Source(tmp_path)
    made.move(20)
    return made


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.db"


def theirs(source: Source, output: Path) -> Child:
    options = ["-f", "-follow-interval", "20ms", "-o", str(output)]
    argv = [str(litestream.program()), "restore", *options, f"file://{source.replica}"]
    return Child(argv, output.with_name("theirs.log"))


def ours(source: Source, output: Path) -> Child:
    options = ["-f", "-follow-interval", "20ms", "-o", str(output)]
    argv = [sys.executable, "-m", "ltxcore", "restore", *options, f"file://{source.replica}"]
    return Child(argv, output.with_name("ours.log"))


def catch_up(follower: Child, source: Source, output: Path) -> None:
    def done() -> bool:
        assert follower.alive(), follower.tail()
        sidecar = Path(f"{output}-txid")
        return sidecar.exists() and sidecar.read_text() == f"{source.txid:016x}\n"

    until(done, what=f"TXID {source.txid}: {follower.tail()}")


@pytest.mark.parametrize(
    "first, second", [(ours, theirs), (theirs, ours)], ids=["ours-first", "theirs-first"]
)
def test_each_goes_on_where_the_other_stopped(
    source: Source, output: Path, first: Callable[..., Child], second: Callable[..., Child]
) -> None:
    for begin in (first, second, first, second):
        follower = begin(source, output)
        with ended(follower):
            source.move()
            catch_up(follower, source, output)
            source.shrink() if source.txid % 2 else source.move(10)
            catch_up(follower, source, output)
            assert follower.terminate() == 0, follower.tail()
        assert content(output) == content(source.path)


def test_killed_in_turns(source: Source, output: Path) -> None:
    """Each is killed at a random moment; the other continues, and loses nothing."""
    dice = random.Random(8)
    for n in range(sized(8, 60)):
        follower = (ours, theirs)[n % 2](source, output)
        with ended(follower):
            if n < 2:
                catch_up(follower, source, output)
            for _ in range(dice.randrange(12)):
                source.move(5)
            follower.kill()
    last = theirs(source, output)
    with ended(last):
        catch_up(last, source, output)
        last.terminate()
    assert content(output) == content(source.path)


@pytest.mark.parametrize("place", ["save", "half", "write", "commit"])
def test_they_repair_what_we_left_half_done(source: Source, output: Path, place: str) -> None:
    """The journal that we left would take their work back, if it were still in force when they are done."""
    argv = [sys.executable, "-m", "tests.helpers.follower", str(source.replica), str(output), place]
    dying = Child(argv, output.with_name("dying.log"))
    with ended(dying):
        until(lambda: Path(f"{output}-txid").exists(), what="restored")
        source.move()
        assert dying.wait(20) == 9, dying.tail()
    source.move()
    follower = theirs(source, output)
    with ended(follower):
        catch_up(follower, source, output)
        follower.terminate()
    assert content(output) == content(source.path)


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_they_repair_it_elsewhere(source: Source, tmp_path: Path, how: str) -> None:
    """The journal that we left is void where Litestream goes on, also in another directory that has its hard link."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    argv = [sys.executable, "-m", "tests.helpers.follower", str(source.replica), str(old / "out.db"), "half"]
    dying = Child(argv, tmp_path / "dying.log")
    with ended(dying):
        until(lambda: Path(f"{old / 'out.db'}-txid").exists(), what="restored")
        source.move()
        assert dying.wait(20) == 9, dying.tail()
    old.rename(new) if how == "moved" else subprocess.run(["cp", "-a", old, new], check=True)
    assert (new / "out.db-journal").exists()
    source.move()
    follower = theirs(source, new / "out.db")
    with ended(follower):
        catch_up(follower, source, new / "out.db")
        follower.terminate()
    assert content(new / "out.db") == content(source.path)


def test_another_history_is_not_continued_from_where_they_are(source: Source, output: Path) -> None:
    """Litestream keeps a TXID and nothing else: the pages have to prove that the replica continues them."""
    follower = theirs(source, output)
    with ended(follower):
        source.move()
        catch_up(follower, source, output)
        follower.terminate()
    before = output.read_bytes()
    shutil.rmtree(source.replica)
    source.path.unlink()
    other = Source(source.path.parent)
    while other.txid < 3:
        other.move(1)
    other.sql("UPDATE account SET value = 5 - value WHERE id <= 2")
    other.commit(without_page_1=True)
    with pytest.raises(ltxcore.errors.RestoreError, match="is not the replica's"):
        ltxcore.follow(other.client, output)
    assert output.read_bytes()[20:] == before[20:]


def test_a_live_litestream_is_followed(site: Site, tmp_path: Path) -> None:
    """What Litestream replicates from a database in WAL mode, with its own compaction beside us."""
    with site.app() as app:
        app.insert(200)
        daemon = site.running(kind="litestream")
        daemon.barrier()
        with ltxcore.follow(site.replica, tmp_path / "copy.db", interval=0.02) as copy:
            for n in range(5):
                app.insert(40)
                if n == 3:
                    app.execute("DELETE FROM entry WHERE id % 3")
                    app.execute("VACUUM")
                copy.wait(daemon.barrier(), timeout=20)
            rows = app.execute("SELECT * FROM entry ORDER BY id")
        daemon.stop()
    assert table(tmp_path / "copy.db") == rows


def table(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT * FROM entry ORDER BY id").fetchall()
