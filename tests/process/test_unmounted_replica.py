"""The disk of a replica is not mounted for a while. Mounting takes root."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.healing import assert_heals, assert_typed
from tests.helpers.process import ChildError
from tests.helpers.profiles import marks
from tests.helpers.site import Site

pytestmark = [pytest.mark.process, *marks(60, 300)]


@pytest.fixture
def mount(site: Site) -> Iterator[Callable[[], None]]:
    """Mounts an empty file system at the replica; it is unmounted in the end."""

    def mount() -> None:
        site.replica.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(site.replica)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"cannot mount a tmpfs here (that takes root): {done.stderr.strip()}")

    yield mount
    site.end()
    unmount(site.replica)


def unmount(path: Path) -> None:
    subprocess.run(["umount", "--lazy", str(path)], check=False, capture_output=True)


def test_nothing_is_written_where_the_disk_was(site: Site, mount: Callable[[], None]) -> None:
    """Uploads went to the disk below, and were hidden when the other one came back, while all was said to be well."""
    mount()
    replicator = site.running()
    with site.app() as app:
        app.insert(20)
        replicator.barrier()
        unmount(site.replica)
        app.insert(20)
        with pytest.raises(ChildError, match="is not mounted") as caught:
            replicator.barrier(2)
        assert_typed(caught.value)
        assert not list(site.replica.iterdir())
        mount()  # another one, even: everything is sent again
        assert_heals(site, replicator)
        app.insert(20)
        assert_heals(site, replicator)
