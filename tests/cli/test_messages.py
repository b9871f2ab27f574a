"""How the program ends: exit codes, messages, hints, and what it prints of results."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone

import click
import pytest
from click.testing import CliRunner

import ltxcore
from ltxcore import errors
from ltxcore.cli import app
from ltxcore.cli._app import COMMANDS, App
from ltxcore.cli._output import counted, format_time, print_facts, print_table


def outcome(error):
    """Run a command that raises; its exit code and what it said."""

    class Failing(App):
        def get_command(self, ctx, cmd_name):
            return click.Command("fail", callback=self.fail)

        def fail(self):
            raise error

    done = CliRunner().invoke(Failing(), ["fail"])
    assert isinstance(done.exception, SystemExit)
    return done.exit_code, done.stderr


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            errors.RestoreError("no chain", hint="try an earlier time"),
            1,
            "Error: no chain\nHint: try an earlier time\n",
        ),
        (errors.ConfigError("bad URL"), 2, "Error: bad URL\n"),
        (
            FileNotFoundError(2, "No such file or directory", "a.db"),
            1,
            "Error: a.db: no such file or directory\n",
        ),
        (sqlite3.OperationalError("disk I/O error"), 1, "Error: disk I/O error\n"),
        (errors.Error(), 1, "Error: Error\n"),
    ],
)
def test_errors_end_the_program(error, code, said):
    assert outcome(error) == (code, said)


def test_a_defect_asks_to_be_reported():
    code, said = outcome(errors.InternalError("page cache is upside down"))
    assert code == 1
    assert "report" in said


def test_a_programming_error_is_not_hidden():
    class Failing(App):
        def get_command(self, ctx, cmd_name):
            return click.Command("fail", callback=lambda: 1 / 0)

    assert isinstance(CliRunner().invoke(Failing(), ["fail"]).exception, ZeroDivisionError)


def test_no_command_is_misuse_and_help_is_not(run):
    assert run().exit_code == 2
    assert run("--help").exit_code == 0
    assert run("-help").exit_code == 0
    assert run("nonsense").exit_code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command):
    done = run(command, "--help")
    assert done.exit_code == 0
    assert f"Usage: ltxcore {command}" in done.output


def test_every_command_takes_json():
    for command in leaves(click.Context(app), app):
        assert "--json" in {name for param in command.params for name in param.opts}, command.name


def leaves(ctx, group):
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if isinstance(command, click.Group):
            yield from leaves(ctx, command)
        else:
            yield command


def test_version(run):
    assert run("version").output == f"ltxcore {ltxcore.__version__}\n"
    assert ltxcore.__version__ in run("version", "-verbose").output
    assert run("version", "--json").output == f'{{\n  "version": "{ltxcore.__version__}"\n}}\n'


@pytest.mark.parametrize("option", ["--version", "-version", "-V"])
def test_the_version_is_an_option_too(run, option):
    assert run(option).output == run("version").output


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["repliacte", "a.db"], "No such command 'repliacte'. Did you mean 'replicate'?"),
        (["databases"], "No such command 'databases'."),
    ],
)
def test_a_mistyped_command_is_corrected(run, argv, said):
    done = run(*argv)
    assert done.exit_code == 2
    assert done.stderr.endswith(f"{said}\n")


@pytest.mark.parametrize(
    "argv",
    [
        ["replicate", "a.db", ""],
        ["replicate", "", "rep"],
        ["replicate", "a.db", "rep", "--meta-path", ""],
        ["restore", "", "-o", "x.db"],
        ["restore", "rep", "-o", ""],
        ["restore", "rep", "-o", "x.db", "--config", ""],
        ["ltx", ""],
        ["file", "apply", "--db", "", __file__],
        ["file", "encode", "-o", "", __file__],
        ["blob", "ls", ""],
        ["blob", "get", "s.db", "name", "-o", ""],
    ],
)
def test_an_empty_argument_is_not_the_current_directory(run, tmp_path, monkeypatch, argv):
    """`ltxcore replicate a.db "$UNSET"` replicated into it."""
    monkeypatch.chdir(tmp_path)
    done = run(*argv)
    assert done.exit_code == 2
    assert "it is empty" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "has_config"), [("replicate", False), ("restore", True), ("ltx", True)])
def test_a_file_as_a_replica_names_only_options_that_there_are(
    run, tmp_path, monkeypatch, command, has_config
):
    monkeypatch.setenv("LITESTREAM_CONFIG", str(tmp_path / "none.yml"))
    (tmp_path / "text").touch()
    done = run(command, *(["a.db"] if command == "replicate" else []), tmp_path / "text")
    assert done.exit_code == 2
    assert "is a file, not a replica" in done.stderr
    assert ("--config" in done.stderr) is has_config


def test_tables_align_and_are_not_wrapped(capsys):
    print_table(["name", "size"], [["a" * 200, 5], ["b", 12345]])
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading == "name" + " " * 198 + " size"
    assert first == "a" * 200 + "      5"
    assert second.endswith("12345")
    assert len(second) == len(first)


def test_an_empty_table_is_its_heading(capsys):
    print_table(["name", "size"], [])
    assert capsys.readouterr().out == "name  size\n"


def test_a_number_that_is_missing_leaves_its_column_one_of_numbers(capsys):
    print_table(["size", "name"], [["-", "a"], [12345, "b"]])
    assert capsys.readouterr().out == " size  name\n    -  a\n12345  b\n"


def test_one_is_not_a_plural(run, tmp_path):
    """It said "from 1 files"."""
    assert [counted(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.execute("CREATE TABLE t (v)")
    assert run("replicate", tmp_path / "app.db", tmp_path / "replica", "--once").exit_code == 0
    done = run("restore", tmp_path / "replica", "-o", tmp_path / "out.db")
    assert "2 pages of 4096 bytes from 1 file in" in done.stdout


def test_facts_align(capsys):
    print_facts([("a", 1), ("long name", None)])
    assert capsys.readouterr().out == "a          1\nlong name  None\n"


def test_times_are_utc_with_milliseconds():
    east = timezone(timedelta(hours=2))
    assert format_time(datetime(2026, 3, 1, 14, 0, 0, 123999, tzinfo=east)) == "2026-03-01T12:00:00.123Z"
    assert format_time(datetime(2026, 3, 1, tzinfo=UTC)) == "2026-03-01T00:00:00.000Z"
