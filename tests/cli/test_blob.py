"""`ltxcore blob` about single blobs: ls, get, put, rm, over real stores."""

import json
import os
from datetime import datetime

import pytest

from ltxcore.blob_store import BlobStore

MIB = 1 << 20


def content(path):
    with BlobStore(path, readonly=True) as blobs:
        return dict(blobs)


# --- ls -----------------------------------------------------------------------------------------------------------


def test_ls(blob, store):
    assert blob("ls", store).stdout == "a/1\na/2\nb\n"
    assert blob("ls", store, "a/").stdout == "a/1\na/2\n"
    assert blob("ls", store, "nothing").stdout == ""
    assert json.loads(blob("ls", store, "b", "--json").stdout) == [{"name": "b"}]


def test_ls_of_a_directory(blob, store):
    assert blob("ls", store, "--directory").stdout == "a/\nb\n"
    assert blob("ls", store, "a", "--directory").stdout == "a/1\na/2\n"
    assert json.loads(blob("ls", store, "-directory", "-json").stdout) == [{"name": "a/"}, {"name": "b"}]


def test_ls_long(blob, store):
    heading, first, second = blob("ls", store, "a/", "--long").stdout.splitlines()
    assert heading.split() == ["size", "used", "hits", "name"]
    assert first.split()[0::3] == ["3", "a/1"]
    assert second.split()[0::3] == ["2560", "a/2"]
    (found,) = json.loads(blob("ls", store, "b", "-l", "--json").stdout)
    assert datetime.fromisoformat(found.pop("used_at")).tzinfo is not None
    assert found == {"name": "b", "size": 0, "hits": 0}


def test_ls_long_of_a_directory_shows_no_size_for_what_is_no_blob(blob, store):
    with BlobStore(store) as blobs:
        blobs["odd/"] = b"12345"
    rows = json.loads(blob("ls", store, "-l", "--directory", "--json").stdout)
    assert [(row["name"], row["size"]) for row in rows] == [("a/", None), ("b", 0), ("odd/", 5)]
    lines = blob("ls", store, "-l", "--directory").stdout.splitlines()
    assert lines[1].split() == ["-", "-", "-", "a/"]


# --- get ----------------------------------------------------------------------------------------------------------


def test_get_writes_bytes_to_stdout(blob, store):
    assert blob("get", store, "a/2").stdout_bytes == bytes(range(256)) * 10
    assert blob("get", store, "a/2", "-o", "-").stdout_bytes == bytes(range(256)) * 10
    assert blob("get", store, "b").stdout_bytes == b""


@pytest.mark.parametrize(
    ("options", "start", "end"),
    [
        (["--offset", "5"], 5, None),
        (["--length", "7"], 0, 7),
        (["--offset", "2559", "--length", "1KiB"], 2559, None),
        (["--offset", "1K", "--length", "0"], 0, 0),
        (["--offset", "1MiB"], 2560, None),
    ],
)
def test_get_a_part(blob, store, options, start, end):
    assert blob("get", store, "a/2", *options).stdout_bytes == (bytes(range(256)) * 10)[start:end]


def test_get_into_a_file(blob, store, tmp_path):
    out = tmp_path / "out.bin"
    out.write_bytes(b"what was there")
    assert blob("get", store, "a/1", "-o", out).stdout == f"{out}: 3 bytes\n"
    assert out.read_bytes() == b"one"
    found = json.loads(blob("get", store, "a/2", "-o", out, "--offset", 2558, "--json").stdout)
    assert found == {"name": "a/2", "offset": 2558, "size": 2, "path": str(out)}
    assert out.read_bytes() == b"\xfe\xff"
    assert not list(tmp_path.glob(".out*"))


def test_get_that_fails_leaves_the_output_as_it_was(blob, store, tmp_path):
    out = tmp_path / "out.bin"
    out.write_bytes(b"what was there")
    done = blob("get", store, "nope", "-o", out, code=1)
    assert done.stderr == f"Error: no blob 'nope'\nHint: ltxcore blob ls {store} shows what there is\n"
    assert out.read_bytes() == b"what was there"
    assert "no such file" in blob("get", store, "b", "-o", "none/out", code=1).stderr


def test_get_writes_to_a_device_as_it_is(blob, store):
    blob("get", store, "a/1", "-o", os.devnull)
    assert not os.path.isfile(os.devnull)


def test_get_is_misused(blob, store):
    assert "--output" in blob("get", store, "b", "--json", code=2).stderr
    assert "--output" in blob("get", store, "b", "-o", "-", "--json", code=2).stderr
    assert "store itself" in blob("get", store, "b", "-o", store, code=2).stderr
    assert "not a size" in blob("get", store, "b", "--offset", "-1", code=2).stderr


# --- put ----------------------------------------------------------------------------------------------------------


