"""What the README and the other documents show is what the program takes."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import click
import pytest

from ltxcore.blob_store import Options
from ltxcore.cli import app

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(r"^\$ ltxcore (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)\)")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

pytestmark = pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="the sources are out of reach")


def examples():
    return [line for path in DOCUMENTS if path.exists() for line in EXAMPLE.findall(path.read_text("ascii"))]


def parse(command, words):
    """Let the parser alone have its say: files need not exist. A group hands on to the command below it."""
    ctx = click.Context(command)
    command.make_parser(ctx).parse_args(list(words))
    if isinstance(command, click.Group):
        _, below, rest = command.resolve_command(ctx, list(words))
        parse(below, rest)


@pytest.mark.parametrize("line", examples())
def test_examples_are_understood(line):
    parse(app, shlex.split(line))


def test_there_are_examples_and_wrong_ones_fail():
    assert len(examples()) >= 6
    with pytest.raises(click.UsageError):
        parse(app, ["restore", "u", "--no-such-option"])
    with pytest.raises(click.UsageError):
        parse(app, ["file", "no-such-verb"])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in LINK.findall(path.read_text("ascii")):
        assert (path.parent / target).exists(), target


def test_make_targets_in_documents_exist():
    makefile = (ROOT / "Makefile").read_text("ascii")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for path in DOCUMENTS:
        assert set(re.findall(r"`make ([a-z-]+)`", path.read_text("ascii"))) <= targets, path.name


def test_every_option_of_a_blob_store_is_in_its_table():
    text = (ROOT / "docs" / "blob-store.md").read_text("ascii")
    table = text[text.index("## Options") : text.index("## Command line")]
    names = re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)
    assert names == [field.name for field in fields(Options)]
