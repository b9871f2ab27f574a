"""`ltxcore replicate` over a stand-in for DB: options, order of steps, exit codes."""

import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

import ltxcore
from ltxcore import errors
from ltxcore.cli import replicate


class FakeDB:
    """Notes what is done with it."""

    def __init__(self, steps, path, replica, mirrors, options):
        self.steps, self.path, self.replica, self.options = steps, path, replica, options
        self.mirrors = mirrors
        self.close_error, self.closing = None, threading.Event()
        self.closing.set()
        self.scans = []
        self.ended = threading.Event()

    def status(self):
        return SimpleNamespace(scan=self.scans.pop(0) if self.scans else None)

    def __getattr__(self, name):
        if name not in ("open", "sync", "wait", "snapshot"):
            raise AttributeError(name)
        return lambda replica=None: self.steps.append(name) or self

    def join(self):
        self.ended.wait(10)

    def close(self, *, timeout=30.0):
        self.ended.set()
        self.timeout = timeout
        self.steps.append("close")
        self.closing.wait(10)
        if self.close_error:
            raise self.close_error

    def __enter__(self):
        return self.open()

    def __exit__(self, *_):
        self.close()


@pytest.fixture
def fake(monkeypatch):
    """Every DB made by the command; `before` may change one before it is used."""
    state = SimpleNamespace(made=[], steps=[], before=lambda db: None, files=[], reached=5, requests=None)
    origin = SimpleNamespace(
        client=SimpleNamespace(type="file", requests_sent=lambda: state.requests),
        lease=False,
        check_writable=lambda: None,
        files=lambda: iter(state.files),
        newest_txid=lambda: ltxcore.TXID(state.reached),
    )

    def make(path, *, replica, mirrors, **options):
        db = FakeDB(state.steps, path, replica, mirrors, options)
        state.made.append(db)
        state.before(db)
        return db

    monkeypatch.setattr(ltxcore, "DB", make)

    def replica(url, **options):
        state.options = options
        return origin

    monkeypatch.setattr(replicate, "replica", replica)
    monkeypatch.setattr(replicate, "start_log", lambda level: None)
    state.origin = origin
    return state


def test_once(run, fake):
    done = run("replicate", "app.db", "file:///r", "-once")
    assert done.exit_code == 0, done.output
    assert fake.steps == ["open", "sync", "wait", "close"]
    assert done.stdout == ""


def test_once_with_a_snapshot_and_json(run, fake):
    done = run("replicate", "app.db", "file:///r", "--once", "--force-snapshot", "--json")
    assert fake.steps == ["open", "sync", "wait", "snapshot", "close"]
    report = json.loads(done.stdout)
    assert report.pop("duration_ms") >= 0
    assert report == {
        "db_path": "app.db",
        "replica": "file",
        "txid": "0000000000000005",
        "requests": None,
        "usd_per_month": None,
    }


def test_requests_and_their_price_are_shown(run, fake, monkeypatch):
    fake.requests = {"ListObjectsV2": 1, "PutObject": 12}
    assert "13 requests: 12 PutObject, 1 ListObjectsV2\n" in run("replicate", "app.db", "u", "--once").stderr
    clock = iter([0.0, 3600.0, 0.0, 3600.0])
    monkeypatch.setattr(replicate.time, "monotonic", lambda: next(clock))
    said = run("replicate", "app.db", "u", "--once").stderr
    assert "1 ListObjectsV2; about $0.0016 a day, $0.05 a month" in said
    report = json.loads(run("replicate", "app.db", "u", "--once", "--json").stdout)
    assert report["requests"] == fake.requests
    assert report["usd_per_month"] == pytest.approx(13 * 24 * 30 * 0.005 / 1000)


