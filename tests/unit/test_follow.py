"""follow(): what it makes of files that come, of gaps, of what it finds at the output, and of readers."""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore
from ltxcore import TXID, FollowedDatabase, Pos, _ltxcore, errors, follow

from tests.helpers.replicas import Source, content
from tests.unit.databases import eventually

QUICK = 0.02


@pytest.fixture
def source(tmp_path: Path) -> Source:
    made = Source(tmp_path)
    for _ in range(3):
        made.move()
    return made


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "copy" / "out.db"


@pytest.fixture
def followed(source: Source, output: Path) -> Iterator[FollowedDatabase]:
    with follow(source.client, output, interval=QUICK) as running:
        yield running


def sidecar(output: Path) -> Path:
    return Path(f"{output}-txid")


def begun(source: Source, output: Path) -> None:
    follow(source.client, output, interval=QUICK).close()


def test_new_files_are_applied(source: Source, output: Path, followed: FollowedDatabase) -> None:
    assert followed.txid == 4 and followed.restored is not None
    for _ in range(5):
        source.move()
    assert followed.wait(timeout=10) == Pos(TXID(9))
    assert content(output) == content(source.path)
    source.shrink()
    followed.wait(10, timeout=10)
    assert content(output) == content(source.path)
    assert output.stat().st_size == source.path.stat().st_size
    assert sidecar(output).read_bytes() == b"000000000000000a\n"
    assert sorted(each.name for each in output.parent.iterdir()) == [
        "out.db",
        "out.db-ltxcore",
        "out.db-txid",
    ]


def test_it_is_in_rollback_mode_from_the_start(output: Path, followed: FollowedDatabase) -> None:
    """A reader in WAL mode keeps its lock for as long as its connection is open."""
    assert output.read_bytes()[18:20] == b"\1\1"


def test_an_idle_reader_sees_the_new_state(source: Source, output: Path, followed: FollowedDatabase) -> None:
    """A file without page 1 brings no new change counter of its own; readers must drop their caches nevertheless."""
    with closing(sqlite3.connect(output)) as reader:
        query = "SELECT value FROM account WHERE id = 1"
        assert reader.execute(query).fetchone() == (-3,)
        source.sql("UPDATE account SET value = 77 WHERE id = 1")
        source.commit(without_page_1=True)
        followed.wait(timeout=10)
        assert reader.execute(query).fetchone() == (77,)


