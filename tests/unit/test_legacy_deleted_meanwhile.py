"""Conversions and verifications of v0.3 replicas whose old files are deleted meanwhile."""

from pathlib import Path

import pytest

import ltxcore
from ltxcore import RestoreProgress, legacy
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import ObjectNotFoundError

from tests.helpers.stores import MemoryStore
from tests.unit.legacy_histories import Made, make
from tests.unit.test_legacy_convert import restored
from tests.unit.test_legacy_restore import in_memory


class Prunes(MemoryStore):
    """Deletes what is before a WAL, as retention does, just before the first read of a file; or loses what it still lists."""

    def __init__(self, before: int, *, is_listed: bool = False) -> None:
        super().__init__()
        self.before = before
        self.is_listed = is_listed
        self.has_pruned = False

    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        old = [each for each in self.objects if int(each.rsplit("/", 1)[1][:8], 16) < self.before]
        if self.is_listed:
            if key in old:
                raise ObjectNotFoundError(f"no such object: {key}")
        elif not self.has_pruned:
            self.has_pruned = True
            self.delete(old)
        return super().read(key, offset=offset, size=size)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


def test_verify(made: Made) -> None:
    report = legacy.verify(ObjectReplicaClient(in_memory(made, Prunes(1))))
    assert report.damages == ()
    assert (report.snapshots, report.segments) == (1, 6)


def test_verify_where_files_are_listed_but_missing(made: Made) -> None:
    with pytest.raises(ObjectNotFoundError):
        legacy.verify(ObjectReplicaClient(in_memory(made, Prunes(1, is_listed=True))))


def test_verify_of_a_directory(made: Made) -> None:
    has_pruned = False

    def prune(_at: RestoreProgress) -> None:
        nonlocal has_pruned
        if not has_pruned:
            has_pruned = True
            for path in made.path.rglob("00000000*.lz4"):
                path.unlink()

    report = legacy.verify(made.path, progress=prune)
    assert has_pruned
    assert report.damages == ()
    assert report.snapshots == 1


@pytest.mark.parametrize("skip_damaged", [False, True])
def test_convert(made: Made, tmp_path: Path, skip_damaged: bool) -> None:
    new = tmp_path / "new"
    old = ObjectReplicaClient(in_memory(made, Prunes(1)))
    done = legacy.convert(old, new, skip_damaged=skip_damaged)
    assert done.left_out == ()
    assert done.states == 7
    for time in list(made.states)[4:]:
        assert restored(ltxcore.restore, new, tmp_path / "out", time) == made.states[time]


def test_convert_where_files_are_listed_but_missing(made: Made, tmp_path: Path) -> None:
    old = ObjectReplicaClient(in_memory(made, Prunes(1, is_listed=True)))
    with pytest.raises(ObjectNotFoundError):
        legacy.convert(old, tmp_path / "new")
