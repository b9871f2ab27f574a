"""`ltxcore convert` and `ltxcore verify` with replicas of Litestream 0.3."""

import json
from pathlib import Path

import pytest

import ltxcore
from ltxcore import legacy
from ltxcore.cli._output import format_time

from tests.cli.conftest import Run
from tests.unit.legacy_histories import Made, make
from tests.unit.test_legacy_convert import damage, with_times


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return tmp_path / "new"


def test_convert(run: Run, made: Made, new: Path, tmp_path: Path) -> None:
    done = run("convert", made.path, new)
    assert done.exit_code == 0, done.output
    assert f"converted to {new}: 11 states up to TXID 000000000000000a of " in done.stdout
    assert "12 files written" in done.stdout
    for time, state in made.states.items():
        out = tmp_path / "out"
        assert run("restore", new, "-o", out, "--timestamp", format_time(time), "--force").exit_code == 0
        assert out.read_bytes() == state


def test_convert_goes_on(run: Run, made: Made, new: Path) -> None:
    first = json.loads(run("convert", made.path, f"file://{new}", "--json").stdout)
    assert (first["txid"], first["states"], first["resumed"], first["left_out"]) == (
        "000000000000000a",
        11,
        0,
        [],
    )
    assert first["files"] == 12
    again = run("convert", made.path, new)
    assert "resumed: 11 of 11 states were there already" in again.stderr
    assert "0 files written" in again.stdout


def test_convert_names_what_is_damaged(run: Run, made: Made, new: Path) -> None:
    segments = legacy.wal_segments(made.path)
    with_times(made.path / segments[4].path, damage)
    failed = run("convert", made.path, new)
    assert (failed.exit_code, segments[4].path in failed.stderr) == (1, True)
    assert "--skip-damaged" in failed.stderr
    done = run("convert", made.path, new, "--skip-damaged", "--json")
    assert done.exit_code == 0
    (left_out,) = json.loads(done.stdout)["left_out"]
    first, last = format_time(segments[4].created_at), format_time(segments[8].created_at)
    assert (left_out["path"], left_out["states"]) == (segments[4].path, 5)
    assert (left_out["first"], left_out["last"]) == (first, last)
    assert f"5 states left out, from {first} to {last}" in done.stderr


def test_convert_refuses_files_of_others(run: Run, made: Made, tmp_path: Path) -> None:
    new = tmp_path / "other"
    ltxcore.DB(tmp_path / "db", replica=new).open().close()
    refused = run("convert", made.path, new)
    assert refused.exit_code == 3
    assert "not of this conversion" in refused.stderr
    assert run("convert", new, tmp_path / "third").exit_code == 1
    assert run("convert", made.path).exit_code == 2
    assert run("convert", made.path, tmp_path / "db").exit_code == 2


def test_verify(run: Run, made: Made, new: Path) -> None:
    done = run("verify", made.path)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("Litestream 0.3: ok; 1 generation, 2 snapshots, 9 segments, 11 states, ")
    found = json.loads(run("verify", made.path, "--json").stdout)
    assert (found["ok"], found["ltx"], found["v03"]["damages"]) == (True, None, [])
    run("convert", made.path, made.path)
    both = run("verify", made.path)
    assert both.stdout.splitlines()[1].startswith("LTX: ok; restores up to TXID 000000000000000a, 12 files, ")
    run("convert", made.path, new)
    found = json.loads(run("verify", new, "--json").stdout)
    assert (found["ok"], found["v03"], found["ltx"]["outcome"]) == (True, None, "ok")


def test_verify_names_what_is_damaged(run: Run, made: Made, new: Path) -> None:
    segments = legacy.wal_segments(made.path)
    with_times(made.path / segments[4].path, damage)
    done = run("verify", made.path)
    assert done.exit_code == 1
    assert "1 file damaged or missing" in done.stdout
    assert segments[4].path in done.stderr
    assert "5 states lost, from " in done.stderr
    (found,) = json.loads(run("verify", made.path, "--json").stdout)["v03"]["damages"]
    assert (found["path"], found["states"]) == (segments[4].path, 5)


def test_verify_of_damaged_ltx_files(run: Run, made: Made, new: Path) -> None:
    legacy.convert(made.path, new)
    with_times(new / "ltx/8/0000000000000005-0000000000000005.ltx", lambda path: damage_end(path))
    done = run("verify", new, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["ok"], found["ltx"]["outcome"]) == (False, "bad")
    assert found["ltx"]["damaged"][0]["name"] == "0000000000000005-0000000000000005.ltx"
    assert "0000000000000005-0000000000000005.ltx" in done.stderr


def damage_end(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def test_verify_of_nothing(run: Run, tmp_path: Path) -> None:
    assert run("verify", tmp_path / "nothing").exit_code == 1
    (tmp_path / "empty").mkdir()
    assert run("verify", tmp_path / "empty").exit_code == 1
