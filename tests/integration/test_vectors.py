"""Replicas that real Litestream wrote, restored by us: the same bytes wherever it could, the right error wherever it refused.

`tests/vectors/README.md` says how they came to be. A damaged replica must never give a database that is not whole and
right: an error of ours and no file at all, or exactly the undamaged database.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import ltxcore
from ltxcore import errors

from tests.helpers import vectors
from tests.helpers.app import digest

CASES = vectors.manifests("v05")
DAMAGED = vectors.manifests("v05_corrupt")

# Where we do better than Litestream on purpose, with the TXID whose database is right:
# it refuses a time later than its newest file although nothing has changed since ("5 seconds ago" of an idle database).
TIME_AFTER_THE_NEWEST = {
    ("basic_ps4096", "2026-11-20T18:10:55.633Z"),
    ("basic_ps512", "2026-11-20T18:10:55.633Z"),
    ("checkpoint_mix", "2026-11-20T18:11:24.867Z"),
}
# Stray names in a level's directory are none of ours; Litestream takes one of them for a gap and refuses everything.
HARMLESS = {"junk_names"}
# Nothing in the replica says that a newer transaction ever existed: the one before it is what there is.
UNDETECTABLE = {"missing_last_delta"}


def restores(*ways: str) -> list[Any]:
    """One parameter for every restore of the manifests that was asked for in one of these ways."""
    return [
        pytest.param(
            case, entry, id="-".join(filter(None, (case, entry.get("txid"), entry.get("timestamp"))))
        )
        for case, manifest in CASES.items()
        for entry in manifest["restores"]
        if entry["by"] in ways
    ]


def target(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("txid", "timestamp") if key in entry}


def assert_nothing_left(directory: Path, output: Path) -> None:
    """Neither an output nor a temporary file beside it."""
    assert not output.exists()
    assert sorted(path.name for path in directory.iterdir()) == ["replica"]


@pytest.mark.parametrize(("case", "entry"), restores("latest", "txid", "timestamp"))
def test_restore_agrees_with_litestream(tmp_path: Path, case: str, entry: dict[str, Any]) -> None:
    """The newest state, every TXID and the time of every step: the same SHA-256 as Litestream's output, or no output."""
    replica = vectors.copy_case(case, tmp_path)
    output = tmp_path / "restored"
    if (case, entry.get("timestamp")) in TIME_AFTER_THE_NEWEST:
        ltxcore.restore(f"file://{replica}", output, **target(entry))
        assert digest(output) == newest(case)["sha256"] == CASES[case]["steps"][-1]["truth_sha"]
    elif entry["rc"] == 0:
        result = ltxcore.restore(f"file://{replica}", output, **target(entry))
        assert digest(output) == entry["sha256"]
        assert output.stat().st_size == entry["size"]
        if "txid" in entry:
            assert str(result.pos.txid) == entry["txid"]
    else:
        kind = errors.TXIDNotAvailableError if entry["by"] == "txid" else errors.RestoreError
        with pytest.raises(kind):
            ltxcore.restore(f"file://{replica}", output, **target(entry))
        assert_nothing_left(tmp_path, output)


def newest(case: str) -> dict[str, Any]:
    return next(entry for entry in CASES[case]["restores"] if entry["by"] == "latest")


@pytest.mark.parametrize("case", CASES)
def test_steps_are_what_plain_sqlite_had(tmp_path: Path, case: str) -> None:
    """Each step's TXID, where it can still be had, is byte for byte the copy that plain SQLite checkpointed then."""
    replica = vectors.copy_case(case, tmp_path)
    available = {
        entry["txid"] for entry in CASES[case]["restores"] if entry["by"] == "txid" and entry["rc"] == 0
    }
    compared = 0
    last = {step["sync"]["txid"]: step for step in CASES[case]["steps"] if step.get("sync")}
    for txid, step in last.items():
        if f"{txid:016x}" in available:
            output = tmp_path / f"restored-{txid}"
            ltxcore.restore(f"file://{replica}", output, txid=f"{txid:016x}")
            assert digest(output) == step["truth_sha"], step["sql"]
            compared += 1
    assert compared > 0


@pytest.mark.parametrize("parallelism", [1, 2, 8])
def test_any_number_of_threads_gives_the_same_bytes(tmp_path: Path, parallelism: int) -> None:
    """The shrinking database, whose files overwrite and cut each other, restored by one thread and by many."""
    replica = vectors.copy_case("vacuum_shrink", tmp_path)
    output = tmp_path / "restored"
    ltxcore.restore(f"file://{replica}", output, parallelism=parallelism)
    assert digest(output) == newest("vacuum_shrink")["sha256"]