def test_put_from_stdin_makes_the_store(blob, tmp_path):
    data = bytes(range(256)) * (10 * MIB // 256) + b"end"
    assert blob("put", "new.db", "long", data=data).stdout == f"long: {len(data)} bytes\n"
    assert blob("put", "new.db", "short", "-", data=b"\0\r\n").stdout == "short: 3 bytes\n"
    assert content(tmp_path / "new.db") == {"long": data, "short": b"\0\r\n"}
    assert blob("get", "new.db", "long").stdout_bytes == data


def test_put_a_file_with_tags(blob, store, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"from a file")
    done = blob("put", store, "b", source, "--tag", "kind=text", "--tag", "note=a=b", "--json")
    tags = {"kind": "text", "note": "a=b"}
    assert json.loads(done.stdout) == {"name": "b", "size": 11, "tags": tags, "evicted": 0}
    assert content(store)["b"] == b"from a file"
    assert json.loads(blob("stat", store, "b", "--json").stdout)["tags"] == tags


def test_put_exclusive(blob, store):
    assert "blob 'b' already exists" in blob("put", store, "b", "--exclusive", data=b"x", code=1).stderr
    blob("put", store, "c", "--exclusive", data=b"x")
    assert content(store)["b"] == b""
    assert content(store)["c"] == b"x"


def test_put_sets_the_capacity_and_keeps_it(blob, tmp_path):
    for name in "abc":
        blob("put", "c.db", name, "--capacity", "2KiB", data=bytes(1024))
    assert list(content(tmp_path / "c.db")) == ["b", "c"]
    done = blob("put", "c.db", "d", data=bytes(2048))
    assert done.stdout == "d: 2048 bytes, 2 blobs evicted\n"
    assert "capacity of 2048" in blob("put", "c.db", "e", data=bytes(2049), code=1).stderr
    assert json.loads(blob("stat", "c.db", "--json").stdout)["usage"]["capacity"] == 2048
    blob("put", "c.db", "e", "--capacity", "none", data=bytes(2049))
    assert json.loads(blob("stat", "c.db", "--json").stdout)["usage"]["capacity"] is None
    assert list(content(tmp_path / "c.db")) == ["d", "e"]


def test_put_is_misused(blob, store):
    assert "does not exist" in blob("put", store, "b", "no-such-file", code=2).stderr
    assert "store itself" in blob("put", store, "b", store, code=2).stderr
    assert "NAME=TEXT" in blob("put", store, "b", "--tag", "kind", code=2).stderr
    assert "at least 1" in blob("put", store, "b", "--capacity", "0", code=2).stderr
    assert "or none, or keep" in blob("put", store, "b", "--capacity", "lots", code=2).stderr
    assert "cannot be empty" in blob("put", store, "", data=b"", code=1).stderr
    assert "no such file" in blob("put", "none/s.db", "b", data=b"", code=1).stderr


# --- rm -----------------------------------------------------------------------------------------------------------


def test_rm(blob, store):
    assert blob("rm", store, "a/1", "b").stdout == "2 removed\n"
    assert list(content(store)) == ["a/2"]


def test_rm_removes_what_it_can(blob, store):
    done = blob("rm", store, "nope", "b", code=1)
    assert (done.stdout, done.stderr) == ("1 removed\n", "no blob 'nope'\n")
    done = blob("rm", store, "nope", "a/1", "--missing-ok", "--json")
    assert json.loads(done.stdout) == {"removed": 1, "missing": ["nope"]}
    assert done.stderr == ""
    assert list(content(store)) == ["a/2"]


def test_rm_by_prefix(blob, store):
    assert blob("rm", store, "a/", "--prefix").stdout == "2 removed\n"
    done = blob("rm", store, "a/", "--prefix", code=1)
    assert done.stderr == "no blob starts with 'a/'\n"
    blob("rm", store, "a/", "--prefix", "--missing-ok")
    blob("rm", store, "", "--prefix", code=1)
    assert list(content(store)) == ["b"]


# --- what fails changes nothing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("piped", [True, False])
def test_a_put_that_fails_evicts_nothing(blob, store, tmp_path, exclusive, piped):
    before = content(store)
    large = tmp_path / "large"
    large.write_bytes(bytes(5000))
    source = ["-"] if piped else [large]
    options = ["--exclusive"] if exclusive else []
    keywords = {"data": large.read_bytes()} if piped else {}
    done = blob("put", store, "new", *source, "--capacity", "100", *options, code=1, **keywords)
    assert "capacity of 100" in done.stderr
    assert content(store) == before
    with BlobStore(store) as blobs:
        assert blobs.capacity is None


def test_a_lower_capacity_takes_effect_with_the_put(blob, store, tmp_path):
    (tmp_path / "file").write_bytes(bytes(100))
    done = blob("put", store, "new", tmp_path / "file", "--capacity", "100")
    assert "2 blobs evicted" in done.stdout
    assert content(store) == {"b": b"", "new": bytes(100)}


@pytest.mark.parametrize("tag", ["t=\udcff", "\udcff=t"])
def test_a_tag_that_is_not_utf8_is_refused(blob, store, tmp_path, tag):
    before = content(store)
    (tmp_path / "file").write_bytes(b"NEW")
    assert "UTF-8" in blob("put", store, "b", tmp_path / "file", "--tag", tag, code=2).stderr
    assert content(store) == before


def test_tags_come_with_the_blob(blob, store, tmp_path):
    (tmp_path / "file").write_bytes(b"NEW")
    blob("put", store, "b", tmp_path / "file", "--tag", "type=text", "--tag", "for=all")
    with BlobStore(store) as blobs:
        assert blobs["b"] == b"NEW" and blobs.tags("b") == {"type": "text", "for": "all"}


@pytest.mark.parametrize("command", [["check", "--repair"], ["vacuum"], ["rm", "a"], ["ls"]])
def test_an_empty_file_stays_one(blob, tmp_path, command):
    empty = tmp_path / "empty.db"
    empty.touch()
    assert (
        f"{empty}: the file is empty" in blob(command[0], *command[2:0], empty, *command[1:], code=1).stderr
    )
    assert empty.stat().st_size == 0


def test_an_error_names_the_file(blob, store):
    with BlobStore(store) as blobs:
        page_size = blobs.effective_options.page_size
    with store.open("r+b") as file:
        file.seek(2 * page_size)
        file.write(b"\xff" * page_size)
    done = blob("ls", store, "-l", code=1)
    assert str(store) in done.stderr and "malformed" in done.stderr
