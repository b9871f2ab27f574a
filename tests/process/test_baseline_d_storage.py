"""What breaks Litestream 0.5.17 on the side of the replica and the disks, one test a failure.

Two of them need a file system that can be made small or read-only, which takes root.
"""

import contextlib
import datetime
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers import ltxfile
from tests.helpers.app import digest
from tests.helpers.healing import assert_heals, assert_typed, barrier_and_compare
from tests.helpers.process import ChildError
from tests.helpers.profiles import marks, sized
from tests.helpers.replicators import RestoreRefused
from tests.helpers.site import Site

pytestmark = [pytest.mark.process, *marks(120, 600)]

Mount = Callable[[Path, str], None]


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.fixture
def tmpfs() -> Iterator[Mount]:
    """Mounts (or remounts) a small file system: `tmpfs(path, "size=2m")`."""
    mounted: list[Path] = []

    def mount(path: Path, options: str) -> None:
        again = "remount," if path in mounted else ""
        path.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", again + options, "tmpfs", str(path)],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            pytest.skip(f"cannot mount a tmpfs here (that takes root): {done.stderr.strip()}")
        if not again:
            mounted.append(path)

    yield mount
    for path in mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def lose_one(site: Site, txid: int) -> None:
    (site.replica / f"ltx/0/{txid:016x}-{txid:016x}.ltx").unlink()


def test_time_travel_across_a_lost_file_is_refused(site: Site) -> None:
    """A transaction in the middle of the replica is lost. A restore to a time after it must not give the state before it.

    Litestream ends with status 0 and 20 of 60 rows.
    """
    replicator = site.running()
    with site.app() as app:
        app.insert(20)
        first = replicator.barrier()
        app.insert(20)
        second = replicator.barrier()
        app.insert(20)
        replicator.barrier()
        expected, rows = site.digest(), app.rows()
        time.sleep(0.05)
        when = now()
        time.sleep(0.05)
        app.insert(20)
        replicator.barrier()
        replicator.kill()
    assert rows == 60 and second > first
    lose_one(site, second)
    with contextlib.suppress(RestoreRefused):
        assert digest(site.restored(timestamp=when)) == expected


def test_a_lost_file_is_sent_again(site: Site) -> None:
    """The replicator still has the file that the replica lost: after a restart at the latest, everything restores.

    Litestream does not notice, and the newest state cannot be restored any more.
    """
    replicator = site.running()
    with site.app() as app:
        for _ in range(4):
            app.insert(20)
            lost = replicator.barrier()
        app.insert(20)
        replicator.barrier()
        lose_one(site, lost)
        replicator.stop()
        replicator.start()
        app.insert(20)
        assert_heals(site, replicator)
    ltxfile.assert_contiguous(site.replica)


def test_replica_disk_full(site: Site, tmpfs: Mount) -> None:
    """The replica's disk fills up: an error that says so, an application that does not notice, and then recovery."""
    tmpfs(site.replica, "size=1m")
    replicator = site.running()
    with site.app() as app:
        app.insert(20)
        replicator.barrier()
        app.insert(1500, size=2000, commits=False)
        with pytest.raises(ChildError) as caught:
            replicator.barrier(3)
        assert_typed(caught.value)
        app.insert(200)
        tmpfs(site.replica, "size=64m")
        assert_heals(site, replicator)


def test_replica_read_only_for_a_while(site: Site, tmpfs: Mount) -> None:
    """The replica cannot be written for some seconds; soon after, all is there (Litestream: after 0.6 s)."""
    tmpfs(site.replica, "size=64m")
    replicator = site.running()
    with site.app() as app:
        app.insert(20)
        replicator.barrier()
        tmpfs(site.replica, "ro,size=64m")
        app.insert(20)
        with pytest.raises(ChildError) as caught:
            replicator.barrier(sized(2, 6))
        assert_typed(caught.value)
        tmpfs(site.replica, "rw,size=64m")
        assert_heals(site, replicator)


def test_local_disk_full(site: Site, tmpfs: Mount) -> None:
    """No room beside the database for our own files: nothing breaks, and it goes on once there is room."""
    small = site.root / "small"
    tmpfs(small, "size=24m")
    site.db = small / "db"
    replicator = site.running()
    with site.app() as app:
        app.insert(200, size=2000)
        replicator.barrier()
        app.insert(1000, size=5000, commits=False)
        fill(small / "filler")
        try:
            replicator.barrier(3)
        except ChildError as error:
            assert_typed(error)
        (small / "filler").unlink()
        app.insert(20)
        assert_heals(site, replicator)


def fill(path: Path) -> None:
    """A file that takes all the room there is."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(65536)):
            pass


@pytest.mark.parametrize("stop", ["kill", "term"])
def test_restart_after_truncate_sends_a_difference(site: Site, stop: str) -> None:
    """The WAL was checkpointed and cut while the replicator was away: only what changed is sent.

    Litestream sends a whole image (104 MB for a 200 MB database).
    """
    replicator = site.running()
    with site.app() as app:
        app.insert(1000, size=2000)
        known = replicator.barrier()
        replicator.stop() if stop == "term" else replicator.kill()
        app.insert(5)
        app.checkpoint("TRUNCATE")
        app.insert(5)
        replicator.start()
        barrier_and_compare(site, replicator)
        sent = ltxfile.after(site.replica, known)
        assert sent and not any(file.holds_every_page for file in sent)
        assert sum(len(file.pages) for file in sent) < app.page_count() // 4


def test_replica_copied_without_times_restores_by_time(site: Site) -> None:
    """A copy with new modification times. Litestream: "timestamp does not exist", for every time."""
    replicator = site.running()
    states: list[tuple[str, str]] = []
    with site.app() as app:
        for _ in range(4):
            app.insert(20)
            replicator.barrier()
            time.sleep(0.02)
            states.append((now(), site.digest()))
            time.sleep(0.02)
        app.insert(1)
        replicator.barrier()
        replicator.stop()
    copied = site.root / "copied"
    shutil.copytree(site.replica, copied, copy_function=shutil.copyfile)
    for path in copied.rglob("*.ltx"):
        os.utime(path)
    for when, expected in states:
        assert digest(site.restored(replica=copied, timestamp=when)) == expected, when
