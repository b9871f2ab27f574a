"""Blob stores on a file system that is really full."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ltxcore.blob_store import BlobStore, Options
from ltxcore.errors import StoreFullError

pytestmark = pytest.mark.process

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 20 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here (that takes root): {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(store: BlobStore, size: int = 100_000) -> int:
    """Put blobs until it fails; how many there are then."""
    for count in range(10_000):
        try:
            store[f"k{count}"] = os.urandom(size)
        except StoreFullError as error:
            assert error.hint
            return count
    raise AssertionError("it never was full")


@pytest.mark.parametrize("mode", ["wal", "delete", "truncate"])
@pytest.mark.parametrize("size", [4_000, 100_000, 3 * MIB])
def test_a_store_that_has_filled_its_disk_can_be_emptied(disk: Path, mode: str, size: int) -> None:
    """WAL and file together had taken all: there was no room to delete a single blob, and no word about what to do."""
    options = Options(durability="cache", journal_mode=mode)  # type: ignore[arg-type] # one of a list
    with BlobStore(disk / "c.db", capacity=None, options=options) as store:
        count = fill(store, size)
        assert count * size > 10 * MIB
        assert len(store["k0"]) == size
        store.delete("k1")
        store["k1"] = os.urandom(size)
        store.capacity = 5 * MIB
        assert store.usage().payload_bytes <= 5 * MIB
        store.clear()
        assert not list(store)
        store.capacity = None
        assert fill(store, size) >= count * 0.9
        assert store.check().is_clean
    with BlobStore(disk / "c.db") as store:
        assert store.check().is_clean


def test_the_wal_is_given_back_when_another_program_fills_the_disk(disk: Path) -> None:
    """The file has all its pages, so there is room in the WAL's place for what is written next."""
    options = Options(durability="cache", wal_autocheckpoint=0)
    with BlobStore(disk / "c.db", options=options) as store:
        for _ in range(8):
            store["same"] = os.urandom(MIB)
        store._engine._connection.execute("PRAGMA wal_checkpoint").fetchall()
        for _ in range(8):
            store["same"] = os.urandom(MIB)
        take_all(disk)
        store["same"] = b"short"
        store.delete("same")
        assert store.usage().wal_bytes < 2 * MIB


def test_without_any_room_the_error_says_what_to_do(disk: Path) -> None:
    """Another program has taken everything, and the WAL's pages have no place in the file."""
    options = Options(durability="cache", wal_autocheckpoint=0)
    with BlobStore(disk / "c.db", options=options) as store:
        for number in range(5):
            store[f"{number}"] = os.urandom(MIB)
        take_all(disk)
        with pytest.raises(StoreFullError) as caught:
            for number in range(5):
                store.delete(f"{number}")
            store.clear()
            for number in range(5):
                store[f"{number}"] = os.urandom(MIB)
        assert "free" in str(caught.value.hint)
        (disk / "junk").unlink()
        store.clear()
        store["a"] = b"first"
        assert store.check().is_clean and dict(store.items()) == {"a": b"first"}


def take_all(disk: Path) -> None:
    with open(disk / "junk", "wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free)
        except OSError:
            while file.write(bytes(4096)):
                file.flush()
