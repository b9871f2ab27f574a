"""The real program on real databases: replicate, list, restore, and single files.

The application is this process with its `sqlite3`; the replicator is always another one.
"""

import contextlib
import hashlib
import json
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

INSERT = (
    "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1], timeout=5); "
    "connection.execute('INSERT INTO entry (body) VALUES (?)', ('last',)); connection.commit(); connection.close()"
)


class Site:
    """A database with a table, and where its replica goes."""

    def __init__(self, folder: Path) -> None:
        self.db, self.replica, self.out = folder / "app.db", folder / "replica", folder / "out.db"
        self.url = self.replica.as_uri()
        self.connection = sqlite3.connect(self.db, isolation_level=None, timeout=5)
        self.connection.execute("PRAGMA journal_mode = wal")
        self.connection.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, body TEXT)")

    def insert(self, count: int = 1) -> None:
        for _ in range(count):
            self.connection.execute("INSERT INTO entry (body) VALUES (hex(randomblob(50)))")

    def rows(self) -> list:
        return self.connection.execute("SELECT * FROM entry").fetchall()

    def l0(self) -> list[Path]:
        return sorted(self.replica.glob("ltx/0/*.ltx"))


def restored(path: Path) -> list:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT * FROM entry").fetchall()


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.connection.close()


def until(true, *, what):
    end = time.monotonic() + 15
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def replicate_once(ltxcore, site, *more):
    return ltxcore.json("replicate", site.db, site.url, "--once", *more)


def test_once_and_restore(ltxcore, site):
    site.insert(3)
    first = replicate_once(ltxcore, site)
    known = site.rows()
    site.insert(3)
    second = replicate_once(ltxcore, site)
    assert (second["db_path"], second["replica"]) == (str(site.db), "file")
    assert int(second["txid"], 16) > int(first["txid"], 16) > 0

    done = ltxcore.json("restore", site.url, "-o", site.out, "-integrity-check", "full")
    assert (done["txid"], done["integrity_check"], done["db_path"]) == (second["txid"], "full", str(site.out))
    assert restored(site.out) == site.rows()

    ltxcore("restore", site.replica, "-o", "then.db", "-txid", first["txid"])
    assert restored(site.out.with_name("then.db")) == known


def test_the_list_is_what_the_directory_holds(ltxcore, site):
    site.insert(3)
    replicate_once(ltxcore, site, "-force-snapshot")
    listed = ltxcore.json("ltx", site.url, "-level", "all")
    names = {f"{each['level']}/{each['min_txid']}-{each['max_txid']}.ltx": each["size"] for each in listed}
    files = {
        f"{path.parent.name}/{path.name}": path.stat().st_size for path in site.replica.glob("ltx/*/*.ltx")
    }
    assert names == files
    assert {each["level"] for each in listed} == {0, 9}
    assert ltxcore.json("ltx", site.url) == [each for each in listed if each["level"] == 0]
    plan = ltxcore.json("restore", site.url, "-o", site.out, "-dry-run")
    assert [each["level"] for each in plan["files"]] == [9]
    assert not site.out.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_until_a_signal_and_loses_nothing(ltxcore, site, number):
    process = ltxcore.start("replicate", site.db, site.url, "--sync-interval", "1h", "--json")
    until(site.l0, what="a first upload")
    site.insert(20)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "replicating" in err
    assert ltxcore.json("restore", site.url, "-o", site.out)["txid"] == json.loads(out)["txid"]
    assert restored(site.out) == site.rows()


@pytest.mark.parametrize("code", [0, 3])
def test_what_the_command_wrote_last_is_in_the_replica(ltxcore, site, code):
    line = shlex.join([sys.executable, "-c", f"{INSERT}; sys.exit({code})", str(site.db)])
    ltxcore("replicate", site.db, site.url, "-exec", line, code=code)
    ltxcore("restore", site.url, "-o", site.out)
    assert restored(site.out) == site.rows()
    assert site.rows()[-1][1] == "last"


def test_the_command_gets_the_signal_and_its_word_counts(ltxcore, site, tmp_path):
    ready = tmp_path / "ready"
    # Python may sleep on if a signal comes right before a sleep.
    code = (
        f"import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7));"
        f"pathlib.Path({str(ready)!r}).touch(); [time.sleep(0.1) for _ in range(300)]"
    )
    process = ltxcore.start(
        "replicate", site.db, site.url, "--exec", shlex.join([sys.executable, "-c", code])
    )
    until(ready.exists, what="the command")
    site.insert(5)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 7, err
    ltxcore("restore", site.url, "-o", site.out)
    assert restored(site.out) == site.rows()


def test_a_final_sync_that_fails_is_exit_code_1(ltxcore, site, tmp_path):
    ready = tmp_path / "ready"
    code = f"import pathlib, time; pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    command = shlex.join([sys.executable, "-c", code])
    process = ltxcore.start("replicate", site.db, site.url, "--exec", command, "--shutdown-timeout", "1s")
    # It is started once the database is open: what fails before that is not the final sync.
    until(ready.exists, what="the command")
    until(site.l0, what="a first upload")
    site.replica.rename(site.replica.with_name("gone"))
    site.replica.write_text("in the way")
    site.insert(5)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "may be missing" in err
    assert "Error: " in err


