"""`ltxcore replicate --layout v0.3`: the real command on a real database."""

import contextlib
import json
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from ltxcore import legacy


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    run_sql(path, "PRAGMA journal_mode = wal", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
    return path


@pytest.fixture
def command(ltxcore):
    """Runs the real program to its end: exit code, stdout and stderr."""

    def run(*argv: object) -> SimpleNamespace:
        process = ltxcore.start(*argv)
        out, err = process.communicate(timeout=60)
        return SimpleNamespace(returncode=process.returncode, stdout=out, stderr=err)

    return SimpleNamespace(run=run)


def run_sql(path: Path, *statements: str) -> list:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [row for statement in statements for row in connection.execute(statement)]


@pytest.mark.process
def test_once_then_restored(command, database, tmp_path):
    replica, mirror = tmp_path / "replica", tmp_path / "mirror"
    options = ("--once", "--layout", "v0.3", "--force-snapshot")
    first = command.run("replicate", database, replica, mirror, *options)
    assert first.returncode == 0, first.stderr
    assert "replica has generations/" in first.stderr and "mirror 1 has generations/" in first.stderr
    run_sql(database, "INSERT INTO t VALUES (2)")
    second = command.run("replicate", database, replica, mirror, *options[:3], "--json")
    (generation,) = legacy.generations(replica)
    answer = json.loads(second.stdout)
    assert {key: answer[key] for key in ("replica", "layout", "generation", "index", "offset")} == {
        "replica": "file",
        "layout": "v0.3",
        "generation": generation.generation,
        "index": "00000000",
        "offset": 0,
    }
    assert len(answer["mirrors"]) == 1 and "txid" not in answer
    assert not (replica / "ltx").exists()
    for number, place in enumerate((replica, mirror)):
        output = tmp_path / f"out-{number}.db"
        assert command.run("restore", place, "-o", output).returncode == 0
        assert run_sql(output, "SELECT x FROM t") == [(1,), (2,)]


@pytest.mark.process
@pytest.mark.parametrize("layout", ["v0.3", "ltx"])
def test_a_database_that_is_gone_is_restored_first(command, database, tmp_path, layout):
    """Also where it is replicated in the other layout from then on, as after an upgrade."""
    replica, mirror = tmp_path / "replica", tmp_path / "mirror"
    command.run("replicate", database, mirror, "--once", "--layout", "v0.3")
    for path in (database, database.with_name("app.db-wal"), database.with_name("app.db-shm")):
        path.unlink(missing_ok=True)
    again = ("--once", "--layout", layout, "--restore-if-db-not-exists")
    done = command.run("replicate", database, replica, mirror, *again)
    assert done.returncode == 0, done.stderr
    assert f"restored {database}: {legacy.generations(mirror)[0].generation}/" in done.stderr
    assert run_sql(database, "SELECT x FROM t") == [(1,)]


@pytest.mark.process
def test_nothing_to_restore(command, tmp_path):
    options = ("--once", "--layout", "v0.3", "--restore-if-db-not-exists")
    done = command.run("replicate", tmp_path / "no.db", tmp_path / "replica", *options)
    assert "a new history begins with the first transaction" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--retention", "1h"), "--retention needs --layout v0.3"),
        (("--snapshot-interval", "1h"), "--snapshot-interval needs --layout v0.3"),
        (("--layout", "v0.3", "--lease"), "--lease needs --layout ltx"),
        (
            ("--layout", "v0.3", "--max-requests-per-hour", "50"),
            "--max-requests-per-hour needs --layout ltx",
        ),
        (("--layout", "v3"), "'v3' is not one of"),
    ],
)
def test_options_of_the_other_layout(run, tmp_path, options, said):
    done = run("replicate", tmp_path / "app.db", tmp_path / "replica", *options)
    assert done.exit_code == 2 and said in done.output
    assert not (tmp_path / "replica").exists()