def test_a_reader_in_this_process_is_waited_for(
    source: Source, output: Path, followed: FollowedDatabase
) -> None:
    with closing(sqlite3.connect(output, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        before = reader.execute("SELECT count(*) FROM account").fetchone()
        source.move()
        with pytest.raises(errors.ReplicaTimeoutError):
            followed.wait(timeout=0.7)
        assert reader.execute("SELECT count(*) FROM account").fetchone() == before
        reader.execute("COMMIT")
        followed.wait(timeout=10)
        assert reader.execute("SELECT count(*) FROM account").fetchone() > before


def test_closing_does_not_wait_for_a_reader(source: Source, output: Path) -> None:
    running = follow(source.client, output, interval=QUICK)
    with closing(sqlite3.connect(output, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM account").fetchone()
        source.move()
        with pytest.raises(errors.ReplicaTimeoutError):
            running.wait(timeout=0.3)
        running.close(timeout=5)
        assert running.txid == 4
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM account").fetchone() == (11,)


def test_it_goes_on_where_it_was(source: Source, output: Path) -> None:
    begun(source, output)
    inode = output.stat().st_ino
    source.move()
    with follow(source.client, output, interval=QUICK) as running:
        assert running.restored is None
        running.wait(timeout=10)
    assert content(output) == content(source.path)
    assert output.stat().st_ino == inode


def test_an_older_position_is_harmless(source: Source, output: Path) -> None:
    """The process died after the last page and before the sidecar: the same files are applied again."""
    begun(source, output)
    sidecar(output).write_text("0000000000000002\n")
    with follow(source.client, output, interval=QUICK) as running:
        running.wait(timeout=10)
    assert content(output) == content(source.path)


def test_gaps_are_filled_from_other_levels(source: Source, output: Path) -> None:
    begun(source, output)
    for _ in range(8):
        source.move()
    source.merge(1, 3, 6)
    source.merge(2, 7, 9)
    with follow(source.client, output, interval=QUICK) as running:
        assert running.wait(timeout=10).txid == 12
    assert content(output) == content(source.path)


def test_level_0_may_be_gone_altogether(source: Source, output: Path, followed: FollowedDatabase) -> None:
    source.move()
    followed.wait(timeout=10)
    source.move()
    source.move()
    source.merge(1, 6, 7)
    followed.wait(7, timeout=10)
    assert content(output) == content(source.path)


def test_a_snapshot_is_taken_where_nothing_else_leads_on(source: Source, output: Path) -> None:
    begun(source, output)
    source.move()
    source.move()
    source.merge(9, 1, 6, keep=True)
    for txid in (5, 6):
        source.file(0, txid, txid).unlink()
    source.move()
    assert [row[0] for row in _ltxcore.following(source.client, TXID(4))] == [9, 0]
    with follow(source.client, output, interval=QUICK) as running:
        running.wait(7, timeout=10)
    assert content(output) == content(source.path)


def test_beyond_the_newest_snapshot(source: Source, output: Path) -> None:
    """The normal case: the position is later than the last snapshot. Litestream refuses to go on there."""
    source.merge(9, 1, 2, keep=True)
    begun(source, output)
    source.move()
    with follow(source.client, output, interval=QUICK) as running:
        running.wait(timeout=10)
    assert content(output) == content(source.path)


def test_missing_history_is_refused(source: Source, output: Path) -> None:
    begun(source, output)
    source.move()
    source.move()
    source.file(0, 5, 5).unlink()
    with pytest.raises(errors.RestoreError, match="goes on only at 0000000000000006") as caught:
        begun(source, output)
    assert caught.value.hint


def test_a_replica_that_began_anew_is_refused(source: Source, output: Path) -> None:
    begun(source, output)
    for txid in (3, 4):
        source.file(0, txid, txid).unlink()
    with pytest.raises(errors.RestoreError, match="the replica ends at 0000000000000002"):
        begun(source, output)


def test_without_a_sidecar_nothing_is_touched(source: Source, output: Path) -> None:
    begun(source, output)
    sidecar(output).unlink()
    before = output.read_bytes()
    with pytest.raises(errors.OutputExistsError, match="-txid"):
        begun(source, output)
    assert output.read_bytes() == before
    with follow(source.client, output, overwrite=True) as running:
        assert running.restored is not None
    assert sidecar(output).exists()


@pytest.mark.parametrize("text", ["", "5", "0000000000000000\n", "none of it"])
def test_a_sidecar_that_says_nothing(source: Source, output: Path, text: str) -> None:
    begun(source, output)
    sidecar(output).write_text(text)
    with pytest.raises(errors.RestoreError, match="not a transaction id"):
        begun(source, output)


def test_a_sidecar_without_a_database_is_nothing(source: Source, output: Path) -> None:
    """The process died between the two: it is as if it had never begun."""
    output.parent.mkdir()
    sidecar(output).write_text("0000000000000003\n")
    with follow(source.client, output) as running:
        assert running.restored is not None
        assert sidecar(output).read_text() == "0000000000000004\n"


def test_one_follower_a_database(source: Source, output: Path, followed: FollowedDatabase) -> None:
    with pytest.raises(errors.DatabaseError, match="already followed"):
        begun(source, output)
    source.move()
    followed.wait(timeout=10)


def test_damaged_files_are_not_applied(
    source: Source, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun(source, output)
    before = content(output)
    source.move()
    path = source.file(0, 5, 5)
    good = path.read_bytes()
    path.unlink()
    with follow(source.client, output, interval=QUICK) as followed:
        path.write_bytes(good[:200] + bytes(8) + good[208:])
        eventually(lambda: isinstance(followed.error, errors.FormatError))
        assert content(output) == before
        assert any("following of" in record.message for record in caplog.records)
        path.write_bytes(good)
        followed.wait(timeout=10)
        assert content(output) == content(source.path)


def test_somebody_who_writes_is_noticed(source: Source, output: Path, followed: FollowedDatabase) -> None:
    Path(f"{output}-wal").write_bytes(b"frames")
    source.move()
    eventually(lambda: "somebody wrote" in str(followed.error))


@pytest.mark.parametrize("left", [b"", bytes(28)], ids=["truncated", "persistent"])
def test_a_journal_that_is_over_is_removed(
    source: Source, output: Path, followed: FollowedDatabase, left: bytes
) -> None:
    journal = Path(f"{output}-journal")
    journal.write_bytes(left)
    source.move()
    followed.wait(timeout=10)
    assert content(output) == content(source.path) and not journal.exists()


def test_a_file_that_was_replaced_is_left_alone(
    source: Source, output: Path, followed: FollowedDatabase
) -> None:
    output.rename(output.with_name("elsewhere.db"))
    output.write_bytes(b"another")
    source.move()
    eventually(lambda: "another file" in str(followed.error))
    assert output.read_bytes() == b"another"
    with pytest.raises(errors.DatabaseError, match="another file"):
        followed.check_place()


def test_a_file_that_is_gone_is_noticed(source: Source, output: Path, followed: FollowedDatabase) -> None:
    followed.check_place()
    output.unlink()
    source.move()
    eventually(lambda: "is gone" in str(followed.error))
    followed.close()
    with pytest.raises(errors.RestoreError, match="the followed database is gone"):
        followed.check_place()


def test_through_a_link(source: Source, output: Path, tmp_path: Path) -> None:
    begun(source, output)
    link = tmp_path / "link.db"
    link.symlink_to(output)
    sidecar(link).write_text("0000000000000004\n")
    source.move()
    with follow(source.client, link, interval=QUICK) as running:
        running.wait(timeout=10)
    assert content(output) == content(source.path)
    assert sidecar(link).read_text() == "0000000000000005\n"


def test_a_failure_half_way_is_rolled_back(
    source: Source, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails after the first pages: readers see the old state, and the next attempt succeeds."""
    begun(source, output)
    before = content(output)
    running = follow(source.client, output, interval=QUICK)
    real = running._file
    failed = threading.Event()

    class Failing:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def write(self, step: object) -> None:
            real.write(step)  # type: ignore[arg-type]
            running._file = real
            assert content_in_child(output) is None  # still locked
            failed.set()
            raise OSError(5, "disk")

    running._file = Failing()  # type: ignore[assignment]
    source.move()
    assert failed.wait(10)
    seen = content(output)
    assert seen in (before, content(source.path))
    running.wait(timeout=10)
    running.close()
    assert content(output) == content(source.path)


def content_in_child(path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=0)) as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("SELECT * FROM account").fetchall()


def test_wait_after_close(source: Source, output: Path) -> None:
    running = follow(source.client, output)
    running.close()
    running.close()
    with pytest.raises(errors.NotOpenError):
        running.wait(5)
    assert repr(running).startswith("FollowedDatabase(")


def test_arguments(source: Source, output: Path) -> None:
    for interval in (0, -1):
        with pytest.raises(errors.ConfigError, match="interval"):
            follow(source.client, output, interval=interval)
    with pytest.raises(errors.NoSnapshotError):
        follow(ltxcore.FileClient(output.parent / "none"), output)
    assert not output.exists()


def test_slow_readers_are_reported(
    source: Source, output: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ltxcore._restore.followed.SLOW_READER", 0.3)
    caplog.set_level(logging.WARNING)
    with (
        follow(source.client, output, interval=QUICK) as running,
        closing(sqlite3.connect(output, isolation_level=None)) as reader,
    ):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM account").fetchone()
        source.move()
        eventually(lambda: any("kept from changing" in record.message for record in caplog.records))
        reader.execute("COMMIT")
        running.wait(timeout=10)
