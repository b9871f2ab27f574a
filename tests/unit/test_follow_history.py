"""follow(): the replica has to prove that it continues the database, by a known file or by a comparison of every page."""

import logging
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ltxcore import TXID, FileClient, FollowedDatabase, errors, follow, ltx
from ltxcore.ltx import FileInfo

from tests.helpers.replicas import Source, content
from tests.unit.databases import eventually

QUICK = 0.02


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltxcore._followed.SETTLING", 0.3)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    made = Source(tmp_path)
    for _ in range(3):
        made.move(10)
    return made


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "copy" / "out.db"


def begun(source: Source, output: Path, **options: Any) -> TXID:
    """Follow up to what is newest, and end."""
    with follow(source.client, output, interval=QUICK, **options) as running:
        return running.wait(timeout=10)


def update(source: Source, value: int) -> None:
    """A transaction that changes one page, not the first."""
    source.sql(
        f"UPDATE account SET value = {value} WHERE id = 1",
        f"UPDATE account SET value = {-value} WHERE id = 2",
    )
    source.commit(without_page_1=True)


def another_history(source: Source, txid: int) -> Source:
    """The replica is emptied, and another database is replicated there up to `txid`."""
    shutil.rmtree(source.replica)
    source.path.unlink()
    other = Source(source.path.parent)
    while other.txid < txid:
        other.move(1)
    return other


def branch(source: Source, folder: Path, txid: int) -> Source:
    """The database and its replica as they are, once more, up to `txid` with other transactions of one page each."""
    folder.mkdir()
    other = Source.__new__(Source)
    other.path, other.replica = folder / "source.db", folder / "replica"
    other.client = FileClient(other.replica)
    other.txid, other.pages = source.txid, list(source.pages)
    shutil.copy(source.path, other.path)
    shutil.copytree(source.replica, other.replica)
    while other.txid < txid:
        update(other, 1000 + other.txid)
    return other


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
        eventually(lambda: "the replica ends at 0000000000000000" in str(running.error))
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


def test_no_snapshot_to_compare_with(source: Source, output: Path) -> None:
    """The replica continues, but holds no whole database any more: nothing proves anything."""
    begun(source, output)
    Path(f"{output}-ltxcore").unlink()
    update(source, 1)
    source.file(0, 1, 1).unlink()
    with pytest.raises(errors.RestoreError, match="nothing in the replica proves"):
        begun(source, output)


def test_a_snapshot_that_was_written_once_more(source: Source, output: Path) -> None:
    """A replicator that is started again may write the same snapshot with another time in it."""
    source.merge(9, 1, 4, keep=True)
    begun(source, output)
    snapshot = source.file(9, 1, 4)
    data = bytearray(snapshot.read_bytes())
    data[-1] ^= 1
    snapshot.write_bytes(data)
    source.merge(9, 1, 4, keep=True)
    update(source, 3)
    begun(source, output)
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
    assert any("restoring" in record.message for record in caplog.records)
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
        eventually(lambda: content(output) == content(source.path))
        assert running.error is None or "changed" in str(running.error)


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
    assert sum("restoring" in record.message for record in caplog.records) == 1


def test_the_source_has_another_page_size(source: Source, output: Path) -> None:
    """VACUUM changes every page: the next file is a whole database, and no reason to end."""
    begun(source, output)
    with closing(sqlite3.connect(output)) as reader:
        assert reader.execute("SELECT count(*) FROM account").fetchone() == (32,)
        update(source, 1)
        source.sql("PRAGMA page_size = 1024", "VACUUM")
        commit_whole(source, 1024)
        begun(source, output)
        assert reader.execute("SELECT count(*) FROM account").fetchone() == (32,)
    with closing(sqlite3.connect(output)) as reader:
        assert reader.execute("PRAGMA page_size").fetchone() == (1024,)
    assert content(output) == content(source.path)


