"""`restore --follow`: what it refuses, what it prints, and how it ends."""

import json
import shutil
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest

from ltxcore.cli import _keep_up
from ltxcore.cli._child import Events
from ltxcore.errors import DatabaseError, RestoreCancelledError

from tests.helpers.process import until
from tests.helpers.replicas import Source, content


@pytest.fixture
def source(tmp_path: Path) -> Source:
    made = Source(tmp_path)
    made.move()
    return made


@pytest.mark.parametrize(
    "extra", [["--txid", "0000000000000001"], ["--timestamp", "2026-01-01T00:00:00Z"], ["--dry-run"]]
)
def test_what_it_does_not_go_with(run, tmp_path, extra):
    done = run("restore", "-f", *extra, "-o", tmp_path / "out.db", tmp_path)
    assert done.exit_code == 2
    assert "--follow excludes" in done.stderr


def test_what_cannot_be_continued(run, source, tmp_path):
    (tmp_path / "out.db").write_bytes(b"mine")
    done = run("restore", "-f", "-o", tmp_path / "out.db", source.replica)
    assert done.exit_code == 1
    assert "out.db-txid does not" in done.stderr
    assert run("restore", "-f", "-follow-interval", "0", "-o", "x", source.replica).exit_code == 2


def test_nothing_to_do(run, source, tmp_path):
    (tmp_path / "out.db").write_bytes(b"mine")
    arguments = ("restore", "-f", "-o", tmp_path / "out.db")
    assert run(*arguments, "--if-db-not-exists", source.replica).exit_code == 0
    (tmp_path / "empty").mkdir()
    assert (
        run("restore", "-f", "-o", tmp_path / "x.db", "--if-replica-exists", tmp_path / "empty").exit_code
        == 0
    )


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(ltxcore, source, tmp_path, number):
    output = tmp_path / "out.db"
    arguments = ("restore", "--follow", "--follow-interval", "20ms", "-o", output, source.replica, "--json")
    for verb in ("restored", "resuming"):
        process = ltxcore.start(*arguments)
        until(lambda: Path(f"{output}-txid").exists(), what="the first restore")
        source.move()
        until(lambda: Path(f"{output}-txid").read_text() == f"{source.txid:016x}\n", what="following")
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        assert json.loads(out) == {
            "db_path": str(output),
            "replica": "file",
            "txid": f"{source.txid:016x}",
            "integrity_check": "none",
        }
        assert f"{verb} {output} at TXID" in err
    assert content(output) == content(source.path)


def test_a_signal_calls_the_restore_off(source, tmp_path, monkeypatch):
    class Asked(Events):
        def __init__(self) -> None:
            super().__init__()
            self.asked = True

    monkeypatch.setattr(_keep_up, "Events", Asked)
    monkeypatch.setattr(_keep_up, "start_log", lambda level: None)

    settings = {"overwrite": False, "parallelism": 1, "integrity_check": "none"}
    with pytest.raises(RestoreCancelledError):
        _keep_up.watched(None, Asked())(None)
    assert _keep_up.keep_up(source.client, "x", tmp_path / "out.db", 1.0, settings, nullcontext) is None


def test_a_thread_that_ends_ends_the_command(source, tmp_path, monkeypatch):
    """The process stayed, followed nothing, and said nothing."""
    monkeypatch.setattr(_keep_up, "start_log", lambda level: None)

    def fail(self: object) -> float:
        raise MemoryError

    monkeypatch.setattr("ltxcore.FollowedDatabase._attempt", fail)
    settings = {"overwrite": False, "parallelism": 1, "integrity_check": "none"}
    with pytest.raises(DatabaseError, match="has ended: MemoryError"):
        _keep_up.keep_up(source.client, "x", tmp_path / "out.db", 1.0, settings, nullcontext)


@pytest.mark.process
def test_a_database_that_was_deleted_is_a_failure(ltxcore, source, tmp_path):
    """It said at which TXID the database was that did not exist, with exit code 0."""
    output = tmp_path / "out.db"
    process = ltxcore.start("restore", "-f", "--follow-interval", "20ms", "-o", output, source.replica)
    until(lambda: Path(f"{output}-txid").exists(), what="the first restore")
    assert "restored" in process.stderr.readline() and "following" in process.stderr.readline()
    output.unlink()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"Error: the followed database is gone: {output}\n" in err
    assert "is at TXID" not in err and out == ""


@pytest.mark.process
def test_another_history(ltxcore, source, tmp_path):
    """It is refused with exit code 1, or replaces what is there when that was asked for."""
    output = tmp_path / "out.db"
    arguments = ("restore", "-f", "--follow-interval", "20ms", "-o", output, source.replica)

    def run_until(txid: int, *options: str) -> None:
        process, sidecar = ltxcore.start(*arguments, *options), Path(f"{output}-txid")
        until(
            lambda: sidecar.exists() and sidecar.read_text() == f"{txid:016x}\n",
            what=f"TXID {txid}",
        )
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20) and process.returncode == 0

    run_until(2)
    before = output.read_bytes()
    shutil.rmtree(source.replica)
    source.path.unlink()
    other = Source(source.path.parent)
    other.move()
    other.move()
    refused = ltxcore.start(*arguments)
    _, err = refused.communicate(timeout=20)
    assert refused.returncode == 1 and "another history" in err and "--on-divergence restore" in err
    assert output.read_bytes() == before
    run_until(3, "--on-divergence", "restore")
    assert content(output) == content(other.path)
