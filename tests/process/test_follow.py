"""Following beside readers in other processes, and dying while doing so."""

import random
import shutil
import sys
import time
from pathlib import Path

import pytest

import ltxcore

from tests.helpers.follower import PLACES
from tests.helpers.process import Child, ended, until
from tests.helpers.profiles import marks, sized
from tests.helpers.replicas import Source, content

pytestmark = [pytest.mark.process, *marks(90, 900)]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    made = Source(tmp_path)
    made.move(20)
    return made


def child(tmp_path: Path, *arguments: object, talk: bool = True) -> Child:
    argv = [sys.executable, "-m", "tests.helpers.follower", *map(str, arguments)]
    return Child(argv, tmp_path / "child.log", talk=talk)


def caught_up(source: Source, output: Path) -> bool:
    return Path(f"{output}-txid").read_text() == f"{source.txid:016x}\n"


def test_readers_never_see_half_a_transaction(source: Source, tmp_path: Path) -> None:
    """A stock sqlite3 in another process checks the whole database again and again while files are applied."""
    output = tmp_path / "out.db"
    follower = child(tmp_path, source.replica, output)
    with ended(follower):
        assert follower.read_line(20) == "following"
        readers = [child(tmp_path, "--read", output) for _ in range(2)]
        with ended(*readers):
            assert [reader.read_line(20) for reader in readers] == ["reading"] * 2
            for n in range(sized(60, 400)):
                source.shrink() if n % 20 == 19 else source.move(10)
            until(lambda: caught_up(source, output), what="catching up")
            for reader in readers:
                reader.write_line("enough")
            seen = [reader.read_line(20) for reader in readers]
            assert all(each.isdecimal() and int(each) > 3 for each in seen), seen
            for reader in readers:
                reader.close_pipes()
        follower.close_pipes()
    assert content(output) == content(source.path)


@pytest.mark.parametrize("place", PLACES)
def test_whatever_it_dies_of_readers_see_a_state(source: Source, tmp_path: Path, place: str) -> None:
    """A journal takes back what was half done, for readers that come before anybody resumes; then it goes on."""
    output = tmp_path / "out.db"
    before = content(source.path)
    follower = child(tmp_path, source.replica, output, place)
    with ended(follower):
        assert follower.read_line(20) == "following"
        source.move()
        assert follower.wait(20) == 9
        follower.close_pipes()
    unread = tmp_path / "unread"
    unread.mkdir()
    for each in tmp_path.glob("out.db*"):
        shutil.copy2(each, unread)
    assert content(output) == (content(source.path) if place == "commit" else before)
    for path in (output, unread / "out.db"):
        source.move()
        with ltxcore.follow(source.client, path, interval=0.01) as running:
            running.wait(timeout=10)
        assert content(path) == content(source.path)
        assert {each.name for each in path.parent.glob("out.db*")} == {
            "out.db",
            "out.db-ltxcore",
            "out.db-txid",
        }


def test_killed_again_and_again(source: Source, tmp_path: Path) -> None:
    """kill -9 at random moments: a reader finds a whole state each time, and the next process goes on."""
    output, dice = tmp_path / "out.db", random.Random(4)
    for _ in range(sized(8, 100)):
        follower = child(tmp_path, source.replica, output)
        with ended(follower):
            assert follower.read_line(20) == "following"
            end = time.monotonic() + dice.uniform(0, 0.2)
            while time.monotonic() < end:
                source.move(5)
            follower.kill()
        if dice.random() < 0.5:
            content(output)
    with ltxcore.follow(source.client, output, interval=0.01) as running:
        running.wait(timeout=10)
    assert content(output) == content(source.path)
