"""restore(update=True): a copy is brought to a newer state, and only what has changed since is read."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, FileClient, Replica
from ltxcore._restore.history import History
from ltxcore._restore.update import Update
from ltxcore.errors import ConfigError, OutputExistsError, ReplicaError

from tests.helpers.app import App
from tests.unit.memory import MemoryClient, history, ltx_file, merge, page

ROWS = 4000


class Place:
    """A database, its replica, a copy that is updated, and what a whole restore would be."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.replica = directory / "replica"
        self.copy = directory / "copy.db"
        self.app = App(directory / "app.db")
        self.app.insert(ROWS, size=400, commits=False)
        self.db = DB(self.app.path, replica=self.replica)
        self.db.open()
        self.db.wait()

    def change(self, part: float = 0.01) -> None:
        """Write to this part of the pages, one transaction each fifth of it."""
        step = int(1 / part) * 8
        for turn in range(5):
            self.app.execute(
                "UPDATE entry SET body = hex(randomblob(200)) WHERE id % ? = 3", step * 5 * (turn + 1)
            )
            self.db.wait()

    def remove(self, level: int, *, all_but: int = 0) -> None:
        client = FileClient(self.replica)
        files = list(client.ltx_files(level))
        client.delete_ltx_files(files[: len(files) - all_but])

    def expected(self, **options: object) -> bytes:
        whole = self.directory / "whole.db"
        ltxcore.restore(self.replica, whole, overwrite=True, **options)  # type: ignore[arg-type]
        return whole.read_bytes()

    def update(self, **options: object) -> ltxcore.RestoreResult:
        result = ltxcore.restore(self.replica, self.copy, update=True, **options)  # type: ignore[arg-type]
        left = {"copy.db", "copy.db-txid", "copy.db-ltxcore"}
        assert {name for name in os.listdir(self.directory) if name.startswith("copy")} == left
        return result

    def is_right(self, **options: object) -> bool:
        return self.copy.read_bytes() == self.expected(**options)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    try:
        yield place
    finally:
        place.db.close()
        place.app.connection.close()


def test_only_what_changed_is_read(place: Place) -> None:
    first = place.update()
    assert not first.updated
    place.change()
    second = place.update()
    assert second.updated and place.is_right()
    assert 0 < second.bytes_read <= 0.03 * first.bytes_read
    assert second.pos == place.db.wait()


def test_an_unchanged_copy_takes_nothing(place: Place) -> None:
    first = place.update()
    second = place.update()
    assert (second.updated, second.files, second.bytes_read) == (True, (), 0)
    assert second.pos == first.pos and place.is_right()


def test_files_that_were_merged_since(place: Place) -> None:
    place.db.compact(1)
    first = place.update()
    place.change()
    place.db.compact(1)
    place.change()
    place.db.compact(1)
    place.remove(0, all_but=1)
    second = place.update()
    assert second.updated and place.is_right()
    assert second.bytes_read <= 0.05 * first.bytes_read


def test_a_snapshot_in_place_of_all_else(place: Place) -> None:
    """Nothing says what has changed, so everything is read."""
    place.update()
    place.change()
    place.db.snapshot()
    place.remove(0, all_but=1)
    result = place.update()
    assert place.is_right()
    assert any(file.level == 9 for file in result.files)


def test_to_an_older_state(place: Place) -> None:
    old = place.db.wait().txid
    place.change()
    place.update()
    result = place.update(txid=old)
    assert (result.updated, result.pos.txid) == (False, old)
    assert place.is_right(txid=old)
    assert place.update().updated and place.is_right()


def test_another_journal_mode(place: Place) -> None:
    place.update(journal_mode="delete")
    assert place.copy.read_bytes()[18:20] == b"\1\1"
    place.change()
    assert place.update().updated and place.is_right()
    place.change()
    assert place.update(journal_mode="delete").updated
    assert place.is_right(journal_mode="delete")


