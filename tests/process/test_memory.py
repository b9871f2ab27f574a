"""The memory of long operations does not grow with the database: 64 MiB above the bare interpreter, whatever the size.

The fast profile measures smaller databases against the same limit, each still several times larger than the limit.
Litestream needs 120 to 235 MB for some of them.
"""

import filecmp
from collections.abc import Iterator
from pathlib import Path

import pytest

import ltxcore

from tests.helpers import ltxfile, memory
from tests.helpers.profiles import marks, sized
from tests.helpers.site import Site

pytestmark = [pytest.mark.process, *marks(300, 3600)]


def assert_modest(task: str, *arguments: Path) -> None:
    used = memory.peak(task, *arguments)
    assert used <= memory.LIMIT, f"{task}: {used // 1024} MiB above the interpreter"


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """A directory whose large files go away with the test, not with pytest's third run after it."""
    yield tmp_path
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.stat().st_size > memory.MIB:
            path.unlink()


def test_the_measure_sees_a_hoarder() -> None:
    """A process that takes 100 MiB is over the limit."""
    assert memory.peak("hoard", "100") > memory.LIMIT


def test_large_database(room: Path) -> None:
    """First replication and snapshot of 1 GB (200 MB), and the restore of the snapshot."""
    db, replica, output = room / "db", room / "replica", room / "restored"
    memory.big_database(db, sized(200, 1000))
    assert_modest("replicate", db, replica)
    for path in ltxfile.names(replica):
        path.unlink()  # so that the snapshot is what is restored
    assert_modest("restore", replica, output)
    assert filecmp.cmp(output, db, shallow=False)


def test_small_pages(room: Path) -> None:
    """What is kept for each page counts most where pages are small: 300 MB (100 MB) of 512 bytes each."""
    db, replica, output = room / "db", room / "replica", room / "restored"
    memory.big_database(db, sized(100, 300), page_size=512)
    assert_modest("replicate", db, replica)
    assert_modest("restore", replica, output)
    assert filecmp.cmp(output, db, shallow=False)


def test_restore_of_many_files(room: Path) -> None:
    """200 MB in 2,000 L0 files (60 MB in 300): neither the files nor what is read ahead in each may add up."""
    site = Site(room)
    try:
        memory.many_files(site, sized(60, 200), sized(300, 2000))
        output = room / "restored"
        assert_modest("restore", site.replica, output)
        assert filecmp.cmp(output, site.reference(), shallow=False)
    finally:
        site.end()


def test_restore_of_a_v03_history(room: Path) -> None:
    """A snapshot of 400 MB (100 MB), large segments, and 10,000 (500) small ones: objects are expanded while they are read."""
    memory.legacy_history(room, sized(100, 400), sized(500, 10_000))
    assert_modest("restore", room / "replica", room / "restored")
    assert filecmp.cmp(room / "restored", room / "db", shallow=False)


def test_conversion_of_a_v03_history(room: Path) -> None:
    """The same history: neither the database, a large segment nor the number of states adds up. It restores to the same."""
    memory.legacy_history(room, sized(100, 400), sized(500, 10_000))
    assert_modest("verify_v03", room / "replica")
    assert_modest("convert", room / "replica", room / "converted")
    ltxcore.restore(room / "converted", room / "restored")
    assert filecmp.cmp(room / "restored", room / "db", shallow=False)


def test_sparse_database(room: Path) -> None:
    """4 GB of almost nothing (400 MB): a million pages, and in the large size the page at the lock byte."""
    db, replica, output = room / "db", room / "replica", room / "restored"
    memory.sparse_database(db, sized(400, 4096))
    assert_modest("replicate", db, replica)
    assert_modest("restore", replica, output)
    assert output.stat().st_size == db.stat().st_size
    assert filecmp.cmp(output, db, shallow=False)
