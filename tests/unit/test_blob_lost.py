"""Stores whose file is removed, renamed or replaced while they are open."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ltxcore.blob_store import BlobStore, Options
from ltxcore.errors import StoreMovedError

from tests.unit.blobs import opened, quick

MODES = ["wal", "delete", "truncate", "persist", "memory"]


def directory_removed(path: Path) -> None:
    shutil.rmtree(path.parent)


def directory_made_again(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()


def directory_renamed(path: Path) -> None:
    path.parent.rename(path.parent.with_name("away"))


def file_removed(path: Path) -> None:
    path.unlink()


def file_renamed(path: Path) -> None:
    path.rename(path.with_name("away.db"))


def another_renamed_over_it(path: Path) -> None:
    with opened(path.with_name("other.db")) as other:
        other["theirs"] = b"theirs"
    path.with_name("other.db").rename(path)


def another_store_in_its_place(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    with opened(path) as other:
        other["theirs"] = b"theirs"


LOSSES = [
    directory_removed,
    directory_made_again,
    directory_renamed,
    file_removed,
    file_renamed,
    another_renamed_over_it,
    another_store_in_its_place,
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "folder" / "store.db"
    found.parent.mkdir()
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lose", LOSSES)
def test_nothing_is_written_to_a_file_without_its_name(
    path: Path, lose: Callable[[Path], None], mode: str
) -> None:
    """`put` returned, and what it had committed was gone with the last descriptor of a file that had no name."""
    with opened(path, options=quick(journal_mode=mode)) as store:
        store["a"] = b"first"
        lose(path)
        for use in (
            lambda: store.put("b", b"second"),
            lambda: store.put("long", bytes(9 << 20)),
            lambda: store.put_nowait("later", b"third").result(),
            lambda: store.delete("a"),
            lambda: store.clear(),
            lambda: setattr(store, "capacity", 10),
            lambda: store.vacuum(),
        ):
            with pytest.raises(StoreMovedError, match="open store") as caught:
                use()
            assert caught.value.hint and caught.value.path == str(path)
    if lose is another_store_in_its_place:
        with opened(path) as other:
            assert list(other) == ["theirs"] and other.check().is_clean


def test_what_was_renamed_is_found_again(path: Path) -> None:
    """Nothing is lost as long as nothing is written: the store goes on when its file has its name back."""
    with opened(path) as store:
        store["a"] = b"first"
        away = path.with_name("away.db")
        path.rename(away)
        with pytest.raises(StoreMovedError):
            store["b"] = b"second"
        away.rename(path)
        store["b"] = b"second"
    with opened(path) as store:
        assert dict(store.items()) == {"a": b"first", "b": b"second"}


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("lose", LOSSES)
def test_readers_notice_it_as_well(
    path: Path, lose: Callable[[Path], None], mode: str, readonly: bool
) -> None:
    """Not at once: a look at every read would cost as much as the read."""
    with opened(path, options=quick(journal_mode=mode)) as store:
        store["a"] = b"first"
    with opened(path, options=quick(journal_mode=mode), readonly=readonly) as store:
        assert store.get("a") == b"first"
        lose(path)
        time.sleep(0.15)

        def read(count: int) -> None:
            for _ in range(count):
                store.get("a")

        with pytest.raises(StoreMovedError):
            read(200)
        # And again, every time.
        for use in (
            lambda: store.get("a"),
            lambda: store.stat("a"),
            lambda: list(store),
            lambda: store.open("a").read(),
        ):
            with pytest.raises(StoreMovedError):
                use()


def test_a_new_reader_is_one_of_the_same_file(path: Path) -> None:
    """A connection that is opened when it is needed would be one to whatever has the name by then."""
    with opened(path) as store:
        store["a"] = b"first"
        another_store_in_its_place(path)
        with pytest.raises(StoreMovedError):
            store.open("a").read()
            store.open("a").read()


def test_the_wal_is_removed(path: Path) -> None:
    """It has the last commits: without its name another process does not see them, and writes over them."""
    with opened(path) as store:
        store["a"] = b"first"
        os.unlink(f"{path}-wal")
        time.sleep(0.15)
        with pytest.raises(StoreMovedError, match="WAL"):
            store["b"] = b"second"


def overwrite(path: Path, source: Path) -> None:
    """What `cp` does: the file stays the same, with other content."""
    path.write_bytes(source.read_bytes())


@pytest.mark.parametrize("source", ["another store", "an older copy", "no store", "nothing"])
def test_another_file_is_copied_over_it(path: Path, tmp_path: Path, source: str) -> None:
    """The WAL's pages would be mixed with those of another file."""
    copy = tmp_path / "copy.db"
    if source == "another store":
        with opened(copy) as other:
            other["theirs"] = b"theirs"
    else:
        copy.write_bytes(b"" if source == "nothing" else bytes(8192))
    with opened(path) as store:
        store["a"] = b"first"
        if source == "an older copy":
            store._engine._connection.execute("PRAGMA wal_checkpoint").fetchall()
            shutil.copy(path, copy)
            for number in range(10):
                store[f"{number}"] = b"later"
        store._engine._connection.execute("PRAGMA wal_checkpoint").fetchall()
        store["b"] = b"second"
        overwrite(path, copy)
        with pytest.raises(StoreMovedError, match="overwritten"):
            store["c"] = b"third"


def test_checkpoints_of_others_are_no_loss(path: Path) -> None:
    with opened(path) as store, opened(path) as other:
        for number in range(50):
            if number == 10:
                descriptors = len(os.listdir("/proc/self/fd"))
            store[f"a{number}"] = b"first"
            other[f"b{number}"] = b"second"
            (store if number % 2 else other)._engine._connection.execute("PRAGMA wal_checkpoint").fetchall()
        # What other tests have left may go meanwhile.
        assert len(os.listdir("/proc/self/fd")) <= descriptors
        assert len(store) == 100


def test_a_store_behind_a_link_stays_where_it_is(tmp_path: Path) -> None:
    """The link may point elsewhere by now; the file has its name, and whoever opens it there finds what was put."""
    old, new, link = tmp_path / "old", tmp_path / "new", tmp_path / "link"
    old.mkdir()
    new.mkdir()
    link.symlink_to(old)
    with BlobStore(link / "store.db", options=Options(durability="cache")) as store:
        store["a"] = b"first"
        link.unlink()
        link.symlink_to(new)
        store["b"] = b"second"
    with opened(old / "store.db") as store:
        assert sorted(store) == ["a", "b"]
