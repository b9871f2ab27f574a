"""Replicas that the real Litestream 0.3.13 wrote, restored by us: the same bytes wherever it could, or the right error.

By the library and by the command. `tests/vectors/README.md` says how the replicas came to be.
"""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import ltxcore
from ltxcore import errors, legacy
from ltxcore.cli import app

from tests.helpers import vectors
from tests.helpers.app import digest
from tests.helpers.litestream03 import content

CASES = vectors.manifests("v03")
DAMAGED = vectors.manifests("v03_corrupt")
BASE = "basic_ps4096"

# Nothing was written after the newest object, so a later time means the newest state. Both Litestreams refuse it, and with it
# "5 seconds ago" of a database that is idle.
TIME_AFTER_THE_NEWEST = {(BASE, "2026-11-20T18:13:11.710Z")}
# The last segment of a WAL is missing, and the WAL after it is there. Neither names nor data show it.
UNDETECTABLE = {"wal_missing_last_of_index2", "wal_missing_nonzero_offset"}

Restore = Callable[..., None]


def by_library(replica: Path, output: Path, **target: Any) -> None:
    """`ltxcore.legacy.restore`; `timestamp` as it is in the manifest, `index` as hexadecimal digits."""
    if "index" in target:
        target["index"] = int(target["index"], 16)
    legacy.restore(f"file://{replica}", output, **target)


def by_command(replica: Path, output: Path, **target: Any) -> None:
    """`ltxcore restore`, with an error of its exit code and message."""
    options = [word for name, value in target.items() for word in (f"--{name}", value)]
    line = ["restore", "-o", str(output), *options, f"file://{replica}"]
    done = CliRunner().invoke(app, line, prog_name="ltxcore")
    if done.exit_code != 0:
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        raise errors.RestoreError(f"exit code {done.exit_code}: {done.stderr}")


@pytest.fixture(params=[by_library, by_command])
def restore(request: pytest.FixtureRequest) -> Restore:
    return request.param


def restores() -> list[Any]:
    """Every way in which a state was asked for, once: where both Litestreams were asked, they agree."""
    seen: dict[tuple[str, ...], dict[str, Any]] = {}
    found = []
    for case, manifest in CASES.items():
        for entry in manifest["restores"]:
            known = seen.setdefault((case, *target(entry).values()), entry)
            assert known.get("raw_sha256") == entry.get("raw_sha256"), f"{case}: {entry} and {known}"
            if known is entry:
                found.append(pytest.param(case, entry, id="-".join([case, *target(entry).values()])))
    return found


def target(entry: dict[str, Any]) -> dict[str, str]:
    return {key: entry[key] for key in ("generation", "index", "timestamp") if key in entry}


def newest(case: str) -> str:
    return str(next(entry for entry in CASES[case]["restores"] if entry["by"] == "latest")["raw_sha256"])


def assert_nothing_left(directory: Path) -> None:
    """Neither an output nor a temporary file beside the replica."""
    assert sorted(path.name for path in directory.iterdir()) == ["replica"]


@pytest.mark.parametrize(("case", "entry"), restores())
def test_restore_agrees_with_litestream(
    tmp_path: Path, case: str, entry: dict[str, Any], restore: Restore
) -> None:
    """The newest state, the time of every step, the generation and every index: the SHA-256 of Litestream's output."""
    replica = vectors.copy_case(case, tmp_path, group="v03")
    output = tmp_path / "restored"
    restore(replica, output, **target(entry))
    if (case, entry.get("timestamp")) in TIME_AFTER_THE_NEWEST:
        assert entry["rc"] != 0
        assert digest(output) == newest(case) == CASES[case]["steps"][-1]["truth_sha"]
    else:
        assert digest(output) == entry["raw_sha256"]
        assert output.stat().st_size == entry["size"]
    output.unlink()
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("case", CASES)
def test_restores_have_what_plain_sqlite_had(tmp_path: Path, case: str) -> None:
    """A step whose bytes Litestream's own writes have not touched is the copy that plain SQLite checkpointed then."""
    replica = vectors.copy_case(case, tmp_path, group="v03")
    steps = CASES[case]["steps"]
    compared = set()
    for number, entry in enumerate(CASES[case]["restores"]):
        for step in entry.get("bytes_equal_step", []):
            by_library(replica, tmp_path / f"restored-{number}", **target(entry))
            assert digest(tmp_path / f"restored-{number}") == steps[step]["truth_sha"]
            compared.add(step)
    assert len(compared) >= len(steps) - 1


@pytest.mark.parametrize("case", CASES)
def test_a_time_before_the_first_snapshot(tmp_path: Path, case: str, restore: Restore) -> None:
    """There is no such state, and the error says what there is."""
    replica = vectors.copy_case(case, tmp_path, group="v03")
    with pytest.raises(errors.RestoreError, match="2026-11-20"):
        restore(replica, tmp_path / "restored", timestamp="2026-11-20T00:00:00Z")
    assert_nothing_left(tmp_path)


