"""`ltxcore blob` about whole stores: stat, check, vacuum, import; and what all its commands do alike."""

import json
import os
import sqlite3
import subprocess
import sys

import pytest

from ltxcore.blob_store import BlobStore, Options

from tests.unit.blobs import ORIGINAL

MIB = 1 << 20


def content(path):
    with BlobStore(path, readonly=True) as blobs:
        return dict(blobs)


# --- stat ---------------------------------------------------------------------------------------------------------


def test_stat_of_a_blob(blob, store):
    found = json.loads(blob("stat", store, "a/2", "--json").stdout)
    assert (found["name"], found["size"], found["hits"]) == ("a/2", 2560, 0)
    assert found["tags"] == {"kind": "table"}
    assert found["created_at"].endswith("Z")
    text = blob("stat", store, "a/2").stdout
    assert "size        2560\n" in text
    assert "tags        kind=table\n" in text
    assert "no blob" in blob("stat", store, "nope", code=1).stderr


def test_stat_of_a_store(blob, tmp_path):
    with BlobStore(tmp_path / "f.db", capacity=MIB, options=Options(page_size=4096, policy="fifo")) as blobs:
        blobs["x"] = bytes(1000)
    found = json.loads(blob("stat", "f.db", "--json").stdout)
    assert found["path"] == "f.db"
    assert found["usage"]["payload_bytes"] == 1000
    assert found["usage"]["items"] == 1
    assert found["usage"]["capacity"] == MIB
    assert found["options"]["page_size"] == 4096
    assert found["options"]["policy"] == "fifo"
    assert found["options"]["journal_mode"] == "wal"
    lines = blob("stat", "f.db").stdout.splitlines()
    assert "capacity            1048576" in lines
    assert "policy              fifo" in lines


# --- check, vacuum ------------------------------------------------------------------------------------------------


def spoil(path):
    """Take a chunk away behind the back of the store, and make the totals wrong."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DELETE FROM chunk WHERE id = (SELECT id FROM item WHERE name = 'a/1')")
        connection.execute("UPDATE meta SET bytes = bytes + 5")
    connection.close()


def test_check_of_a_store_that_is_whole(blob, store):
    assert blob("check", store).stdout == f"{store}: ok\n"
    found = json.loads(blob("check", store, "--repair", "--json").stdout)
    assert found["ok"] is True
    assert found["problems"] == []


def test_check_finds_and_repairs(blob, store):
    spoil(store)
    done = blob("check", store, code=1)
    assert "'a/1' does not have all its bytes" in done.stdout
    assert done.stdout.endswith(f"{store}: not ok\n")
    assert f"--repair {store}" in done.stderr
    found = json.loads(blob("check", store, "--json", code=1).stdout)
    assert (found["ok"], found["broken"], found["bytes_off"]) == (False, ["a/1"], 5)
    assert blob("check", store, "--repair").stdout.endswith(f"{store}: repaired\n")
    assert blob("check", store).stdout == f"{store}: ok\n"
    assert list(content(store)) == ["a/2", "b"]


def test_vacuum(blob, tmp_path):
    path = tmp_path / "v.db"
    with BlobStore(path, options=Options(auto_vacuum="none", page_size=1024)) as blobs:
        blobs["big"] = bytes(MIB)
        del blobs["big"]
    before = path.stat().st_size
    found = json.loads(blob("vacuum", path, "--json").stdout)
    assert found["pages"] * 1024 == found["bytes"] == before - path.stat().st_size > MIB
    assert blob("vacuum", path).stdout == "0 pages of 1024 bytes returned to the file system\n"
    assert (
        blob("vacuum", path, "--pages", "5").stdout == "0 pages of 1024 bytes returned to the file system\n"
    )
    blob("vacuum", path, "--pages", "-5", code=2)


def test_vacuum_of_a_store_as_it_is_made(blob, tmp_path):
    """From outside, so that what closing gives back is not there any more."""
    path = tmp_path / "v.db"
    with BlobStore(path, options=Options(page_size=1024)) as blobs:
        blobs["big"] = bytes(8 * MIB)
        del blobs["big"]
        assert blobs.usage().freelist > 8000
        found = json.loads(blob("vacuum", path, "--pages", "100", "--json").stdout)
        # Pages that map others go as well.
        assert 100 <= found["pages"] < 110
        assert found["bytes"] == found["pages"] * 1024
        assert json.loads(blob("vacuum", path, "--json").stdout)["pages"] > 3000
        assert blobs.usage().freelist == 0


# --- import -------------------------------------------------------------------------------------------------------


@pytest.fixture
def original(tmp_path):
    """A database with the original tables: two blobs, and one without data."""
    path = tmp_path / "original.db"
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE blob (name TEXT PRIMARY KEY, last_used TEXT, data BLOB)")
        connection.execute("CREATE TABLE blob_meta (key TEXT PRIMARY KEY, value)")
        connection.execute("CREATE TABLE setting (name TEXT PRIMARY KEY, value)")
        rows = [("old", "2021-01-01", b"1234"), ("new", "2021-01-02", b"5678"), ("bad", "2021-01-03", None)]
        connection.executemany("INSERT INTO blob VALUES (?, ?, ?)", rows)
    connection.close()
    return path


def test_import(blob, original, tmp_path):
    done = blob("import", "i.db", original)
    assert done.stdout == "2 blobs of 8 bytes imported, 1 skipped, 0 evicted\n"
    assert done.stderr == "skipped: 'bad' has no data\n"
    assert content(tmp_path / "i.db") == {"old": b"1234", "new": b"5678"}


def test_import_into_a_bounded_store_keeps_what_was_used_last(blob, original, tmp_path):
    found = json.loads(blob("import", "i.db", original, "--capacity", "7", "--json").stdout)
    assert found == {"blobs": 2, "bytes": 8, "skipped": ["'bad' has no data"], "evicted": 1}
    assert list(content(tmp_path / "i.db")) == ["new"]


def test_import_is_misused(blob, original, store):
    assert "does not exist" in blob("import", store, "no.db", code=2).stderr
    assert "store itself" in blob("import", original, original, code=2).stderr
    assert "no table of blobs" in blob("import", store, make_other("other.db"), code=1).stderr
    assert "import it" in blob("ls", original, code=1).stderr


def make_other(path):
    """A database of something else."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE note (body)")
    connection.close()
    return path


