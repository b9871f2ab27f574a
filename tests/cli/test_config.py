"""Databases of the configuration file on the command line."""

from pathlib import Path

import pytest

from ltxcore.cli._app import COMMANDS, app

from tests.helpers.replicas import Source, content
from tests.unit.legacy_histories import make


@pytest.fixture
def source(tmp_path: Path) -> Source:
    made = Source(tmp_path)
    made.move()
    return made


@pytest.fixture
def config(source: Source, tmp_path: Path) -> Path:
    path = tmp_path / "litestream.yml"
    path.write_text(f"dbs: [{{path: {tmp_path}/lost.db, replica: {{path: $BACKUP}}}}]")
    return path


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BACKUP", str(tmp_path / "replica"))
    monkeypatch.setenv("LITESTREAM_CONFIG", str(tmp_path / "not-there.yml"))


@pytest.mark.parametrize("option", ["--config", "-config", "-c"])
def test_a_database_is_restored_to_its_place(run, source, config, tmp_path, option):
    done = run("restore", option, config, tmp_path / "lost.db")
    assert done.exit_code == 0, done.output
    assert content(tmp_path / "lost.db") == content(source.path)


def test_or_to_another_place(run, source, config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("restore", "-o", "elsewhere.db", "-config", config, "lost.db")
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "lost.db").exists()
    assert content(tmp_path / "elsewhere.db") == content(source.path)


def test_the_default_file(run, source, config, tmp_path, monkeypatch):
    monkeypatch.setenv("LITESTREAM_CONFIG", str(config))
    listed = run("ltx", tmp_path / "lost.db")
    assert listed.exit_code == 0 and len(listed.stdout.splitlines()) == 3, listed.output
    # The directory of a replica is one, whatever the configuration says.
    assert run("ltx", source.replica).stdout == listed.stdout


def test_the_environment_may_be_left_alone(run, config, tmp_path):
    done = run("ltx", "-no-expand-env", "-c", config, tmp_path / "lost.db")
    assert done.exit_code == 1 and "$BACKUP does not exist" in done.stderr


@pytest.mark.parametrize(
    "argv, message",
    [
        (["restore", "-c", "litestream.yml", "other.db"], "database not found in config"),
        (["restore", "-c", "none.yml", "lost.db"], "config file not found"),
        (["restore", "-c", "litestream.yml", "file:///x"], "a replica URL and --config exclude each other"),
        (["restore", "replica"], "(-o) is required"),
        (["ltx", "lost.db"], "is a file, not a replica"),
    ],
)
def test_misuse(run, config, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    if argv[0] == "ltx":
        Path("lost.db").touch()
    done = run(*argv)
    assert done.exit_code == 2
    assert message in done.stderr


def test_neither_parser_nor_validator_are_imported_for_a_url(run, source, monkeypatch):
    import sys

    for name in [each for each in sys.modules if each.split(".")[0] in ("yaml", "msgspec")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "ltxcore.config", raising=False)
    assert run("ltx", f"file://{source.replica}").exit_code == 0
    assert not {"yaml", "msgspec"} & set(sys.modules)


OF_0_3 = """
access-key-id: KEY
secret-access-key: SECRET
logging: {{level: info, type: text}}
dbs:
  - path: {folder}/app.db
    meta-path: {folder}/.meta
    max-checkpoint-page-count: 10000
    replicas:
      - {{path: {folder}/replica, retention: 72h, retention-check-interval: 1h, snapshot-interval: 24h}}
      - {{name: far, type: s3, bucket: backups, path: app, endpoint: "http://127.0.0.1:9", region: eu-central-1,
          access-key-id: KEY, secret-access-key: SECRET, force-path-style: true, skip-verify: true,
          validation-interval: 6h}}
  - path: {folder}/single.db
    replicas:
      - {{path: {folder}/replica, name: only, retention: 72h}}
"""
#: Every command that takes a database of the configuration, with the other arguments that it needs.
TAKERS = {
    "restore": ["-o", "out.db"],
    "generations": [],
    "snapshots": [],
    "wal": [],
    "verify": [],
    "convert": ["new"],
    "ltx": [],
    "listing": ["-o", "listing.json"],
}


@pytest.fixture
def of_0_3(tmp_path, monkeypatch) -> Path:
    """A configuration file of Litestream 0.3.13, and what its first replica holds; LTX files, too, since an upgrade."""
    make(tmp_path)
    Source(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "litestream.yml"
    path.write_text(OF_0_3.format(folder=tmp_path))
    return path


def test_these_are_all_that_take_a_database():
    takers = {name for name in COMMANDS if "replica_name" in params(name)}
    assert takers == {name for name in COMMANDS if "no_expand_env" in params(name)} == set(TAKERS)


def params(name):
    command = app.get_command(None, name)
    return {param.name for param in command.params}


@pytest.mark.parametrize("command", TAKERS)
@pytest.mark.parametrize("spelling", ["--replica", "-replica"])
def test_a_file_of_litestream_0_3(run, of_0_3, command, spelling):
    done = run(command, "-config", of_0_3, spelling, "file", "app.db", *TAKERS[command])
    assert done.exit_code == 0, done.output
    same = run(command, "-config", of_0_3, "single.db", *again(command))
    assert same.exit_code == 0, same.output
    if command in ("generations", "snapshots", "wal", "ltx"):
        assert done.stdout.splitlines()[1:] == run(command, "replica").stdout.splitlines()[1:] != []


def again(command):
    """The arguments with another output."""
    return [arg.replace("out.db", "again.db").replace("new", "again") for arg in TAKERS[command]]


@pytest.mark.parametrize("command", TAKERS)
def test_several_replicas_are_named_for_a_choice(run, of_0_3, tmp_path, command):
    done = run(command, "-config", of_0_3, "app.db", *TAKERS[command])
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-2:] == [
        f"Error: {tmp_path}/app.db has 2 replicas: file, far",
        "Hint: choose one with --replica NAME",
    ]
    assert not {"out.db", "new", "listing.json"} & {each.name for each in tmp_path.iterdir()}


def test_one_that_is_named_is_the_one_that_is_read(run, of_0_3, tmp_path):
    """Nothing listens where the other one is."""
    with_far = ["--config", of_0_3, "--replica", "far", "app.db"]
    done = run("restore", *with_far, "-o", "out.db")
    assert done.exit_code == 1 and "127.0.0.1:9" in done.stderr, done.output
    done = run("restore", "--config", of_0_3, "--replica", "only", "single.db")
    assert done.exit_code == 0 and (tmp_path / "single.db").exists(), done.output


@pytest.mark.parametrize(
    "argv, message",
    [
        (["-c", "litestream.yml", "--replica", "abs", "app.db"], "the database has: file, far"),
        (["-c", "litestream.yml", "--replica", "file", "single.db"], "the database has: only"),
        (["--replica", "file", "file:///x"], "a replica URL and --replica exclude each other"),
        (["--replica", "file", "replica"], "replica is the directory of a replica, and excludes --replica"),
        (["--replica", "file", "app.db"], "config file not found"),
    ],
)
def test_a_replica_that_cannot_be_chosen(run, of_0_3, argv, message):
    done = run("generations", *argv)
    assert done.exit_code == 2
    assert message in done.stderr