def test_what_is_not_there(tmp_path: Path, restore: Restore) -> None:
    """A generation that does not exist, and an index before the first snapshot."""
    replica = vectors.copy_case("many_indexes", tmp_path, group="v03")
    with pytest.raises(errors.RestoreError, match="0123456789abcdef"):
        restore(replica, tmp_path / "restored", generation="0123456789abcdef")
    [first] = replica.rglob("00000000.snapshot.lz4")
    first.unlink()
    with pytest.raises(errors.RestoreError, match="no snapshots"):
        restore(replica, tmp_path / "restored", generation=first.parents[1].name, index="00000000")
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("case", CASES)
def test_ltxcore_restore_finds_the_layout(tmp_path: Path, case: str) -> None:
    """`ltxcore.restore`, which is told nothing about the layout, gives the same."""
    replica = vectors.copy_case(case, tmp_path, group="v03")
    ltxcore.restore(f"file://{replica}", tmp_path / "restored")
    assert digest(tmp_path / "restored") == newest(case)


@pytest.mark.parametrize("parallelism", [1, 2, 12])
def test_any_number_of_threads_gives_the_same_bytes(tmp_path: Path, parallelism: int) -> None:
    replica = vectors.copy_case(BASE, tmp_path, group="v03")
    legacy.restore(f"file://{replica}", tmp_path / "restored", parallelism=parallelism)
    assert digest(tmp_path / "restored") == newest(BASE)


@pytest.mark.parametrize("variant", sorted(set(DAMAGED) - UNDETECTABLE))
def test_damage_is_never_restored(tmp_path: Path, variant: str, restore: Restore) -> None:
    """One fault in one file: an error that names the file and nothing on the disk. Both Litestreams fail as well."""
    manifest = DAMAGED[variant]
    assert manifest["0.3.13"]["rc"] != 0 and manifest["0.5.17"]["rc"] != 0
    replica = vectors.copy_damaged(variant, tmp_path, group="v03")
    with pytest.raises(errors.Error, match=re.escape(manifest["file"])) as caught:
        restore(replica, tmp_path / "restored")
    assert not isinstance(caught.value, errors.InternalError)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("variant", sorted(set(DAMAGED) - UNDETECTABLE))
def test_damage_leaves_the_old_database_alone(tmp_path: Path, variant: str) -> None:
    """`overwrite=True` replaces a database by a whole one or not at all."""
    replica = vectors.copy_damaged(variant, tmp_path, group="v03")
    output = tmp_path / "restored"
    output.write_bytes(b"precious")
    with pytest.raises(errors.Error):
        legacy.restore(f"file://{replica}", output, overwrite=True)
    assert output.read_bytes() == b"precious"


@pytest.mark.parametrize("variant", sorted(set(DAMAGED) - UNDETECTABLE))
def test_the_states_before_the_damage_can_be_had(tmp_path: Path, variant: str) -> None:
    """The times up to the damaged segment, as if nothing had happened; none of the later ones."""
    replica = vectors.copy_damaged(variant, tmp_path, group="v03")
    when = (replica / DAMAGED[variant]["file"]).stat().st_mtime_ns
    whole = 0
    for number, entry in enumerate(CASES[BASE]["restores"]):
        if entry["by"] != "timestamp" or entry["rc"] != 0 or entry["tool"] != "0.3.13":
            continue
        output = tmp_path / f"restored-{number}"
        if nanoseconds(entry["timestamp"]) < when:
            by_library(replica, output, **target(entry))
            assert digest(output) == entry["raw_sha256"]
            whole += 1
        else:
            with pytest.raises(errors.Error, match=re.escape(DAMAGED[variant]["file"])):
                by_library(replica, output, **target(entry))
    assert bool(whole) == variant.startswith("wal_")


def nanoseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000) * 1_000_000


@pytest.mark.parametrize("variant", sorted(UNDETECTABLE))
def test_a_loss_that_nothing_shows(tmp_path: Path, variant: str, restore: Restore) -> None:
    """The end of a WAL that has a successor is missing: the newest state, as both Litestreams gave it (`same_content`)."""
    assert DAMAGED[variant]["0.3.13"]["same_content"] and DAMAGED[variant]["0.5.17"]["same_content"]
    replica = vectors.copy_damaged(variant, tmp_path, group="v03")
    restore(replica, tmp_path / "restored")
    by_library(vectors.copy_case(BASE, tmp_path / "whole", group="v03"), tmp_path / "expected")
    assert content(tmp_path / "restored") == content(tmp_path / "expected")


def test_a_missing_segment_in_the_middle_is_found(tmp_path: Path, restore: Restore) -> None:
    """Any segment that is followed by one of the same WAL, and any first one that another WAL follows."""
    replica = vectors.copy_case(BASE, tmp_path, group="v03")
    segments = sorted(replica.rglob("*.wal.lz4"))
    names = [path.name.split("_") for path in segments]
    for number, (path, (index, offset)) in enumerate(zip(segments[:-1], names)):
        if offset.startswith("00000000.") or names[number + 1][0] == index:
            hidden = path.rename(tmp_path / "hidden")
            with pytest.raises(errors.Error, match=index):
                restore(replica, tmp_path / "restored")
            hidden.rename(path)
    assert_nothing_left(tmp_path)


