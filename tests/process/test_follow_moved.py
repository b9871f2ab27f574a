"""A follower that is killed in the middle of a write, and then its directory is moved, or copied."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore

from tests.helpers.process import Child, ended
from tests.helpers.replicas import Source, content

pytestmark = pytest.mark.process


@pytest.fixture
def source(tmp_path: Path) -> Source:
    made = Source(tmp_path)
    made.move(20)
    return made


def killed(source: Source, folder: Path, place: str) -> Path:
    """A followed database whose follower ended at `place`, in the middle of the newest transaction."""
    output = folder / "out.db"
    argv = [sys.executable, "-m", "tests.helpers.follower", str(source.replica), str(output), place]
    follower = Child(argv, source.path.with_name("child.log"), talk=True)
    with ended(follower):
        assert follower.read_line(20) == "following"
        source.move()
        assert follower.wait(20) == 9
        follower.close_pipes()
    return output


def copied_with_links(old: Path, new: Path) -> None:
    subprocess.run(["cp", "-a", old, new], check=True)


def copied(old: Path, new: Path) -> None:
    shutil.copytree(old, new)


def renamed(old: Path, new: Path) -> None:
    old.rename(new)


@pytest.mark.parametrize("place", ["save", "half", "write"])
@pytest.mark.parametrize("take", [renamed, copied, copied_with_links])
def test_the_journal_goes_along(source: Source, tmp_path: Path, take: object, place: str) -> None:
    """Named by an absolute path, its marker was not found elsewhere: the torn pages were read as they are."""
    before = content(source.path)
    output = killed(source, tmp_path / "old", place)
    assert callable(take)
    take(output.parent, tmp_path / "new")
    there = tmp_path / "new" / "out.db"
    assert content(there) == before
    source.move()
    with ltxcore.follow(source.client, there, interval=0.02) as running:
        running.wait(timeout=10)
    assert content(there) == content(source.path)
    assert {each.name for each in there.parent.iterdir()} == {"out.db", "out.db-ltxcore", "out.db-txid"}


def test_whoever_reads_a_copy_leaves_the_original_alone(source: Source, tmp_path: Path) -> None:
    """A reader of the copy deleted the marker of the original, whose journal was void then."""
    before = content(source.path)
    output = killed(source, tmp_path / "old", "half")
    copied(output.parent, tmp_path / "new")
    assert content(tmp_path / "new" / "out.db") == before
    assert content(output) == before


@pytest.mark.parametrize("mode", ["TRUNCATE", "PERSIST"])
def test_a_reader_that_keeps_its_journals(source: Source, tmp_path: Path, mode: str) -> None:
    """Such a reader rolls back without deleting the journal, whose second name is left as well."""
    before = content(source.path)
    output = killed(source, tmp_path / "old", "half")
    with closing(sqlite3.connect(output)) as reader:
        reader.execute(f"PRAGMA journal_mode = {mode}")
        assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert content(output) == before
    with ltxcore.follow(source.client, output, interval=0.02) as running:
        running.wait(timeout=10)
    assert content(output) == content(source.path)
    assert {each.name for each in output.parent.iterdir()} == {"out.db", "out.db-ltxcore", "out.db-txid"}