def commit_whole(source: Source, page_size: int) -> None:
    data, source.txid = source.path.read_bytes(), source.txid + 1
    header = ltx.Header(
        page_size=page_size,
        commit=len(data) // page_size,
        min_txid=source.txid,
        max_txid=source.txid,
        timestamp=datetime.now(UTC),
    )
    with open(source.file(0, source.txid, source.txid), "wb") as file:
        encoder = ltx.Encoder(file, header)
        for at in range(0, len(data), page_size):
            encoder.write(at // page_size + 1, data[at : at + page_size])
        encoder.finish(ltx.Checksum(0))


def test_what_comes_before_a_damaged_file_is_applied(source: Source, output: Path) -> None:
    with follow(source.client, output, interval=QUICK) as running:
        hidden = source.replica.with_name("hidden")
        source.replica.rename(hidden)
        source.replica.symlink_to(hidden)
        source.move()
        source.move()
        path = source.file(0, 6, 6)
        path.write_bytes(path.read_bytes()[:-3])
        eventually(lambda: running.txid == 5 and isinstance(running.error, errors.FormatError))


def test_a_replica_that_is_being_deleted(
    source: Source, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File by file it gets shorter: to restore what is left would throw newer data away, to keep older."""
    monkeypatch.setattr("ltxcore._followed.SETTLING", 60.0)
    with follow(source.client, output, interval=QUICK, on_divergence="restore") as running:
        before = content(output)
        source.file(0, 4, 4).unlink()
        eventually(lambda: "the replica ends at 0000000000000003" in str(running.error))
        shutil.rmtree(source.replica)
        eventually(lambda: "the replica ends at 0000000000000000" in str(running.error))
        assert content(output) == before and running.txid == 4


def test_nothing_to_start_over_with(source: Source, output: Path) -> None:
    """A directory that is empty for a moment, such as one that is not mounted, must not cost the copy."""
    begun(source, output)
    before = content(output)
    hidden = source.replica.with_name("hidden")
    with follow(source.client, output, interval=QUICK, on_divergence="restore") as running:
        source.replica.rename(hidden)
        eventually(lambda: "the replica ends at 0" in str(running.error))
        assert content(output) == before
        hidden.rename(source.replica)
        eventually(lambda: running.error is None)


def test_how_to_diverge_is_checked(source: Source, output: Path) -> None:
    with pytest.raises(ValueError, match="on_divergence must be 'error' or 'restore': 'ask'"):
        begun(source, output, on_divergence="ask")


class Vanishing(FileClient):
    """The first reads of each file fail as if it had been merged away after it was listed."""

    times = 1

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.left: dict[str, int] = {}

    def open_ltx_file(self, level: int, min_txid: TXID, max_txid: TXID, **options: Any) -> Any:
        self._vanish(f"{level} {min_txid} {max_txid}")
        return super().open_ltx_file(level, min_txid, max_txid, **options)

    def read_ltx_file(self, level: int, min_txid: TXID, max_txid: TXID, **options: Any) -> bytes:
        self._vanish(f"{level} {min_txid} {max_txid}")
        return super().read_ltx_file(level, min_txid, max_txid, **options)

    def _vanish(self, name: str) -> None:
        left = self.left.setdefault(name, self.times)
        self.left[name] = max(0, left - 1)
        if left:
            raise errors.LTXFileNotFoundError(f"no such file: {name}")


def test_a_file_that_is_gone_when_it_is_read_is_looked_for_again(source: Source, output: Path) -> None:
    begun(source, output)
    client = Vanishing(source.replica)
    with follow(client, output, interval=QUICK) as running:
        source.move()
        running.wait(timeout=10)
        assert running.error is None
    assert content(output) == content(source.path)


def test_a_file_that_stays_away_is_an_error(source: Source, output: Path) -> None:
    begun(source, output)
    client = Vanishing(source.replica)
    client.times = 1000
    source.move()
    with pytest.raises(errors.LTXFileNotFoundError):
        begun(Named(source, client), output)


class Named:
    """A source behind another client."""

    def __init__(self, source: Source, client: FileClient) -> None:
        self.client = client


def test_files_that_come_while_levels_are_listed(source: Source, output: Path) -> None:
    """Level 0 was listed as nothing new, then as going on only at the very next transaction: no gap at all."""
    begun(source, output)

    class Late(FileClient):
        def ltx_files(self, level: int, **options: Any) -> Any:
            found: list[FileInfo] = list(super().ltx_files(level, **options))
            return iter([file for file in found if file.max_txid <= 4] if "seek" in options else found)

    source.move()
    with follow(Late(source.replica), output, interval=QUICK) as running:
        assert running.txid == 4 and running.error is None


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