def test_a_database_that_is_missing_comes_back(ltxcore, site):
    site.insert(3)
    replicate_once(ltxcore, site)
    rows, other = site.rows(), site.db.with_name("other.db")
    ltxcore("replicate", other, site.url, "--once", "-restore-if-db-not-exists")
    assert restored(other) == rows


def test_restore_does_not_overwrite(ltxcore, site):
    site.insert(3)
    replicate_once(ltxcore, site)
    site.out.write_text("precious")
    process = ltxcore.start("restore", site.url, "-o", site.out)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err.startswith("Error: ")
    assert site.out.read_text() == "precious"
    assert ltxcore("restore", site.url, "-o", site.out, "-if-db-not-exists") == ""
    assert site.out.read_text() == "precious"
    ltxcore("restore", site.url, "-o", site.out, "-force")
    assert restored(site.out) == site.rows()


def test_what_cannot_be_restored(ltxcore, site, tmp_path):
    empty = (tmp_path / "empty").as_uri()
    assert ltxcore("restore", empty, "-o", site.out, code=1) == ""
    assert ltxcore("restore", empty, "-o", site.out, "-if-replica-exists") == ""
    replicate_once(ltxcore, site)
    assert ltxcore("restore", site.url, "-o", site.out, "-txid", "00000000000000ff", code=1) == ""
    assert ltxcore("restore", site.url, "-o", site.out, "-timestamp", "2001-01-01T00:00:00Z", code=1) == ""
    assert ltxcore("restore", "ftp://nowhere", "-o", site.out, code=2) == ""
    assert not site.out.exists()


def test_a_time_after_the_end_is_the_end(ltxcore, site):
    site.insert(3)
    replicate_once(ltxcore, site)
    assert (
        ltxcore.json("restore", site.url, "-o", site.out, "-timestamp", "2099-01-01T00:00:00Z")["clamped"]
        is True
    )
    assert restored(site.out) == site.rows()


def test_single_files(ltxcore, site, tmp_path):
    site.insert(3)
    replicate_once(ltxcore, site)
    files = site.l0()
    assert [each["ok"] for each in ltxcore.json("file", "verify", *files)] == [True] * len(files)
    (dumped, *_) = ltxcore.json("file", "dump", *files)
    assert (dumped["min_txid"], dumped["is_snapshot"], dumped["page_size"]) == (
        "0000000000000001",
        True,
        4096,
    )
    assert len(dumped["pages"]) == dumped["page_count"]
    assert "pages" not in ltxcore.json("file", "dump", "-no-pages", files[0])[0]
    assert "page size" in ltxcore("file", "dump", files[0])

    ltxcore("file", "apply", *files, "--db", "applied.db")
    ltxcore("restore", site.url, "-o", site.out)
    applied = tmp_path / "applied.db"
    assert digest(applied) == digest(site.out)
    (checksum,) = ltxcore.json("file", "checksum", "out.db")
    assert ltxcore.json("file", "encode", "out.db", "-o", "whole.ltx")["post_apply_checksum"] == "0" * 16
    assert ltxcore.json("file", "dump", "whole.ltx")[0]["has_checksums"] is False
    encoded = ltxcore.json("file", "encode", "out.db", "-o", "whole.ltx", "-checksums")
    assert encoded["post_apply_checksum"] == checksum["checksum"]
    (whole,) = ltxcore.json("file", "dump", "whole.ltx")
    assert (whole["has_checksums"], whole["post_apply_checksum"]) == (True, checksum["checksum"])


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_damaged_file_is_refused_before_anything_is_written(ltxcore, site, tmp_path):
    site.insert(3)
    replicate_once(ltxcore, site)
    bad = tmp_path / "bad.ltx"
    content = bytearray(site.l0()[0].read_bytes())
    content[len(content) // 2] ^= 1
    bad.write_bytes(content)
    good, wrong = ltxcore.json("file", "verify", site.l0()[0], bad, code=1)
    assert (good["ok"], wrong["ok"]) == (True, False)
    assert wrong["error"]
    ltxcore("file", "apply", site.l0()[0], bad, "--db", "applied.db", code=1)
    assert not (tmp_path / "applied.db").exists()
    ltxcore("file", "dump", bad, code=1)


def test_files_are_applied_to_databases_only(ltxcore, site, tmp_path):
    """Pages were written over the beginning of any file."""
    site.insert()
    replicate_once(ltxcore, site)
    text = b"SQLite is mentioned here\n" * 1000
    (tmp_path / "notes.txt").write_bytes(text)
    ltxcore("file", "apply", *site.l0(), "--db", "notes.txt", code=1)
    assert (tmp_path / "notes.txt").read_bytes() == text
    (tmp_path / "new.db").touch()
    for _ in ("empty", "a database"):
        ltxcore("file", "apply", *site.l0(), "--db", "new.db")
        assert restored(tmp_path / "new.db") == site.rows()


def test_a_database_in_use_is_not_encoded(ltxcore, site):
    site.insert(3)
    ltxcore("file", "checksum", site.db, code=1)
    ltxcore("file", "encode", site.db, "-o", "whole.ltx", code=1)
    assert not site.out.with_name("whole.ltx").exists()


def test_the_installed_script_is_the_same_program(ltxcore):
    script = Path(sys.executable).with_name("ltxcore")
    done = subprocess.run([script, "version"], capture_output=True, text=True, check=True)
    assert done.stdout == ltxcore("version")