def test_a_copy_that_was_written_to(place: Place) -> None:
    place.update()
    with closing(sqlite3.connect(place.copy, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE mine (body)")
        connection.execute("DELETE FROM entry WHERE id > 100")
        connection.execute("VACUUM")
    place.change()
    result = place.update()
    assert not result.updated and place.is_right()


def test_another_history_under_the_same_name(place: Place, tmp_path: Path) -> None:
    place.change()
    place.update()
    place.db.close()
    place.app.connection.close()
    Replica(place.replica).client.delete_all()
    other = tmp_path / "other"
    other.mkdir()
    again = Place(other)
    again.db.close()
    again.replica, again.db = place.replica, DB(again.app.path, replica=place.replica)
    with again.db:
        for _ in range(3):
            again.change()
        place.update()
        assert place.is_right()
    again.app.connection.close()


def test_what_is_not_known_is_not_replaced(place: Place) -> None:
    place.copy.write_bytes(b"something else")
    with pytest.raises(OutputExistsError, match="was not restored with") as caught:
        ltxcore.restore(place.replica, place.copy, update=True)
    assert "overwrite=True" in str(caught.value.hint)
    assert place.copy.read_bytes() == b"something else"
    assert not place.update(overwrite=True).updated
    assert place.update().updated and place.is_right()


def test_a_follower_goes_on_with_it_and_the_other_way_around(place: Place) -> None:
    place.update()
    place.change()
    with ltxcore.follow(place.replica, place.copy, interval=0.05) as followed:
        assert followed.restored is None
        followed.wait(timeout=20)
        place.change()
        followed.wait(timeout=20)
    place.change()
    assert place.update().updated and place.is_right()


@pytest.mark.parametrize("mode", ["keep", "delete"])
def test_what_a_follower_changed_in_page_1_is_taken_back(place: Place, mode: str) -> None:
    """The journal mode and the change counter, where no file brings page 1, and before anybody has updated the copy."""
    with ltxcore.follow(place.replica, place.copy, interval=0.05) as followed:
        place.change()
        followed.wait(timeout=20)
        assert place.copy.read_bytes()[18:20] == b"\1\1"
    for _ in range(2):
        result = place.update(journal_mode=mode)
        assert result.updated and result.files == ()
        assert place.is_right(journal_mode=mode)
        place.change()
        assert place.update(journal_mode=mode).updated and place.is_right(journal_mode=mode)


def test_a_follower_goes_on_without_a_comparison(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although it takes the database out of WAL mode."""
    monkeypatch.setattr(History, "_compare", lambda *_: 1 / 0)
    place.update()
    place.change()
    with ltxcore.follow(place.replica, place.copy, interval=0.05) as followed:
        followed.wait(timeout=20)
    place.update()
    assert place.is_right()
    with ltxcore.follow(place.replica, place.copy, interval=0.05) as followed:
        followed.wait(timeout=20)


def test_a_follower_that_finds_nothing_new_leaves_what_the_copy_stands_on(place: Place) -> None:
    place.db.compact(1)
    place.change()
    place.update(journal_mode="delete")
    record = Path(f"{place.copy}-ltxcore")
    before = json.loads(record.read_text())
    assert before["witnesses"]
    with ltxcore.follow(place.replica, place.copy, interval=0.05) as followed:
        followed.wait(timeout=20)
    assert json.loads(record.read_text()) == before


def test_without_checksums_the_file_that_ended_there_is_the_proof(tmp_path: Path) -> None:
    client, copy = history(5), tmp_path / "copy.db"
    ltxcore.restore(client, copy, update=True)
    client.files[0, 6, 6] = ltx_file({2: page(66)}, commit=2, min_txid=6)
    result = ltxcore.restore(client, copy, update=True)
    assert result.updated and [file.min_txid for file in result.files] == [6]
    assert copy.read_bytes() == page(5) + page(66)


@pytest.mark.parametrize("lost", ["mark", "time", "record"])
def test_without_checksums_and_proof_everything_is_read(tmp_path: Path, lost: str) -> None:
    client, copy = history(5), tmp_path / "copy.db"
    ltxcore.restore(client, copy, update=True)
    client.files[0, 6, 6] = ltx_file({2: page(66)}, commit=2, min_txid=6)
    if lost == "mark":
        merge(client)
    elif lost == "time":
        os.utime(copy, ns=(1, 1))
    else:
        (tmp_path / "copy.db-ltxcore").unlink()
    result = ltxcore.restore(client, copy, update=True)
    assert not result.updated
    assert copy.read_bytes() == page(5) + page(66)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("file.level", 300),
        ("file.level", 10),
        ("file.level", -1),
        ("file.size", 1 << 70),
        ("file.size", 1e300),
        ("file.size", float("inf")),
        ("file.checksum", "f" * 20),
        ("file.checksum", "-1"),
        ("database.change_counter", 1 << 32),
        ("database.size", -1),
        ("database.mtime_ns", 1 << 64),
        ("page_1", "1" * 20),
    ],
)
def test_numbers_of_a_record_that_cannot_be_are_no_record(tmp_path: Path, field: str, value: object) -> None:
    client, copy = history(5), tmp_path / "copy.db"
    ltxcore.restore(client, copy, update=True)
    before, path = copy.read_bytes(), tmp_path / "copy.db-ltxcore"
    record = json.loads(path.read_text())
    *above, last = field.split(".")
    place = record[above[0]] if above else record
    assert last in place
    place[last] = value
    path.write_text(json.dumps(record))
    result = ltxcore.restore(client, copy, update=True)
    assert not result.updated
    assert copy.read_bytes() == before


def test_a_database_that_shrinks_and_grows(tmp_path: Path) -> None:
    client, copy = history(2), tmp_path / "copy.db"
    ltxcore.restore(client, copy, update=True)
    client.files[0, 3, 3] = ltx_file({1: page(7)}, commit=1, min_txid=3)
    assert ltxcore.restore(client, copy, update=True).updated
    assert copy.read_bytes() == page(7)
    client.files[0, 4, 4] = ltx_file({2: page(8), 3: page(9)}, commit=3, min_txid=4)
    assert ltxcore.restore(client, copy, update=True).updated
    assert copy.read_bytes() == page(7) + page(8) + page(9)


def test_a_failed_update_leaves_the_copy(tmp_path: Path) -> None:
    client, copy = history(3), tmp_path / "copy.db"
    ltxcore.restore(client, copy, update=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    client.files[0, 4, 4] = ltx_file({1: page(9)}, commit=2, min_txid=4)

    def fail(key: tuple[int, int, int]) -> None:
        if key == (0, 4, 4):
            raise ReplicaError("gone", transient=False)

    client.before_read = fail
    with pytest.raises(ReplicaError):
        ltxcore.restore(client, copy, update=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    client.before_read = lambda _key: None
    assert ltxcore.restore(client, copy, update=True).updated


def test_a_changed_page_size(tmp_path: Path) -> None:
    client, copy = MemoryClient(), tmp_path / "copy.db"
    client.files[0, 1, 1] = ltx_file({1: page(1)}, commit=1, min_txid=1)
    ltxcore.restore(client, copy, update=True)
    with pytest.raises(ConfigError):
        ltxcore.restore(client, copy, update=True, txid=1, timestamp="2026-01-01T00:00:00Z")


def test_a_kill_before_the_database_has_its_name_leaves_the_old_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is beside it is still true of it: Litestream goes on from there without a proof."""
    before = place.update().pos.txid
    old, prepared = place.copy.read_bytes(), Update.prepared
    place.change()

    def dies(self: Update, new: Path) -> None:
        prepared(self, new)
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Update, "prepared", dies)
        with pytest.raises(ZeroDivisionError):
            place.update()
    assert place.copy.read_bytes() == old
    assert int(Path(f"{place.copy}-txid").read_text(), 16) <= before
    place.update()
    assert place.is_right()


def test_a_kill_before_the_position_is_kept_leaves_something_to_update(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database has its name by then, and nothing beside it says more than that it is a copy."""
    for _ in range(2):
        place.change()
        with monkeypatch.context() as patch:
            patch.setattr(Update, "finish", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                place.update()
        assert place.is_right()
        place.change()
        place.update()
        assert place.is_right()
