"""kill -9 of `ltxcore restore --update` at random moments: the copy is the old one or the new one, and can be updated."""

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, FileClient

from tests.helpers.app import App
from tests.helpers.process import Child, ended

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


class Loop:
    """An application, its replica, and a copy that is updated by processes that are killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.copy = folder, folder / "copy.db"
        self.app = App(folder / "app.db")
        self.app.insert(3000, size=3000, commits=False)
        self.db = DB(self.app.path, replica=folder / "replica")
        self.db.open()
        self.db.wait()
        self.db.compact(1)

    def close(self) -> None:
        self.db.close()
        self.app.connection.close()

    def change(self, turn: int) -> None:
        """One transaction more, and every other time merged files only."""
        self.app.execute("UPDATE entry SET body = hex(randomblob(1500)) WHERE id % 40 = ?", turn % 40)
        self.db.wait()
        if turn % 2:
            self.db.compact(1)
            client = FileClient(self.folder / "replica")
            client.delete_ltx_files(list(client.ltx_files(0))[:-1])

    def expected(self) -> bytes:
        ltxcore.restore(self.folder / "replica", self.folder / "whole.db", overwrite=True)
        return (self.folder / "whole.db").read_bytes()

    def update(self, *, killed_after: float | None = None) -> float:
        """How long it took, in seconds."""
        argv = [sys.executable, "-m", "ltxcore", "restore", str(self.folder / "replica")]
        start = time.monotonic()
        child = Child([*argv, "-o", str(self.copy), "--update"], self.folder / "log")
        with ended(child):
            if killed_after is None:
                assert child.wait(60) == 0, child.tail()
            else:
                time.sleep(killed_after)
                child.kill()
        return time.monotonic() - start


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    made = Loop(tmp_path)
    try:
        yield made
    finally:
        made.close()


def kill_again_and_again(loop: Loop, kills: int, dice: random.Random) -> None:
    loop.update()
    took, old = loop.update(), loop.copy.read_bytes()
    seen = {"old": 0, "new": 0}
    for turn in range(kills):
        loop.change(turn)
        new = loop.expected()
        loop.update(killed_after=took * dice.uniform(0.3, 1.3))
        found = loop.copy.read_bytes()
        assert found in (old, new)
        seen["new" if found == new else "old"] += 1
        if turn % 3 == 2:
            # The next one succeeds, and so does the one after that, whatever the killed ones have left.
            loop.update()
            assert loop.copy.read_bytes() == new
            loop.change(turn + 1)
            result = ltxcore.restore(loop.folder / "replica", loop.copy, update=True)
            assert result.updated and loop.copy.read_bytes() == loop.expected()
            left = {path.name for path in loop.folder.iterdir() if path.name.startswith("copy.db")}
            assert {"copy.db", "copy.db-txid", "copy.db-ltxcore"} <= left
        old = loop.copy.read_bytes()
    assert sum(seen.values()) == kills


def test_the_copy_is_the_old_one_or_the_new_one(loop: Loop) -> None:
    kill_again_and_again(loop, 9, random.Random(9))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_same_many_times(loop: Loop) -> None:
    kill_again_and_again(loop, 300, random.Random())
