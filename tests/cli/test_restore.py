"""`ltxcore restore` and `ltxcore ltx` over stand-ins: what reaches the library, and what is printed."""

import contextlib
import json
import os
import sqlite3
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

import ltxcore
from ltxcore import RestorePlan
from ltxcore.cli import ltx as ltx_command
from ltxcore.cli import restore
from ltxcore.ltx import TXID, FileInfo

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FILES = [FileInfo(9, TXID(1), TXID(4), 4000, NOON), FileInfo(0, TXID(5), TXID(5), 200, NOON)]


@pytest.fixture
def origin(monkeypatch):
    """A replica of two files; `calls` gets what `ltxcore.restore` is called with."""
    client = SimpleNamespace(type="file", object_place=lambda: None)
    state = SimpleNamespace(calls=[], clamped=False, client=client, listed=FILES)
    state.resumed, state.size, state.interrupt = 0, 4200, None
    state.files = lambda level=None: (file for file in state.listed if level in (None, file.level))

    def fake_restore(client, output, **options):
        state.calls.append((output, options))
        pos = ltxcore.Pos(TXID(5))
        if state.interrupt is not None:
            raise state.interrupt
        return ltxcore.RestoreResult(
            output, pos, 4096, 7, tuple(FILES), state.size, state.clamped, resumed=state.resumed
        )

    monkeypatch.setattr(ltxcore, "restore", fake_restore)
    monkeypatch.setattr(restore, "located", lambda *_: (state, None))
    monkeypatch.setattr(ltx_command, "located", lambda *_: (state, None))
    monkeypatch.setattr(ltxcore, "restore_plan", lambda *_, **__: RestorePlan(tuple(FILES), state.clamped))
    return state


def test_options_reach_the_library(run, origin, tmp_path):
    out = tmp_path / "out.db"
    done = run(
        "restore",
        "u",
        "-o",
        out,
        "-txid",
        "0000000000000005",
        "-parallelism",
        2,
        "-force",
        "-integrity-check",
        "quick",
    )
    assert done.exit_code == 0, done.output
    (output, options), *more = origin.calls
    assert (output, more) == (out, [])
    assert options == {
        "progress": None,
        "overwrite": True,
        "integrity_check": "quick",
        "txid": "0000000000000005",
        "timestamp": None,
        "parallelism": 2,
    }
    assert "TXID 0000000000000005, 7 pages of 4096 bytes from 2 files" in done.stdout
    assert "quick check ok" in done.stdout


def test_how_much_was_there_is_said(run, origin, tmp_path):
    origin.resumed, origin.size = 71_400_000, 90_000_000
    done = run("restore", "u", "-o", tmp_path / "out.db")
    assert done.stderr == "resumed: 71 of 90 MB were there already\n"
    done = run("restore", "u", "-o", tmp_path / "out.db", "-json")
    assert json.loads(done.stdout)["bytes_resumed"] == 71_400_000
    assert done.stderr == ""


def test_what_an_interrupt_leaves_is_said(run, origin, tmp_path):
    origin.interrupt = KeyboardInterrupt()
    origin.interrupt.add_note("hint: run it again, for /Some/Path")
    done = run("restore", "u", "-o", tmp_path / "out.db")
    assert done.exit_code == 1
    assert "Hint: run it again, for /Some/Path\n" in done.stderr


def test_json(run, origin, tmp_path):
    done = run("restore", "u", "-o", tmp_path / "out.db", "-json", "-timestamp", "2026-03-01T12:00:00Z")
    assert origin.calls[0][1]["timestamp"] == NOON
    found = json.loads(done.stdout)
    assert found.pop("duration_ms") >= 0
    assert found == {
        "db_path": str(tmp_path / "out.db"),
        "replica": "file",
        "txid": "0000000000000005",
        "integrity_check": "none",
        "page_size": 4096,
        "page_count": 7,
        "files": 2,
        "bytes_read": 4200,
        "bytes_resumed": 0,
        "clamped": False,
        "updated": False,
    }


