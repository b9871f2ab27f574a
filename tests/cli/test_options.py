"""Both spellings of options, and what happens to wrong ones."""

import click
import pytest
from click.testing import CliRunner

from ltxcore.cli._options import SETTINGS, Command, option


@click.command("tool", cls=Command, context_settings=SETTINGS)
@click.argument("words", nargs=-1)
@option("-o", "--output")
@option("--once", is_flag=True)
@option("--if-db-not-exists", is_flag=True)
@option("--txid")
def tool(**got):
    click.echo(repr(sorted((name, value) for name, value in got.items() if value)))


def invoke(*argv):
    return CliRunner().invoke(tool, argv)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--txid", "12"], {"txid": "12"}),
        (["-txid", "12"], {"txid": "12"}),
        (["-txid=12"], {"txid": "12"}),
        (["--txid=12"], {"txid": "12"}),
        (["-o", "x"], {"output": "x"}),
        (["-ox"], {"output": "x"}),
        (["-output", "x"], {"output": "x"}),
        (["-once"], {"once": True}),
        (["-once=true"], {"once": True}),
        (["--once=T"], {"once": True}),
        (["-once=false"], {}),
        (["-once=0", "-if-db-not-exists"], {"if_db_not_exists": True}),
        (["a", "-once", "b"], {"once": True, "words": ("a", "b")}),
        (["--", "-once=true"], {"words": ("-once=true",)}),
        (["-o", "-once"], {"output": "-once"}),
    ],
)
def test_spellings(argv, expected):
    done = invoke(*argv)
    assert done.exit_code == 0, done.output
    assert done.output == f"{sorted(expected.items())!r}\n"


@pytest.mark.parametrize("spelling", ["-h", "--help", "-help"])
def test_help_shows_one_spelling_only(spelling):
    done = invoke(spelling)
    assert done.exit_code == 0
    assert "--if-db-not-exists" in done.output
    assert " -if-db-not-exists" not in done.output
    assert "-o, --output" in done.output


@pytest.mark.parametrize("argv", [["-txdi", "1"], ["--txdi", "1"]])
def test_an_unknown_option_is_named_whole(argv):
    done = invoke(*argv)
    assert done.exit_code == 2
    assert f"No such option '{argv[0]}'" in done.output
    assert "--txid" in done.output


def test_an_unknown_letter_is_named():
    done = invoke("-q")
    assert done.exit_code == 2
    assert "'-q'" in done.output


def test_a_flag_refuses_a_value_that_is_no_truth():
    assert invoke("-once=perhaps").exit_code == 2


def test_an_option_without_its_value_is_named_as_it_was_typed():
    done = invoke("-txid")
    assert done.exit_code == 2
    assert "'-txid' requires an argument" in done.output
