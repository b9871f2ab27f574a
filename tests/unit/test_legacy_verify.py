"""What is said about v0.3 histories in which something is damaged or missing."""

from datetime import datetime
from pathlib import Path

import pytest

import ltxcore
from ltxcore import ReplicaClient, RestoreProgress, legacy
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import ConfigError, FormatError, NoSnapshotError, RestoreError

from tests.helpers.stores import MemoryStore
from tests.unit.legacy_histories import Made, make
from tests.unit.memory import MemoryClient
from tests.unit.test_legacy_convert import bytes_of, damage, with_times
from tests.unit.test_legacy_restore import in_memory


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


def unrestorable(made: Made, out: Path) -> list[datetime]:
    found = []
    for time in sorted(made.states):
        try:
            legacy.restore(made.path, out, timestamp=time, overwrite=True)
        except (FormatError, RestoreError):
            found.append(time)
    return found


def test_a_whole_history(made: Made) -> None:
    before = bytes_of(made.path)
    report = legacy.verify(made.path)
    assert (report.generations, report.snapshots, report.segments, report.states) == (1, 2, 9, 11)
    assert report.bytes_read == sum(len(data) for data in before.values())
    assert report.damages == ()
    assert report.is_ok
    assert bytes_of(made.path) == before


def test_each_damaged_file_is_named_with_the_states_that_need_it(made: Made, tmp_path: Path) -> None:
    for path in sorted(made.path.rglob("*.lz4")):
        whole = path.read_bytes()
        with_times(path, damage)
        report = legacy.verify(made.path)
        lost = unrestorable(made, tmp_path / "out")
        assert lost
        assert not report.is_ok
        assert [(each.path, each.states, each.first, each.last) for each in report.damages] == [
            (str(path.relative_to(made.path)), len(lost), lost[0], lost[-1])
        ]
        with_times(path, lambda path, whole=whole: path.write_bytes(whole) and None)  # type: ignore[misc]


def test_a_missing_segment(made: Made) -> None:
    segments = legacy.wal_segments(made.path)
    (made.path / segments[4].path).unlink()
    (found,) = legacy.verify(made.path).damages
    assert (found.path, found.states) == (segments[4].path, 4)
    assert "missing" in found.reason
    assert (found.first, found.last) == (segments[5].created_at, segments[8].created_at)


def test_a_missing_end_of_a_wal_is_not_seen(made: Made) -> None:
    """As the documents say."""
    (made.path / legacy.wal_segments(made.path)[5].path).unlink()
    assert legacy.verify(made.path).is_ok


def test_several_problems(made: Made) -> None:
    snapshots, segments = legacy.snapshots(made.path), legacy.wal_segments(made.path)
    for file in (snapshots[0], segments[1], segments[8]):
        with_times(made.path / file.path, damage)
    (made.path / segments[4].path).unlink()
    found = [(each.path, each.states) for each in legacy.verify(made.path).damages]
    assert found == [
        (snapshots[0].path, 4),
        (segments[1].path, 0),
        (segments[4].path, 4),
        (segments[8].path, 0),
    ]


def test_a_copy_of_another_wal(made: Made) -> None:
    """Which of both is the copy does not show."""
    segments = legacy.wal_segments(made.path)
    one, other = (made.path / segments[number].path for number in (0, 3))
    with_times(one, lambda path: path.write_bytes(other.read_bytes()) and None)
    found = {each.path: each.reason for each in legacy.verify(made.path).damages}
    assert (
        found[segments[3].path]
        == "it is a copy of WAL 00000000 of the same generation, or that is a copy of this one"
    )


def test_an_object_store(made: Made) -> None:
    client = ObjectReplicaClient(in_memory(made, MemoryStore(), "a/"), "a")
    assert legacy.verify(client).states == 11


def test_progress(made: Made) -> None:
    seen: list[RestoreProgress] = []
    report = legacy.verify(made.path, progress=seen.append)
    assert (seen[-1].done, seen[-1].total) == (report.bytes_read, report.bytes_read)

    def stop(_at: RestoreProgress) -> None:
        raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        legacy.verify(made.path, progress=stop)


def test_ltx_files_are_not_read(made: Made, tmp_path: Path) -> None:
    new = tmp_path / "new"
    legacy.convert(made.path, new)
    with pytest.raises(NoSnapshotError, match="no generations") as raised:
        legacy.verify(new)
    assert "ltxcore.verify" in str(raised.value.hint)
    assert ltxcore.verify(new).outcome == "ok"


@pytest.mark.parametrize("client", [MemoryClient()])
def test_a_client_of_another_kind(client: ReplicaClient, made: Made) -> None:
    with pytest.raises(ConfigError):
        legacy.verify(client)
    with pytest.raises(ConfigError):
        legacy.verify(made.path, parallelism=13)
