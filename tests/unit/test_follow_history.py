"""follow(): the replica has to prove that it continues the database, by a known file or by a comparison of every page."""

import logging
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ltxcore import FollowedDatabase, errors, follow, ltx

from tests.helpers.replicas import Source, content
from tests.unit.databases import eventually
from tests.unit.followers import QUICK, another_history, begun, branch, update


@pytest.fixture
def source(tmp_path: Path) -> Source:
    made = Source(tmp_path)
    for _ in range(3):
        made.move(10)
    return made


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "copy" / "out.db"


@pytest.mark.parametrize("beyond", [0, 1, 5])
def test_another_history_is_refused(source: Source, output: Path, beyond: int) -> None:
    """A follower that was stopped at TXID 4 found a new history at 7, and put its pages among the old ones without a word."""
    begun(source, output)
    before = output.read_bytes()
    other = another_history(source, 4 + beyond)
    with pytest.raises(errors.RestoreError, match="another history") as caught:
        begun(other, output)
    assert "overwrite=True" in str(caught.value.hint)
    assert output.read_bytes() == before


def test_another_history_is_refused_while_running(source: Source, output: Path) -> None:
    """The replica is emptied, and begins again, under a follower that polls all the time."""
    with follow(source.client, output, interval=QUICK) as running:
        before = content(output)
        shutil.rmtree(source.replica)
        eventually(lambda: "there is no replica" in str(running.error))
        source.replica.mkdir()
        other = another_history(source, 8)
        with pytest.raises(errors.ReplicaTimeoutError) as caught:
            running.wait(timeout=2)
        assert "another history" in str(caught.value.__cause__)
        assert running.txid == 4 and content(output) == before
    assert other.txid == 8


def test_a_replica_that_was_rolled_back_and_took_another_branch(
    source: Source, output: Path, tmp_path: Path
) -> None:
    other = branch(source, tmp_path / "branch", 9)
    source.move()
    source.move()
    begun(source, output)
    with pytest.raises(errors.RestoreError, match="another history"):
        begun(other, output)
    # The replica that it was restored from still continues it.
    source.move()
    begun(source, output)
    assert content(output) == content(source.path)


def compared(caplog: pytest.LogCaptureFixture) -> int:
    return sum("comparing" in record.message for record in caplog.records)


