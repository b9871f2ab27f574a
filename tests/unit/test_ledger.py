"""What is known from one start to the next of the files of a replica: whether others were put in their place."""

import shutil
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, TXID, FileClient
from ltxcore.db import _copier, _reconcile
from ltxcore.db._ledger import Ledger
from ltxcore.errors import Error

from tests.unit.databases import eventually, forget_local_files, insert, ltx_path, restored
from tests.unit.memory import run_sql

COUNT = 6


def fill(path: Path, mark: str) -> None:
    rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 400)"
    run_sql(path, f"CREATE TABLE filler AS {rows} SELECT i, '{mark}' || i AS v FROM n")


def replicate(path: Path, replica: Path) -> DB:
    with DB(path, replica=replica) as db:
        for value in range(COUNT):
            insert(path, value)
            db.wait(timeout=10)
    return db


@pytest.fixture
def older(database: Path, tmp_path: Path) -> Path:
    """The replica of a history that was begun anew since; its first files have the sizes of the later ones."""
    fill(database, "old")
    db = replicate(database, tmp_path / "older")
    shutil.rmtree(db.meta_path)
    run_sql(database, "DELETE FROM t", "UPDATE filler SET v = 'new' || i")
    return tmp_path / "older"


def values(path: Path) -> list[tuple[object, ...]]:
    return run_sql(path, "SELECT * FROM filler ORDER BY i")


@pytest.mark.parametrize("is_too_large", [False, True])
@pytest.mark.parametrize("how", ["first file", "all that is older"])
def test_files_of_an_older_history_are_put_over_those_of_the_replica(
    database: Path,
    replica: Path,
    older: Path,
    tmp_path: Path,
    how: str,
    is_too_large: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Local files of their TXIDs are gone, so that only what is kept of them tells."""
    db = replicate(database, replica)
    for txid in range(1, COUNT):
        (db.meta_path / "ltx/0" / ltx_path(replica, 0, txid).name).unlink()
    for txid in range(1, 2 if how == "first file" else COUNT):
        shutil.copy(ltx_path(older, 0, txid), ltx_path(replica, 0, txid))
    if is_too_large:
        monkeypatch.setattr(_reconcile, "_MOST_BYTES", 0)
    try:
        with DB(database, replica=replica) as db:
            insert(database, COUNT)
            db.wait(timeout=10)
    except Error as error:
        assert "another history" in str(error)
        return
    ltxcore.restore(FileClient(replica), tmp_path / "out.db", integrity_check="quick")
    assert values(tmp_path / "out.db") == values(database)


def test_a_file_that_was_lost_comes_back_as_another_one(
    database: Path, replica: Path, older: Path, tmp_path: Path
) -> None:
    db = replicate(database, replica)
    for txid in range(1, COUNT):
        (db.meta_path / "ltx/0" / ltx_path(replica, 0, txid).name).unlink()
    with DB(database, replica=replica) as db:
        ltx_path(replica, 0, 1).unlink()
        db.wait(timeout=10)
        shutil.copy(ltx_path(older, 0, 1), ltx_path(replica, 0, 1))
        shutil.rmtree(replica / "ltx/9")
        insert(database, COUNT)
        try:
            db.wait(timeout=3)
        except Error as error:
            assert "another history" in str(error)
            shutil.rmtree(replica)
            db.wait(timeout=10)
    ltxcore.restore(FileClient(replica), tmp_path / "out.db", integrity_check="quick")
    assert values(tmp_path / "out.db") == values(database)


def test_merged_files_and_snapshots_are_not_read_again_at_a_start(
    database: Path, replica: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DB(database, replica=replica) as db:
        for value in range(COUNT):
            insert(database, value)
            db.wait(timeout=10)
        db.snapshot()
        db.compact(1)
        db.wait(timeout=10)
    forget_local_files(db)
    compared: list[TXID] = []
    monkeypatch.setattr(_copier.Copier, "_compare", lambda _self, txid: compared.append(txid))
    with DB(database, replica=replica) as db:
        insert(database, COUNT)
        db.wait(timeout=10)
    assert not compared
    assert restored(FileClient(replica), tmp_path) == list(range(COUNT + 1))


def test_damage_that_a_comparison_finds_is_healed(database: Path, replica: Path, tmp_path: Path) -> None:
    """It keeps the size of the file and both of its ends; without a ledger all is read, and it was passed over."""
    with DB(database, replica=replica) as db:
        for value in range(COUNT):
            insert(database, value)
            db.wait(timeout=10)
        db.snapshot()
    (db.meta_path / "ltxcore/replica-files").unlink()
    (snapshot,) = (replica / "ltx/9").iterdir()
    with snapshot.open("r+b") as file:
        file.seek(snapshot.stat().st_size // 2)
        was = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([was ^ 1]))
    forget_local_files(db)
    with DB(database, replica=replica) as db:
        insert(database, COUNT)
        db.wait(timeout=10)
        eventually(lambda: db.status().is_current)
    assert restored(FileClient(replica), tmp_path) == list(range(COUNT + 1))


def test_lines_that_a_crash_left_and_others_of_a_file_count_as_they_should(
    database: Path, replica: Path
) -> None:
    db = replicate(database, replica)
    path = db.meta_path / "ltxcore/replica-files"
    ledger = Ledger(FileClient(replica), db.meta_path)
    files = FileClient(replica).ltx_files(0)
    sizes = {(0, int(file.min_txid), int(file.max_txid)): file.size for file in files}
    assert ledger.check(sizes) == (sizes.keys(), set())
    whole = path.read_text()
    for cut in (1, 10, 20):
        path.write_text(whole[:-cut])
        known, others = ledger.check(sizes)
        # Without its newline the last line is whole.
        assert len(known) == len(sizes) - (cut > 1)
        assert not others
    # What is appended to a torn line is lost with it until the next time.
    path.write_text(whole[:-10])
    ledger.settle(sizes, [])
    known, _ = ledger.check(sizes)
    assert len(known) == len(sizes) - 1
    ledger.settle(sizes, [])
    assert ledger.check(sizes)[0] == sizes.keys()


def test_a_ledger_does_not_grow_for_ever(
    database: Path, replica: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ltxcore.db._ledger._SPARE_LINES", 0)
    db = replicate(database, replica)
    ledger = Ledger(FileClient(replica), db.meta_path)
    newest = {(0, COUNT, COUNT): ltx_path(replica, 0, COUNT).stat().st_size}
    ledger.settle(newest, [])
    assert len((db.meta_path / "ltxcore/replica-files").read_text().splitlines()) == 1
    assert ledger.check(newest) == (newest.keys(), set())


def test_a_ledger_is_no_link_of_somebody_else(database: Path, replica: Path, tmp_path: Path) -> None:
    """As with every file of the meta directory."""
    db = replicate(database, replica)
    path = db.meta_path / "ltxcore/replica-files"
    path.unlink()
    path.symlink_to(tmp_path / "precious")
    (tmp_path / "precious").write_text("mine")
    with DB(database, replica=replica) as db:
        insert(database, COUNT)
        db.wait(timeout=10)
    assert (tmp_path / "precious").read_text() == "mine"