def test_segments_of_two_wals_are_never_glued(tmp_path: Path) -> None:
    """A WAL lacks its start, and its next segment begins where the WAL before it ends: Litestream 0.5 puts them together."""
    replica = vectors.copy_case("many_indexes", tmp_path, group="v03")
    folder = next(replica.glob("generations/*/wal"))
    moved = sorted(folder.glob("00000002_*"))
    end = sorted(folder.glob("00000001_*"))
    glued = folder / end[-1].name.replace("00000001_", "00000002_")
    moved[-1].rename(glued)
    for path in moved[:-1]:
        path.unlink()
    end[-1].unlink()
    with pytest.raises(errors.Error):
        legacy.restore(f"file://{replica}", tmp_path / "restored", index=2)
    assert_nothing_left(tmp_path)


def test_every_prefix_of_a_file_is_refused(tmp_path: Path) -> None:
    """A transfer that broke off at any byte: always an error of ours that names the file, never a database."""
    replica = vectors.copy_case("empty", tmp_path, group="v03")
    for path in sorted(replica.rglob("*.lz4")):
        data = path.read_bytes()
        for length in range(0, len(data), 3):
            path.write_bytes(data[:length])
            with pytest.raises(errors.Error, match=path.name):
                legacy.restore(f"file://{replica}", tmp_path / "restored")
        path.write_bytes(data)
    assert_nothing_left(tmp_path)


def test_every_flipped_byte_is_refused(tmp_path: Path) -> None:
    """One byte of a file changed, one after the other: never a database that is not the undamaged one."""
    replica = vectors.copy_case("empty", tmp_path, group="v03")
    output = tmp_path / "restored"
    refused = 0
    for path in sorted(replica.rglob("*.lz4")):
        data = path.read_bytes()
        for at in range(len(data)):
            path.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
            try:
                legacy.restore(f"file://{replica}", output)
            except errors.Error as error:
                assert path.name in str(error)
                assert not output.exists()
                refused += 1
            else:
                assert digest(output) == newest("empty")
                output.unlink()
        path.write_bytes(data)
    assert refused > 500


def test_other_files_are_none_of_ours(tmp_path: Path) -> None:
    """Temporary and foreign names, below the generations and beside them."""
    replica = vectors.copy_case(BASE, tmp_path, group="v03")
    wal = next(replica.glob("generations/*/wal"))
    for name in ("00000009_00000000.wal.lz4.tmp", "9_0.wal.lz4", "notes.txt", "0000000A_00000000.wal.lz4"):
        (wal / name).write_bytes(b"junk")
    (replica / "generations" / "not-a-generation" / "wal").mkdir(parents=True)
    (replica / "generations" / "file").write_bytes(b"junk")
    legacy.restore(f"file://{replica}", tmp_path / "restored")
    assert digest(tmp_path / "restored") == newest(BASE)


def test_copies_are_faithful(tmp_path: Path) -> None:
    """The vectors in the repository are the ones that were recorded, and the copies have their times."""
    for case, manifest in CASES.items():
        copied = tmp_path / case
        copied.mkdir()
        vectors.copy_case(case, copied, group="v03")
        for file in manifest["files"]:
            assert digest(copied / file["path"]) == file["sha256"]
            assert (copied / file["path"]).stat().st_mtime_ns == file["mtime_ns"]


@pytest.mark.parametrize("variant", DAMAGED)
def test_verify_and_conversion_of_a_damaged_replica(tmp_path: Path, variant: str) -> None:
    """What can be found is named; a conversion stops there, or leaves out what is lost, and no other state is another one."""
    replica, whole = vectors.copy_damaged(variant, tmp_path, group="v03"), tmp_path / "whole"
    whole.mkdir()
    sound = vectors.copy_case(BASE, whole, group="v03")
    found = legacy.verify(replica).damages
    assert bool(found) == (variant not in UNDETECTABLE)
    if variant in UNDETECTABLE:
        return
    with pytest.raises((errors.FormatError, errors.RestoreError)):
        legacy.convert(replica, tmp_path / "stopped")
    if variant.startswith("snap"):
        return
    done = legacy.convert(replica, tmp_path / "converted", skip_damaged=True)
    assert [(each.path, each.states, each.first, each.last) for each in done.left_out] == [
        (each.path, each.states, each.first, each.last) for each in found
    ]
    for file in legacy.wal_segments(replica):
        if found[0].first is not None and file.created_at >= found[0].first:
            continue
        legacy.restore(sound, tmp_path / "sound.db", timestamp=file.created_at, overwrite=True)
        for place in ("stopped", "converted"):
            ltxcore.restore(tmp_path / place, tmp_path / "db", timestamp=file.created_at, overwrite=True)
            assert digest(tmp_path / "db") == digest(tmp_path / "sound.db")