@pytest.mark.parametrize("variant", DAMAGED)
def test_damage_is_never_restored(tmp_path: Path, variant: str) -> None:
    """One fault in one file: a typed error and nothing on the disk, never a wrong database."""
    replica = vectors.copy_damaged(variant, tmp_path)
    manifest, output = DAMAGED[variant], tmp_path / "restored"
    if variant in HARMLESS | UNDETECTABLE:
        ltxcore.restore(f"file://{replica}", output)
        expected = manifest["good_sha256"] if variant in HARMLESS else manifest["restore"]["sha256"]
        assert digest(output) == expected
        return
    with pytest.raises(errors.Error) as caught:
        ltxcore.restore(f"file://{replica}", output)
    assert not isinstance(caught.value, errors.InternalError)
    assert_nothing_left(tmp_path, output)


@pytest.mark.parametrize("variant", sorted(set(DAMAGED) - HARMLESS - UNDETECTABLE))
def test_damage_leaves_the_old_database_alone(tmp_path: Path, variant: str) -> None:
    """`overwrite=True` replaces a database by a whole one or not at all."""
    replica = vectors.copy_damaged(variant, tmp_path)
    output = tmp_path / "restored"
    output.write_bytes(b"precious")
    with pytest.raises(errors.Error):
        ltxcore.restore(f"file://{replica}", output, overwrite=True)
    assert output.read_bytes() == b"precious"


def test_an_existing_output_is_refused(tmp_path: Path) -> None:
    """Without `overwrite` a restore never touches what is there."""
    replica = vectors.copy_case("simple_4096", tmp_path)
    output = tmp_path / "restored"
    output.write_bytes(b"precious")
    with pytest.raises(errors.OutputExistsError):
        ltxcore.restore(f"file://{replica}", output)
    assert output.read_bytes() == b"precious"


def test_damage_in_a_file_nobody_needs_is_harmless(tmp_path: Path) -> None:
    """A TXID before the damaged file is restored as if nothing had happened to the later one."""
    replica = vectors.copy_damaged("delta_page_data", tmp_path)
    output = tmp_path / "restored"
    ltxcore.restore(f"file://{replica}", output, txid="0000000000000003")
    expected = next(e for e in CASES["simple_4096"]["restores"] if e.get("txid") == "0000000000000003")
    assert digest(output) == expected["sha256"]


def test_every_prefix_of_a_file_is_refused(tmp_path: Path) -> None:
    """A transfer that broke off at any byte: always an error of ours, never a database."""
    replica = vectors.copy_case("empty", tmp_path)
    whole = replica / "ltx/0/0000000000000001-0000000000000001.ltx"
    for path in (replica / "ltx").glob("[129]/*.ltx"):
        path.unlink()
    data = whole.read_bytes()
    for length in range(0, len(data), 7):
        whole.write_bytes(data[:length])
        with pytest.raises(errors.Error):
            ltxcore.restore(f"file://{replica}", tmp_path / "restored")
        assert_nothing_left(tmp_path, tmp_path / "restored")


def test_every_flipped_byte_is_refused(tmp_path: Path) -> None:
    """One byte of a file changed, one after the other: never a database that is not the undamaged one."""
    replica = vectors.copy_case("empty", tmp_path)
    for path in (replica / "ltx").glob("[129]/*.ltx"):
        path.unlink()
    output = tmp_path / "restored"
    ltxcore.restore(f"file://{replica}", output)
    good = output.read_bytes()
    output.unlink()
    path = replica / "ltx/0/0000000000000002-0000000000000002.ltx"
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        with pytest.raises(errors.Error):
            ltxcore.restore(f"file://{replica}", output)
        assert not output.exists()
    path.write_bytes(data)
    ltxcore.restore(f"file://{replica}", output)
    assert output.read_bytes() == good


def test_copies_are_faithful(tmp_path: Path) -> None:
    """The vectors in the repository are the ones that were recorded, and the copies have their times."""
    for case, manifest in CASES.items():
        copied = tmp_path / case
        copied.mkdir()
        vectors.copy_case(case, copied)
        for file in manifest["files"]:
            assert hashlib.sha256((copied / file["path"]).read_bytes()).hexdigest() == file["sha256"]
            assert (copied / file["path"]).stat().st_mtime_ns == file["mtime_ns"]


@pytest.mark.parametrize("case", CASES)
def test_times_survive_a_copy_without_them(tmp_path: Path, case: str) -> None:
    """A replica copied by a tool that sets new modification times still restores by time: the headers know theirs.

    Litestream then says "timestamp does not exist" for all of them.
    """
    replica = vectors.copy_case(case, tmp_path)
    shutil.copytree(replica, tmp_path / "copied", copy_function=shutil.copyfile)
    for path in (tmp_path / "copied").rglob("*.ltx"):
        os.utime(path)
    steps = [entry for entry in CASES[case]["restores"] if entry["by"] == "timestamp" and entry["rc"] == 0]
    for number, entry in enumerate(steps):
        output = tmp_path / f"restored-{number}"
        ltxcore.restore(f"file://{tmp_path / 'copied'}", output, timestamp=entry["timestamp"])
        assert digest(output) == entry["sha256"], entry["timestamp"]