# --- every command ------------------------------------------------------------------------------------------------

ON_STORES_THAT_EXIST = [
    ["ls"],
    ["get", "b"],
    ["rm", "b"],
    ["stat"],
    ["stat", "b"],
    ["check"],
    ["check", "--repair"],
    ["vacuum"],
]


@pytest.mark.parametrize("words", ON_STORES_THAT_EXIST, ids=" ".join)
def test_a_store_that_is_not_there_is_not_made(blob, tmp_path, words):
    done = blob(words[0], "no.db", *words[1:], code=1)
    assert done.stderr == f"Error: {tmp_path / 'no.db'}: no such file or directory\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ON_STORES_THAT_EXIST, ids=" ".join)
def test_a_database_of_something_else_is_left_alone(blob, tmp_path, words):
    before = (tmp_path / make_other("other.db")).read_bytes()
    done = blob(words[0], "other.db", *words[1:], code=1)
    assert "other.db: the database belongs to another application\nHint: " in done.stderr
    assert (tmp_path / "other.db").read_bytes() == before
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam, " * 100)
    assert "letter.txt: file is not a database" in blob(words[0], "letter.txt", *words[1:], code=1).stderr


def test_reading_does_not_count_as_use(blob, store):
    before = store.read_bytes()
    for words in [["ls", "-l"], ["get", "a/1"], ["stat"], ["stat", "a/1"], ["check"]]:
        blob(words[0], store, *words[1:])
    assert store.read_bytes() == before


def test_reading_goes_on_beside_a_process_that_writes(blob, store):
    with BlobStore(store) as blobs, blobs.open("w", "wb") as file:
        file.write(bytes(3 * MIB))
        assert blob("ls", store).stdout == "a/1\na/2\nb\n"
        blobs["c"] = b"new"
        assert blob("get", store, "c").stdout == "new"
        assert json.loads(blob("stat", store, "--json").stdout)["usage"]["staged_bytes"] >= 2 * MIB


@pytest.mark.process
def test_through_pipes(tmp_path):
    """The real program: bytes in by a pipe, out by another, and a reader that has seen enough."""
    program = [sys.executable, "-m", "ltxcore", "blob"]
    data = os.urandom(3 * MIB + 1)
    subprocess.run([*program, "put", "p.db", "x"], input=data, cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run([*program, "get", "p.db", "x"], cwd=tmp_path, check=True, capture_output=True)
    assert done.stdout == data
    with subprocess.Popen(
        [*program, "get", "p.db", "x"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(10) == data[:10]
        process.stdout.close()
        assert process.stderr.read() == b""


# --- import with a bound ------------------------------------------------------------------------------------------


def original_of(path, sizes):
    with sqlite3.connect(path) as connection:
        connection.executescript(ORIGINAL)
        rows = [
            (f"{number}", f"2021-01-01 00:00:{number:02}", bytes(size)) for number, size in enumerate(sizes)
        ]
        connection.executemany("INSERT INTO blob (name, last_used, data) VALUES (?, ?, ?)", rows)
    connection.close()
    return path


def test_an_import_is_bounded_while_it_goes_on(blob, tmp_path):
    source = original_of(tmp_path / "original.db", [100] * 20 + [5000])
    done = blob("import", "new.db", source, "--capacity", "3000")
    assert "20 blobs" in done.stdout and "1 skipped" in done.stdout
    with BlobStore(tmp_path / "new.db") as blobs:
        assert len(blobs) == 20 and blobs.capacity == 3000


def test_an_import_that_fails_evicts_nothing(blob, store, tmp_path):
    (tmp_path / "text").write_text("no database at all\n" * 1000)
    done = blob("import", store, tmp_path / "text", "--capacity", "1", code=1)
    assert str(tmp_path / "text") in done.stderr
    with BlobStore(store) as blobs:
        assert len(blobs) == 3 and blobs.capacity is None


def test_a_put_that_does_not_fit_where_nothing_is_evicted_changes_nothing(blob, tmp_path):
    path = tmp_path / "none.db"
    with BlobStore(path, options=Options(policy="none")) as blobs:
        blobs["a"] = bytes(50)
    (tmp_path / "file").write_bytes(bytes(60))
    assert "capacity of 100" in blob("put", path, "b", tmp_path / "file", "--capacity", "100", code=1).stderr
    with BlobStore(path) as blobs:
        assert dict(blobs) == {"a": bytes(50)}
