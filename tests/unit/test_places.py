"""Where local files and replicas are: paths do not move with the process, and no two things share a directory."""

import os
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, FileClient
from ltxcore.errors import ConfigError, DatabaseError

from tests.unit.databases import CREATE, insert, restored
from tests.unit.memory import MemoryClient, run_sql


def test_a_relative_replica_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every daemon changes its directory: uploads went to another one from then on, and `wait` said that all is well."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    run_sql(Path("app.db"), *CREATE)
    db = DB("app.db", replica=Path("backup"), meta_path="meta")
    client = FileClient("backup")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with db:
        insert(tmp_path / "app.db", 1)
        db.wait(timeout=10)
        monkeypatch.chdir(tmp_path)
        insert(tmp_path / "app.db", 2)
        db.wait(timeout=10)
    assert os.listdir("elsewhere") == []
    assert client.path == tmp_path / "backup"
    assert db.meta_path == tmp_path / "meta"
    assert restored(client, tmp_path) == [1, 2]


def at_the_local_files(meta: Path) -> Path:
    return meta


def below_the_local_files(meta: Path) -> Path:
    return meta / "more"


def at_their_levels(meta: Path) -> Path:
    return meta / "ltx"


def by_a_link(meta: Path) -> Path:
    link = meta.with_name("link")
    link.symlink_to(meta)
    return link


def by_a_link_to_a_level(meta: Path) -> Path:
    replica = meta.with_name("replica")
    (replica / "ltx").mkdir(parents=True)
    (replica / "ltx/3").symlink_to(meta / "ltx/0")
    return replica


PLACES = [at_the_local_files, below_the_local_files, at_their_levels, by_a_link, by_a_link_to_a_level]


@pytest.mark.parametrize("place", PLACES)
def test_a_replica_among_the_local_files_is_refused(database: Path, place) -> None:
    """The uploads, the retention and the clearing up of the one would be those of the other."""
    meta = database.with_name(f".{database.name}-litestream")
    (meta / "ltx/0").mkdir(parents=True)
    with pytest.raises(ConfigError, match="overlaps") as caught:
        DB(database, replica=place(meta))
    assert caught.value.key == "replica"
    assert caught.value.hint


def test_local_files_in_a_level_of_the_replica_are_refused(database: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="overlaps"):
        DB(database, replica=tmp_path / "r", meta_path=tmp_path / "r/ltx/0/meta")


def test_a_link_that_is_made_later_is_noticed_at_open(database: Path, tmp_path: Path) -> None:
    db = DB(database, replica=tmp_path / "replica")
    (tmp_path / "replica").symlink_to(db.meta_path)
    with pytest.raises(ConfigError, match="overlaps"):
        db.open()


def test_a_replica_beside_the_database_is_fine(database: Path, tmp_path: Path) -> None:
    """`<folder>/ltx` beside `<folder>/.app.db-litestream`."""
    with DB(database, replica=database.parent) as db:
        insert(database, 1)
        db.wait(timeout=10)
    assert restored(FileClient(database.parent), tmp_path) == [1]


@pytest.mark.parametrize("kind", ["directory", "client"])
def test_two_databases_do_not_share_a_replica(
    database: Path, tmp_path: Path, client: MemoryClient, kind: str
) -> None:
    other = tmp_path / "other.db"
    run_sql(other, *CREATE)
    (tmp_path / "link").symlink_to(tmp_path / "replica")
    first, second = (tmp_path / "replica", tmp_path / "link") if kind == "directory" else (client, client)
    db = DB(other, replica=second)
    with DB(database, replica=first):
        with pytest.raises(ConfigError, match="another database of this process") as caught:
            db.open()
        assert caught.value.hint
        with pytest.raises(DatabaseError, match="in use"):
            DB(database, replica=first).open()
        with pytest.raises(ConfigError):
            db.open()


def test_a_replica_is_free_again_after_a_close_and_after_a_failed_open(
    database: Path, tmp_path: Path, client: MemoryClient
) -> None:
    client.before_list = lambda _level: 1 / 0
    with pytest.raises(ZeroDivisionError):
        DB(database, replica=client).open()
    client.before_list = lambda _level: None
    other = tmp_path / "other.db"
    run_sql(other, *CREATE)
    ltxcore.replicate(other, client).close()
    client.files.clear()
    ltxcore.replicate(database, client).close()
