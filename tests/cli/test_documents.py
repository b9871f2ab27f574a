"""What the README and the other documents say is what the program takes, has and needs."""

import ast
import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path

import click
import pytest

from ltxcore import errors
from ltxcore.blob_store import Options
from ltxcore.cli import app

from tests.helpers.acts_compare_acts import ACTS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(r"^\s*\$ ltxcore (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^):]+)\)")
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]

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


def anchors(path):
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text("ascii"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for link in LINK.findall(path.read_text("ascii")):
        target, _, anchor = link.partition("#")
        page = path.parent / target if target else path
        assert page.exists(), link
        assert not anchor or anchor in anchors(page), link


def test_the_site_has_every_page():
    in_site = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text("ascii"))
    in_docs = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(in_site) == sorted(in_docs)


def test_make_targets_in_documents_exist():
    makefile = (ROOT / "Makefile").read_text("ascii")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for path in DOCUMENTS:
        assert set(re.findall(r"`make ([a-z-]+)`", path.read_text("ascii"))) <= targets, path.name


def rows(text, heading, following):
    """The cells of the table in a section."""
    section = text[text.index(heading) : text.index(following, text.index(heading))]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if re.match(r"\| `", line)
    ]


def value(text):
    """A default as a table shows it: `64 MiB`, `10,000`, `"normal"`."""
    number, _, unit = text.strip("`").replace(",", "").partition(" ")
    return ast.literal_eval(number) * {"": 1, "MiB": 1 << 20}[unit] if unit else ast.literal_eval(number)


def test_every_option_of_a_blob_store_is_in_its_table():
    text = (ROOT / "docs" / "blob-store.md").read_text("ascii")
    shown = {row[0].strip("`"): value(row[1]) for row in rows(text, "## Options", "## Command line")}
    assert shown == {field.name: field.default for field in fields(Options)}


def test_errors_of_a_blob_store_have_the_bases_in_their_table():
    text = (ROOT / "docs" / "blob-store.md").read_text("ascii")
    shown = {
        row[0].strip("`"): set(re.findall(r"\w+", row[1])) for row in rows(text, "| Error |", "## Limits")
    }
    for name, bases in shown.items():
        own = getattr(errors, name).__bases__
        assert bases == {base.__name__ for base in own if not issubclass(base, errors.Error)}, name
    blob = {name for name in errors.__all__ if issubclass(getattr(errors, name), errors.BlobStoreError)}
    assert blob - {"BlobStoreError"} <= shown.keys()


def test_versions_are_those_of_the_build():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("ascii"))["project"]
    rust = tomllib.loads((ROOT / "Cargo.toml").read_text("ascii"))["workspace"]["package"]["rust-version"]
    readme = (ROOT / "README.md").read_text("ascii")
    assert re.findall(r"Rust (\d[\d.]*\d)", readme) == [rust]
    assert re.findall(r"Python (\d[\d.]*\d) or later", readme) == [
        project["requires-python"].removeprefix(">=")
    ]


def dependencies():
    """Everything that a build, a test or the site needs from a registry."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("ascii"))
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    yield from {re.match(r"[\w-]+", each)[0].lower() for each in wanted}
    for manifest in [ROOT / "Cargo.toml", *ROOT.glob("rust/*/Cargo.toml"), ROOT / "benches/codec/Cargo.toml"]:
        parsed = tomllib.loads(manifest.read_text("ascii"))
        for table in (parsed, parsed.get("workspace", {})):
            for kind in ("dependencies", "dev-dependencies"):
                for name, what in table.get(kind, {}).items():
                    if not (isinstance(what, dict) and ("path" in what or what.get("workspace"))):
                        yield name


def test_every_library_has_its_reason():
    text = (ROOT / "docs" / "design.md").read_text("ascii")
    section = text[text.index("## Libraries, and why") : text.index("The LZ4 library was chosen")]
    named = {
        name.lower()
        for row in section.splitlines()
        for name in re.findall(r"`([\w-]+)`", row.split(" | ")[0])
    }
    assert {name for name in dependencies() if not name.endswith(".workspace")} - named == set()


def test_the_acts_of_operators_are_those_that_were_run():
    text = (ROOT / "docs" / "operator-acts.md").read_text("ascii")
    shown = re.findall(r"^\| (\d+)\. (.+?) \|", text, re.MULTILINE)
    assert [(int(number), name) for number, name in shown] == list(enumerate((act.name for act in ACTS), 1))
    for path in DOCUMENTS:
        counts = re.findall(r"(\d+) (?:such )?acts", path.read_text("ascii"))
        assert set(counts) <= {str(len(ACTS))}, path.name


def test_the_limit_of_lines_is_the_one_that_is_checked():
    script = (ROOT / "scripts" / "check_files.py").read_text("ascii")
    (limit,) = re.findall(r"^MAX_LINES = (\d+)$", script, re.MULTILINE)
    assert f"warns above {limit} lines" in (ROOT / "CONTRIBUTING.md").read_text("ascii")
