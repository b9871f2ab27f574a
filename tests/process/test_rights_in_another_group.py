"""What belongs to a user who is not in the group of the database: files beside it, or in its place, let no other group in.

The group could not be set, that was passed over, and then the file got the access rights of the database: a database that only
`accounting` could read was open to `users`.
"""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.replicas import Source
from tests.unit.followers import begun

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away"),
]

OWNER, GROUP, OTHER_GROUP = 61001, 61002, 61003
HUMBLE = f"""
import codecs, os, sys
from pathlib import Path
# All of it now: the interpreter may be where only root can read.
import ltxcore
from ltxcore._restore.followed_file import FollowedFile
codecs.lookup("ascii")
os.setgroups([])
os.setgid({OTHER_GROUP})
os.setuid({OWNER})
os.umask(0)
first, second = map(Path, sys.argv[1:])
"""
RESTORE = "ltxcore.restore(first, second, overwrite=True)"
REPLICATE = """
with ltxcore.DB(first, meta_path=second) as db:
    db.sync()
"""
FOLLOW = """
journal, shape = Path(f"{second}-journal"), FollowedFile.shape
def look(file):
    if journal.exists():
        found = journal.stat()
        print(found.st_uid, found.st_gid, oct(found.st_mode & 0o7777))
    return shape(file)
FollowedFile.shape = look
with ltxcore.follow(first, second) as followed:
    followed.wait(timeout=20)
"""


def run(script: str, first: Path, second: Path) -> str:
    """A script of the owner, who is in another group."""
    line = [sys.executable, "-c", HUMBLE + script, str(first), str(second)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=25)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def give(path: Path, mode: int) -> None:
    os.chown(path, OWNER, GROUP)
    path.chmod(mode)


def rights(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


@pytest.fixture
def source(open_folder: Path) -> Source:
    made = Source(open_folder)
    made.move()
    for path in (made.replica, *made.replica.rglob("*")):
        path.chmod(0o755)
    return made


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o660, 0o600), (0o664, 0o644), (0o604, 0o600), (0o644, 0o644)]
)
def test_a_restored_database(source: Source, mode: int, expected: int) -> None:
    give(source.path, mode)
    run(RESTORE, source.replica, source.path)
    assert rights(source.path) == (OWNER, OTHER_GROUP, expected)


def test_the_journal_of_a_followed_database(source: Source, open_folder: Path) -> None:
    output = open_folder / "out.db"
    begun(source, output)
    for path in open_folder.glob("out.db*"):
        give(path, 0o660)
    source.move()
    for path in source.replica.rglob("*"):
        path.chmod(0o755)
    assert run(FOLLOW, source.replica, output) == f"{OWNER} {OTHER_GROUP} 0o600"


@pytest.mark.parametrize(("mode", "dirs", "files"), [(0o660, 0o700, 0o600), (0o664, 0o755, 0o644)])
def test_the_meta_directory(source: Source, open_folder: Path, mode: int, dirs: int, files: int) -> None:
    source.sql("PRAGMA journal_mode = wal")
    give(source.path, mode)
    give(open_folder, mode | 0o110 | (mode & 0o4) >> 2)
    (elsewhere := open_folder.parent / "elsewhere").mkdir(mode=0o777)
    elsewhere.chmod(0o777)
    meta = elsewhere / "meta"
    run(REPLICATE, source.path, meta)
    made = [meta, *(path for path in meta.rglob("*") if path.is_dir())]
    assert {rights(path) for path in made} == {(OWNER, OTHER_GROUP, dirs)}
    written = [*meta.rglob("*.ltx"), meta / "ltxcore" / "lock"]
    assert len(written) > 1
    assert {rights(path) for path in written} == {(OWNER, OTHER_GROUP, files)}