def test_a_time_after_the_end_is_mentioned(run, origin, tmp_path):
    origin.clamped = True
    done = run("restore", "u", "-o", tmp_path / "out.db", "--timestamp", "2030-01-01T00:00:00Z")
    assert done.exit_code == 0
    assert "newest state" in done.stderr


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["u"], "--output"),
        (["-o", "x"], "SOURCE"),
        (["u", "-o", "x", "-txid", "0" * 15 + "1", "-timestamp", "2026-03-01T12:00:00Z"], "exclude"),
        (["u", "-o", "x", "-txid", "1"], "16 hexadecimal"),
        (["u", "-o", "x", "-timestamp", "yesterday"], "not a time: yesterday"),
        (["u", "-o", "x", "-integrity-check", "some"], "--integrity-check"),
        (["u", "-o", "x", "-parallelism", "0"], "--parallelism"),
        (["u", "v", "-o", "x"], "v"),
    ],
)
def test_misuse(run, origin, argv, word):
    done = run("restore", *argv)
    assert done.exit_code == 2
    assert word in done.stderr
    assert origin.calls == []


def test_if_db_not_exists(run, origin, tmp_path):
    out = tmp_path / "out.db"
    out.touch()
    done = run("restore", "u", "-o", out, "-if-db-not-exists")
    assert (done.exit_code, done.stdout, origin.calls) == (0, "", [])
    assert "exists" in done.stderr
    out.unlink()
    assert run("restore", "u", "-o", out, "-if-db-not-exists").exit_code == 0
    assert len(origin.calls) == 1


def test_if_replica_exists(run, origin, tmp_path):
    argv = ["restore", "u", "-o", tmp_path / "out.db", "-if-replica-exists"]
    assert run(*argv).exit_code == 0
    assert len(origin.calls) == 1
    origin.listed = []
    assert run(*argv).exit_code == 0
    assert len(origin.calls) == 1


def test_dry_run(run, origin, tmp_path):
    done = run("restore", "u", "-o", tmp_path / "out.db", "-dry-run")
    assert done.stdout.splitlines() == [
        "level  name                                   size  created",
        "    9  0000000000000001-0000000000000004.ltx  4000  2026-03-01T12:00:00.000Z",
        "    0  0000000000000005-0000000000000005.ltx   200  2026-03-01T12:00:00.000Z",
    ]
    found = json.loads(run("restore", "u", "-o", "out.db", "-dry-run", "-json").stdout)
    files = found.pop("files")
    assert found == {
        "source": "u",
        "target_path": "out.db",
        "replica": "file",
        "min_txid": "0000000000000001",
        "max_txid": "0000000000000005",
        "clamped": False,
    }
    # Nothing is written, so there need be no output.
    bare = json.loads(run("restore", "u", "-dry-run", "-json").stdout)
    assert (bare["target_path"], bare["files"]) == (None, files)
    assert files[1] == {
        "level": 0,
        "name": "0000000000000005-0000000000000005.ltx",
        "min_txid": "0000000000000005",
        "max_txid": "0000000000000005",
        "size": 200,
        "timestamp": "2026-03-01T12:00:00.000Z",
    }
    assert origin.calls == []


def test_the_list_of_files(run, origin):
    assert run("ltx", "u").stdout.splitlines()[1:] == [
        "    0  0000000000000005  0000000000000005   200  2026-03-01T12:00:00.000Z"
    ]
    assert len(run("ltx", "u", "-level", "all").stdout.splitlines()) == 3
    assert [each["level"] for each in json.loads(run("ltx", "u", "-level", "9", "-json").stdout)] == [9]
    assert json.loads(run("ltx", "u", "-level", "3", "-json").stdout) == []
    assert run("ltx", "u", "-level", "10").exit_code == 2


def test_a_database_is_not_a_replica(run, tmp_path):
    path = tmp_path / "app.db"
    path.write_bytes(b"SQLite format 3\0")
    done = run("ltx", path)
    assert done.exit_code == 2
    assert "not a replica" in done.stderr


def test_an_update_that_reads_everything_says_so(run, tmp_path):
    replica, copy = tmp_path / "replica", tmp_path / "copy.db"
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "app.db")) as app,
        ltxcore.DB(tmp_path / "app.db", replica=replica) as db,
    ):
        app.execute("CREATE TABLE t (x)")
        db.wait(timeout=60)
    line = ("restore", replica, "-o", copy, "--update")
    said = []
    for touches in (False, False, True):
        if touches:
            os.utime(copy, (1, 1))
        done = run(*line, "--json")
        assert done.exit_code == 0, done.output
        said.append((json.loads(done.stdout)["updated"], "everything was read" in done.stderr))
    assert said == [(False, False), (True, False), (False, True)]