def test_intervals_reach_the_database(run, fake):
    run(
        "replicate",
        "app.db",
        "u",
        "--once",
        "-sync-interval",
        "10ms",
        "-monitor-interval=2s",
        "--l0-retention",
        "1m",
    )
    assert fake.options == {"sync_interval": 0.01, "max_requests_per_hour": None, "lease": False}
    assert fake.made[0].options == {
        "monitor_interval": 2.0,
        "checkpoint_interval": 60.0,
        "l0_retention": 60.0,
        "busy_timeout": 1.0,
        "meta_path": None,
    }


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["app.db"], "URL"),
        ([], "DB"),
        (["app.db", "u", "--once", "--exec", "true"], "exclude"),
        (["app.db", "u", "--force-snapshot"], "--once"),
        (["app.db", "u", "--exec", ""], "command"),
        (["app.db", "u", "--exec", "echo 'x"], "--exec"),
        (["app.db", "u", "--sync-interval", "0"], "--sync-interval"),
        (["app.db", "u", "--max-requests-per-hour", "9"], "--max-requests-per-hour"),
    ],
)
def test_misuse(run, fake, argv, word):
    done = run("replicate", *argv)
    assert done.exit_code == 2
    assert word in done.stderr
    assert fake.steps == []


def exec_line(code):
    return f"{sys.executable} -c '{code}'"


@pytest.mark.process
@pytest.mark.parametrize("code", [0, 3])
def test_the_command_is_run_then_all_is_synced(run, fake, code):
    done = run("replicate", "app.db", "u", "--exec", exec_line(f"raise SystemExit({code})"))
    assert done.exit_code == code
    assert fake.steps == ["open", "close"]


def end_by_itself(db):
    """As after a conflict with another writer."""
    db.close_error = errors.LTXFileExistsError("a file of another history", hint="stop the other one")
    db.ended.set()


def test_it_ends_when_the_replication_does(run, fake):
    fake.before = end_by_itself
    done = run("replicate", "app.db", "u")
    assert done.exit_code == 3
    assert fake.steps == ["open", "close"]
    assert done.stderr.endswith("Error: a file of another history\nHint: stop the other one\n")


@pytest.mark.process
def test_the_command_is_ended_when_the_replication_has(run, fake):
    fake.before = end_by_itself
    done = run("replicate", "app.db", "u", "--exec", exec_line("import time; time.sleep(60)"))
    assert done.exit_code == 3
    assert fake.steps == ["open", "close"]
    assert "replication has ended: the command gets a SIGTERM" in done.stderr
    assert "Error: a file of another history" in done.stderr


@pytest.mark.process
def test_it_says_how_many_pages_were_read(run, fake, tmp_path, monkeypatch):
    path = tmp_path / "app.db"
    path.touch()
    monkeypatch.setattr(replicate.Start, "SCAN_INTERVAL", 0.0)
    scans = [SimpleNamespace(pages_done=done, pages=400) for done in (100, 399)]
    fake.before = lambda db: db.scans.extend(scans)
    done = run("replicate", str(path), "u", "--exec", exec_line("pass"))
    said = done.stderr.splitlines()
    assert said[:3] == [
        f"replicating {path} to u",
        f"reading {path}: 25 % of 400 pages",
        f"reading {path}: 99 % of 400 pages",
    ]


@pytest.mark.process
@pytest.mark.parametrize("code", [0, 3])
def test_a_failed_final_sync_is_a_failure_whatever_the_command_said(run, fake, code):
    fake.before = lambda db: setattr(db, "close_error", errors.ReplicaError("disk is full", hint="make room"))
    done = run("replicate", "app.db", "u", "--exec", exec_line(f"raise SystemExit({code})"))
    assert done.exit_code == 1
    assert "Error: disk is full\nHint: make room\n" in done.stderr