def test_the_known_file_was_merged(source: Source, output: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Retention removes the file that the database stands on: every page that stays is compared."""
    caplog.set_level(logging.INFO, "ltxcore")
    begun(source, output)
    assert not compared(caplog)
    update(source, 1)
    update(source, 2)
    source.merge(1, 1, 4)
    source.merge(1, 5, 6)
    begun(source, output)
    assert compared(caplog) == 1
    assert content(output) == content(source.path)
    # With the new position proved, nothing is read twice.
    begun(source, output)
    assert compared(caplog) == 1


def test_the_known_file_was_merged_into_another_branch(source: Source, output: Path, tmp_path: Path) -> None:
    """No file of TXID 6 is left, and the merged one leaves pages of the old branch alone."""
    other = branch(source, tmp_path / "branch", 9)
    source.move()
    source.move()
    begun(source, output)
    before = output.read_bytes()
    other.merge(1, 5, 8)
    with pytest.raises(
        errors.RestoreError, match=r"page \d+ of .* is not the replica's at TXID 0000000000000009"
    ):
        begun(other, output)
    assert output.read_bytes() == before


def test_a_merged_branch_that_replaces_what_differs_is_exact(
    source: Source, output: Path, tmp_path: Path
) -> None:
    """Where the next files bring every page that differs, the database is the replica's whatever it was before."""
    other = branch(source, tmp_path / "branch", 9)
    update(source, 7)
    begun(source, output)
    other.merge(1, 4, 8)
    begun(other, output)
    assert content(output) == content(other.path)


@pytest.mark.parametrize("new", [0, 2])
def test_a_position_of_litestream_is_proved_by_comparison(
    source: Source, output: Path, new: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ltxcore")
    begun(source, output)
    Path(f"{output}-ltxcore").unlink()
    for n in range(new):
        update(source, n)
    begun(source, output)
    assert compared(caplog) == 1
    assert content(output) == content(source.path)
    begun(source, output)
    assert compared(caplog) == 1


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2}', '{"format": 1, "txid": 5}', "\xff"])
def test_a_record_that_says_nothing_is_none(source: Source, output: Path, text: str) -> None:
    begun(source, output)
    Path(f"{output}-ltxcore").write_text(text, "latin-1")
    update(source, 1)
    begun(source, output)
    assert content(output) == content(source.path)


def test_a_position_of_litestream_in_another_history(source: Source, output: Path) -> None:
    begun(source, output)
    Path(f"{output}-ltxcore").unlink()
    other = another_history(source, 4)
    update(other, 5)
    with pytest.raises(errors.RestoreError, match="is not the replica's"):
        begun(other, output)


def test_litestream_died_while_it_applied_many_files(
    source: Source, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes its position when it has applied all: pages of files that are far ahead are no other history."""
    monkeypatch.setattr("ltxcore._restore.history.BATCH", 2)
    begun(source, output)
    Path(f"{output}-ltxcore").unlink()
    for n in range(5):
        update(source, n)
    source.sql("UPDATE account SET body = 'late' WHERE id = 20")
    source.commit()
    data = source.path.read_bytes()
    with open(output, "r+b") as file:
        file.seek(512)
        file.write(data[512:])
    begun(source, output)
    assert content(output) == content(source.path)


def test_no_snapshot_to_compare_with(source: Source, output: Path) -> None:
    """The replica continues, but holds no whole database any more: nothing proves anything."""
    begun(source, output)
    Path(f"{output}-ltxcore").unlink()
    update(source, 1)
    source.file(0, 1, 1).unlink()
    with pytest.raises(errors.RestoreError, match="nothing in the replica proves"):
        begun(source, output)


def test_a_snapshot_that_was_written_once_more(
    source: Source, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A replicator that is started again may write the same snapshot, with another time in it: that is no other history."""
    caplog.set_level(logging.INFO, "ltxcore")
    source.merge(9, 1, 4)
    begun(source, output)
    snapshot = source.file(9, 1, 4)
    before = snapshot.read_bytes()
    with ltx.open(snapshot) as decoder, open(snapshot.with_suffix(".new"), "wb") as file:
        header = ltx.Header(
            page_size=512,
            commit=decoder.header.commit,
            min_txid=1,
            max_txid=4,
            timestamp=decoder.header.timestamp + timedelta(days=1),
        )
        encoder = ltx.Encoder(file, header)
        for pgno, page in decoder:
            encoder.write(pgno, page)
        encoder.finish(ltx.Checksum(0))
    snapshot.with_suffix(".new").rename(snapshot)
    assert snapshot.read_bytes() != before
    update(source, 3)
    begun(source, output)
    assert compared(caplog) == 1
    assert content(output) == content(source.path)


def test_a_writer_is_noticed(source: Source, output: Path) -> None:
    """Pages of ours among those of somebody who writes are a damaged database."""
    with follow(source.client, output, interval=QUICK) as running:
        with closing(sqlite3.connect(output)) as writer:
            writer.execute("INSERT INTO account (value, body) VALUES (0, 'mine')")
            writer.commit()
        eventually(lambda: "another program wrote to it" in str(running.error))
        update(source, 4)
        with pytest.raises(errors.ReplicaTimeoutError):
            running.wait(timeout=0.5)
    with pytest.raises(errors.RestoreError, match="another program wrote to it"):
        begun(source, output)
    with closing(sqlite3.connect(output)) as reader:
        assert reader.execute("SELECT count(*) FROM account WHERE body = 'mine'").fetchone() == (1,)


def test_another_file_copied_over_the_database(source: Source, output: Path, tmp_path: Path) -> None:
    """Its change counter may be the same; what was there before would be mixed with what is new."""
    begun(source, output)
    older = tmp_path / "older.db"
    shutil.copy(output, older)
    update(source, 4)
    begun(source, output)
    counter = output.read_bytes()[24:28]
    shutil.copyfile(older, output)
    with open(output, "r+b") as file:
        file.seek(24)
        file.write(counter)
    with pytest.raises(errors.RestoreError, match="is not the replica's"):
        begun(source, output)


def test_a_comparison_that_failed_is_not_repeated(
    source: Source, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ltxcore")
    with follow(source.client, output, interval=QUICK) as running:
        with closing(sqlite3.connect(output)) as writer:
            writer.execute("DELETE FROM account WHERE id = 3")
            writer.commit()
        eventually(lambda: running.error is not None)
        passes = running._passes
        update(source, 1)
        with pytest.raises(errors.ReplicaTimeoutError):
            running.wait(timeout=1.5)
        assert running._passes > passes
    assert compared(caplog) == 1


def test_a_comparison_can_be_called_off(source: Source, output: Path) -> None:
    source.sql("INSERT INTO account (value, body) SELECT 0, zeroblob(200000) FROM account LIMIT 2")
    source.commit()
    begun(source, output)
    Path(f"{output}-ltxcore").unlink()

    def progress(at: object) -> None:
        raise errors.RestoreCancelledError("enough")

    with pytest.raises(errors.RestoreCancelledError):
        begun(source, output, progress=progress)
    begun(source, output)


def test_what_was_half_done_needs_no_comparison(
    source: Source, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal takes the database back to the state that is known."""
    caplog.set_level(logging.INFO, "ltxcore")
    running = follow(source.client, output, interval=QUICK)
    real, failed = running._file, []

    class Failing:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def commit(self) -> None:
            running._file = real
            failed.append(1)
            raise OSError(5, "disk")

    running._file = Failing()  # type: ignore[assignment]
    update(source, 1)
    running.wait(timeout=10)
    running.close()
    assert failed and not compared(caplog)
    assert content(output) == content(source.path)


def test_a_restore_that_fails_leaves_the_old_position(source: Source, output: Path) -> None:
    """The sidecars went first: after a failed restore over it, the old database could not be continued any more."""
    begun(source, output)
    path = source.file(0, 2, 2)
    good = path.read_bytes()
    path.write_bytes(good[:-4])
    with pytest.raises(errors.FormatError):
        begun(source, output, overwrite=True)
    path.write_bytes(good)
    begun(source, output)


def test_relative_paths_are_taken_at_once(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with follow(source.client, "rel/out.db", interval=QUICK) as running:
        os.chdir("/")
        source.move()
        running.wait(timeout=10)
        assert running.path == tmp_path / "rel" / "out.db"
    assert Path(tmp_path / "rel" / "out.db-txid").exists()


def test_a_position_that_could_not_be_kept_is_kept_later(
    source: Source, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with follow(source.client, output, interval=QUICK) as running:
        assert isinstance(running, FollowedDatabase)
        real, failures = running._sidecars.write, []

        def write(position: Any) -> None:
            if not failures:
                failures.append(position)
                raise OSError(28, "no space")
            real(position)

        monkeypatch.setattr(running._sidecars, "write", write)
        source.move()
        running.wait(timeout=10)
        assert failures
    assert Path(f"{output}-txid").read_text() == "0000000000000005\n"
    begun(source, output)
