"""follow(on_divergence="restore"): a database that its replica does not continue is restored where it is."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ltxcore import errors, follow

from tests.helpers.replicas import Source, content
from tests.unit.databases import eventually
from tests.unit.followers import QUICK, another_history, begun, update


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltxcore._restore.followed.SETTLING", 0.3)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    made = Source(tmp_path)
    for _ in range(3):
        made.move(10)
    return made


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "copy" / "out.db"


@pytest.mark.parametrize("running", [True, False], ids=["running", "at-start"])
def test_starting_over_where_it_is(
    source: Source, output: Path, running: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Readers keep their connections, and see the new history as one transaction."""
    begun(source, output)
    inode = output.stat().st_ino
    with closing(sqlite3.connect(output)) as reader:
        assert reader.execute("SELECT count(*) FROM account").fetchone() == (32,)
        if running:
            with follow(source.client, output, interval=QUICK, on_divergence="restore") as following:
                other = another_history(source, 7)
                eventually(lambda: following.txid == 7)
                update(other, 3)
                following.wait(timeout=10)
        else:
            other = another_history(source, 7)
            update(other, 3)
            begun(other, output, on_divergence="restore")
        assert reader.execute("SELECT count(*) FROM account").fetchone() == (8,)
    assert content(output) == content(other.path)
    assert output.stat().st_ino == inode
    assert any("replacing the content" in record.message for record in caplog.records)
    assert Path(f"{output}-txid").read_text() == "0000000000000008\n"


@pytest.mark.parametrize("txid", [2, 4])
def test_starting_over_with_a_shorter_history(source: Source, output: Path, txid: int) -> None:
    begun(source, output)
    other = another_history(source, txid)
    with follow(other.client, output, interval=QUICK, on_divergence="restore") as running:
        eventually(lambda: running.txid == txid and content(output) == content(other.path))


def test_starting_over_with_another_page_size(
    source: Source, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(source, output)
    with closing(sqlite3.connect(output)) as reader:
        assert reader.execute("PRAGMA page_size").fetchone() == (512,)
        monkeypatch.setattr("tests.helpers.replicas.PAGE_SIZE", 4096)
        other = another_history(source, 6)
        begun(other, output, on_divergence="restore")
        assert reader.execute("SELECT count(*) FROM account").fetchone() == (7,)
        assert reader.execute("PRAGMA page_size").fetchone() == (4096,)
    assert content(output) == content(other.path)


def test_starting_over_takes_back_what_a_writer_did(source: Source, output: Path) -> None:
    with follow(source.client, output, interval=QUICK, on_divergence="restore") as running:
        with closing(sqlite3.connect(output)) as writer:
            writer.execute("DELETE FROM account WHERE id > 2")
            writer.commit()
        eventually(lambda: content(output) == content(source.path) and running.error is None)


def test_starting_over_has_its_pauses(source: Source, output: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A program that keeps writing to the copy must not have the whole replica read every second."""
    with follow(source.client, output, interval=QUICK, on_divergence="restore") as running:
        for done in (
            lambda: content(output) == content(source.path) and running.error is None,
            lambda: "wrote to it" in str(running.error),
        ):
            with closing(sqlite3.connect(output, timeout=10)) as writer:
                writer.execute("UPDATE account SET body = 'mine' WHERE id = 4")
                writer.commit()
            eventually(done)
        with pytest.raises(errors.ReplicaTimeoutError):
            running.wait(99, timeout=1)
    assert sum("replacing the content" in record.message for record in caplog.records) == 1


def test_a_replica_that_is_being_deleted(
    source: Source, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File by file it gets shorter: to restore what is left would throw newer data away, to keep older."""
    monkeypatch.setattr("ltxcore._restore.followed.SETTLING", 60.0)
    with follow(source.client, output, interval=QUICK, on_divergence="restore") as running:
        before = content(output)
        source.file(0, 4, 4).unlink()
        eventually(lambda: "the replica ends at 0000000000000003" in str(running.error))
        shutil.rmtree(source.replica)
        eventually(lambda: f"there is no replica: {source.replica} does not exist" in str(running.error))
        assert content(output) == before and running.txid == 4


def test_nothing_to_start_over_with(source: Source, output: Path) -> None:
    """A directory that is empty for a moment, such as one that is not mounted, must not cost the copy."""
    begun(source, output)
    before = content(output)
    hidden = source.replica.with_name("hidden")
    with follow(source.client, output, interval=QUICK, on_divergence="restore") as running:
        source.replica.rename(hidden)
        eventually(lambda: f"there is no replica: {source.replica} does not exist" in str(running.error))
        source.replica.mkdir()
        eventually(lambda: f"the replica is empty: {source.replica}" in str(running.error))
        source.replica.rmdir()
        assert content(output) == before
        hidden.rename(source.replica)
        eventually(lambda: running.error is None)


def test_how_to_diverge_is_checked(source: Source, output: Path) -> None:
    with pytest.raises(ValueError, match="on_divergence must be 'error' or 'restore': 'ask'"):
        begun(source, output, on_divergence="ask")