def test_a_command_that_cannot_be_started(run, fake):
    done = run("replicate", "app.db", "u", "--exec", "ltxcore-has-no-such-program")
    assert done.exit_code == 1
    assert "ltxcore-has-no-such-program" in done.stderr
    assert fake.steps == ["open", "close"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(run, fake, number):
    fake.before = lambda db: threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
    done = run("replicate", "app.db", "u")
    assert done.exit_code == 0
    assert fake.steps == ["open", "close"]


def test_the_last_sync_has_its_time(run, fake):
    run("replicate", "app.db", "u", "--exec", exec_line("pass"), "-shutdown-timeout", "5s")
    assert fake.made[0].timeout == 5.0


def test_a_second_signal_ends_it_at_once(run, fake, monkeypatch):
    def hang(db):
        db.closing.clear()
        for delay in (0.1, 0.3):
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGTERM)).start()

    def leave(code):
        fake.made[0].closing.set()
        raise SystemExit(code)

    fake.before = hang
    monkeypatch.setattr(replicate.os, "_exit", leave)
    done = run("replicate", "app.db", "u")
    assert done.exit_code == 1
    assert "may be missing" in done.stderr


def test_a_missing_database_is_restored(run, fake, monkeypatch, tmp_path):
    restored = []
    result = SimpleNamespace(pos=ltxcore.Pos(ltxcore.TXID(5)))
    monkeypatch.setattr(ltxcore, "restore", lambda *arguments: restored.append(arguments) or result)
    path = tmp_path / "app.db"
    fake.reached = 0
    run("replicate", path, "u", "--once", "--restore-if-db-not-exists")
    assert restored == []  # an empty replica is a new beginning
    fake.files, fake.reached = ["one"], 5
    run("replicate", path, "u", "--once", "--restore-if-db-not-exists")
    assert restored == [(fake.origin.client, Path(path))]
    path.touch()
    run("replicate", path, "u", "--once", "--restore-if-db-not-exists")
    assert len(restored) == 1


def test_mirrors(tmp_path, run):
    """Nothing here stands in for anything."""
    database, mirror, copy = tmp_path / "app.db", tmp_path / "b", tmp_path / "copy.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    places = (tmp_path / "a", mirror, f"file://{tmp_path}/c")
    done = run("replicate", database, *places, "--once", "--json", "--force-snapshot")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    facts = {"replica": "file", "txid": report["txid"], "requests": None, "usd_per_month": None}
    assert report["mirrors"] == [facts] * 2
    for place in places:
        assert [file.max_txid for file in ltxcore.Replica(place).files(9)] == [int(report["txid"], 16)]
    # The first replica that has something is where a missing database comes from.
    shutil.rmtree(tmp_path / "a")
    done = run("replicate", copy, tmp_path / "a", mirror, "--once", "--restore-if-db-not-exists")
    assert done.exit_code == 0, done.output
    assert "restored" in done.stderr and "mirror 1 is at TXID" in done.stderr
    assert copy.exists()
    # One that was away is behind the others.
    behind = tmp_path / "behind"
    shutil.copytree(tmp_path / "c", behind)
    run("replicate", database, mirror, "--once")
    connection = sqlite3.connect(database)
    connection.execute("INSERT INTO t VALUES (1)")
    connection.commit()
    connection.close()
    assert run("replicate", database, mirror, "--once").exit_code == 0
    late = tmp_path / "late.db"
    done = run("replicate", late, behind, mirror, "--once", "--restore-if-db-not-exists")
    assert done.exit_code == 0, done.output
    connection = sqlite3.connect(late)
    assert connection.execute("SELECT x FROM t").fetchall() == [(1,)]
    connection.close()
    # One that cannot be reached is said to be left out.
    (tmp_path / "file").touch()
    done = run(
        "replicate",
        tmp_path / "e.db",
        mirror,
        f"file://{tmp_path}/file/x",
        "--once",
        "--restore-if-db-not-exists",
    )
    assert "is left out of the restore" in done.stderr and (tmp_path / "e.db").exists()
    done = run("replicate", copy, mirror, mirror, "--once")
    assert done.exit_code != 0 and "in one place" in done.stderr
