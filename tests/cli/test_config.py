"""Databases of the configuration file on the command line."""

from pathlib import Path

import pytest

from tests.helpers.replicas import Source, content


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
