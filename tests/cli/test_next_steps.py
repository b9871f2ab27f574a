"""The mistakes of a first day: each error names what is wrong, and what to do next."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import click
import pytest

import ltxcore
from ltxcore.cli import app


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A database and its replica, in the current directory."""
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("app.db")) as con:
        con.execute("CREATE TABLE note (body)")
    with ltxcore.DB("app.db", replica="replica") as db:
        db.wait(timeout=10)
    return tmp_path


@pytest.mark.parametrize(
    "argv",
    [
        ["replicate", "file:///srv/app.db", "replica"],
        ["replicate", "app.db", "replica", "--meta-path", "file:///srv/meta"],
        ["restore", "replica", "-o", "s3://bucket/app.db"],
        ["restore", "-c", "file:///etc/litestream.yml", "app.db"],
        ["ltx", "-c", "file:///etc/litestream.yml", "app.db"],
        ["doctor", "file:///srv/app.db"],
        ["file", "verify", "file:///srv/a.ltx"],
        ["file", "dump", "file:///srv/a.ltx"],
        ["file", "apply", "file:///srv/a.ltx", "--db", "b.db"],
        ["file", "encode", "file:///srv/app.db", "-o", "a.ltx"],
        ["file", "encode", "app.db", "-o", "file:///srv/a.ltx"],
        ["file", "checksum", "file:///srv/app.db"],
        ["blob", "ls", "file:///srv/cache.db"],
    ],
)
def test_a_url_where_a_path_is_needed(run, site, argv):
    """The message spoke of a URL that had lost a slash, since pathlib had removed it."""
    before = sorted(Path().iterdir())
    done = run(*argv)
    assert done.exit_code == 2
    url = next(arg for arg in argv if "://" in arg)
    assert f"a path is needed, not a URL: {url}" in done.stderr
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["replicate", "no.db", "replica", "--once"], "Hint: check the path; "),
        (
            ["replicate", "app.db", "gs://bucket/app", "--once"],
            "Hint: write the path of a directory, file:///path, s3://bucket/path or https://host/path",
        ),
        (
            ["restore", "replica", "-o", "x.db", "--txid", "0000000000000099"],
            "Hint: list what can be restored",
        ),
        (["restore", "-c", "no.yml", "app.db"], "Hint: check the path; without one it is $LITESTREAM_CONFIG"),
        (
            ["replicate", "app.db", "new", "--exec", "exit 3"],
            "cannot start exit: No such file or directory\nHint: --exec",
        ),
    ],
)
def test_what_to_do_next(run, site, argv, said):
    done = run(*argv)
    assert done.exit_code in (1, 2)
    assert said in done.stderr


def test_a_database_that_is_not_in_the_configuration_lists_those_that_are(run, site):
    Path("two.yml").write_text("dbs:\n  - path: /srv/a.db\n  - path: /srv/b.db\n")
    done = run("restore", "-c", "two.yml", "/srv/c.db", "-o", "c.db")
    assert done.stderr.endswith("not found in config: /srv/c.db\nHint: the file has: /srv/a.db, /srv/b.db\n")
    Path("none.yml").write_text("dbs: []\n")
    assert (
        "Hint: the file has no database" in run("restore", "-c", "none.yml", "/srv/c.db", "-o", "c.db").stderr
    )


def test_a_damaged_file_of_the_replica_has_a_next_step(run, site):
    (file,) = Path("replica/ltx/0").iterdir()
    file.write_bytes(bytes(each ^ (at == 120) for at, each in enumerate(file.read_bytes())))
    done = run("restore", "replica", "-o", "x.db")
    assert done.exit_code == 1
    assert "Error: damaged file: level 0, " in done.stderr
    assert "Hint: restore a state from before this file, or put a sound copy" in done.stderr


def test_a_file_that_is_not_valid_is_named_once(run, site):
    done = run("file", "verify", "app.db")
    assert (done.exit_code, done.stdout) == (1, "app.db: not an LTX file\n")
    assert json.loads(run("file", "verify", "app.db", "--json").stdout)[0]["error"] == "not an LTX file"


def test_facts_are_no_python(run, site):
    (file,) = Path("replica/ltx/0").iterdir()
    run("blob", "put", "store.db", "name", "app.db")
    for argv in (["file", "dump", file], ["blob", "stat", "store.db"], ["doctor", "app.db"]):
        shown = run(*argv).stdout
        assert "yes" in shown.split() or "no" in shown.split()
        assert not {"True", "False", "None"} & set(shown.split())


@pytest.mark.parametrize(
    ("typed", "meant"), [("--onec", "--once"), ("-onec", "--once"), ("--force-snapshots", "--force-snapshot")]
)
def test_only_near_options_are_suggested(run, site, typed, meant):
    """For --onec it also named --json, and -once as another one."""
    said = run("replicate", "app.db", "replica", typed).stderr
    assert f"No such option '{typed}'." in said
    assert f"Did you mean '{meant}'?" in said or f"Did you mean {meant}?" in said


def test_the_lists_of_commands_are_not_cut_off():
    def groups(group, ctx):
        yield group, ctx
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            if isinstance(command, click.Group):
                yield from groups(command, click.Context(command, info_name=name, parent=ctx))

    for group, ctx in groups(app, click.Context(app, info_name="ltxcore")):
        for name in group.list_commands(ctx):
            short = group.get_command(ctx, name).get_short_help_str(60)
            assert short and not short.endswith("..."), (group.name, name, short)
