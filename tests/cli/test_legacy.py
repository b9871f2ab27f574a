"""Replicas of Litestream 0.3 on the command line."""

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from ltxcore.cli._output import format_time

from tests.cli.conftest import Run
from tests.unit.legacy_histories import FIRST, Made, make


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.db"


def test_generations(run: Run, made: Made) -> None:
    done = run("generations", made.path)
    assert done.exit_code == 0, done.output
    heading, line = done.stdout.splitlines()
    assert heading.split() == ["generation", "lag", "start", "end", "snapshots", "segments", "size"]
    start, end = format_time(min(made.states)), format_time(max(made.states))
    assert line.split()[:6] == [FIRST, "-", start, end, "2", "9"]
    (row,) = json.loads(run("generations", made.path, "--json").stdout)
    assert (row["generation"], row["lag"], row["end"]) == (FIRST, None, end)


def test_the_lag_of_a_configured_database(run: Run, made: Made, tmp_path: Path) -> None:
    config = tmp_path / "litestream.yml"
    config.write_text(f"dbs: [{{path: {tmp_path / 'db'}, replica: {{path: {made.path}}}}}]")
    changed = (max(made.states) + timedelta(seconds=90)).timestamp()
    for path in tmp_path.glob("db*"):
        os.utime(path, (changed, changed))
    (row,) = json.loads(run("generations", tmp_path / "db", "--config", config, "--json").stdout)
    assert row["lag"] == "90.0s"


def test_snapshots_and_segments(run: Run, made: Made) -> None:
    rows = json.loads(run("snapshots", made.path, "--json").stdout)
    assert [row["index"] for row in rows] == ["00000000", "00000001"]
    rows = json.loads(run("wal", made.path, "--generation", FIRST, "--json").stdout)
    assert [row["index"] for row in rows] == [f"0000000{number}" for number in (0, 0, 0, 1, 1, 1, 2, 2, 2)]
    assert rows[3]["offset"] == 0
    assert json.loads(run("wal", made.path, "--generation", "0" * 16, "--json").stdout) == []
    refused = run("wal", made.path, "--generation", "aa")
    assert (refused.exit_code, "not a generation" in refused.stderr) == (2, True)


def test_a_listing_of_ltx_files_names_the_command_for_these(run: Run, made: Made) -> None:
    done = run("ltx", made.path)
    assert done.exit_code == 0
    assert f"ltxcore generations {made.path}" in done.stderr


def test_a_restore_says_what_was_restored(run: Run, made: Made, out: Path) -> None:
    done = run("restore", made.path, "-o", out, "--integrity-check", "full")
    assert done.exit_code == 0, done.output
    assert f"position {FIRST}/00000002:" in done.stdout
    assert "from 7 files of Litestream 0.3" in done.stdout
    assert "full check ok" in done.stdout
    assert out.read_bytes() == made.newest


def test_every_index_that_is_printed(run: Run, made: Made, out: Path) -> None:
    for index, state in made.indexes.items():
        argv = ("--generation", FIRST, "--index", f"{index:08x}", "--force", "--json")
        done = run("restore", made.path, "-o", out, *argv)
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["index"] == f"{index:08x}"
        assert out.read_bytes() == state


def test_every_time_that_is_printed(run: Run, made: Made, out: Path) -> None:
    for row in json.loads(run("wal", made.path, "--json").stdout):
        done = run("restore", made.path, "-o", out, "--timestamp", row["created"], "--force", "--json")
        assert json.loads(done.stdout)["timestamp"] == row["created"]


def test_a_time_after_the_newest_file(run: Run, made: Made, out: Path) -> None:
    done = run("restore", made.path, "-o", out, "--timestamp", "2030-01-01T00:00:00Z")
    assert "The time is after the newest file" in done.stderr


@pytest.mark.parametrize("command", ["generations", "snapshots", "wal"])
def test_a_path_with_a_mistake(run: Run, tmp_path: Path, command: str) -> None:
    done = run(command, tmp_path / "missing")
    assert (done.exit_code, "does not exist" in done.stderr) == (1, True)


def test_a_dry_run_lists_the_files(run: Run, made: Made) -> None:
    done = run("restore", made.path, "--dry-run")
    assert f"generations/{FIRST}/snapshots/00000001.snapshot.lz4" in done.stdout.splitlines()[1]
    assert len(done.stdout.splitlines()) == 8
    found = json.loads(
        run("restore", made.path, "--generation", FIRST, "--index", "0", "--dry-run", "--json").stdout
    )
    assert len(found["files"]) == 4


def test_a_replica_exists(run: Run, made: Made, out: Path) -> None:
    assert run("restore", made.path, "-o", out, "--if-replica-exists").exit_code == 0
    assert out.exists()


@pytest.mark.parametrize(
    "argv",
    [
        ("--index", "1"),
        ("--generation", FIRST, "--txid", "1"),
        ("--generation", FIRST, "--follow"),
        ("--generation", FIRST, "--update"),
        ("--generation", FIRST, "--cache", "cache"),
        ("--generation", FIRST, "--index", "80000000"),
        ("--generation", FIRST, "--index", "-1"),
    ],
)
def test_what_does_not_go_together(run: Run, made: Made, out: Path, argv: tuple[str, ...]) -> None:
    assert run("restore", made.path, "-o", out, *argv).exit_code == 2
    assert not out.exists()


def test_a_generation_without_snapshots_is_not_sound(run: Run, made: Made) -> None:
    assert run("verify", made.path).exit_code == 0
    for path in made.path.rglob("*.snapshot.lz4"):
        path.unlink()
    done = run("verify", made.path, "--json")
    (damage,) = json.loads(done.stdout)["v03"]["damages"]
    assert (done.exit_code, damage["states"]) == (1, 9)
    assert "no snapshot is left" in done.stderr
