"""What of a replica in the v0.3 layout is deleted, and what stays."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ltxcore.db._legacy_retention import expired
from ltxcore.legacy import GenerationInfo, SnapshotInfo, WALSegmentInfo

A, B = "a" * 16, "b" * 16


def at(hour: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour)


def generation(
    name: str, snapshots: dict[int, float], segments: dict[tuple[int, int], float]
) -> GenerationInfo:
    """Indexes, and offsets, with the hour of each."""
    return GenerationInfo(
        name,
        tuple(SnapshotInfo(name, index, 1, at(hour)) for index, hour in snapshots.items()),
        tuple(WALSegmentInfo(name, index, offset, 1, at(hour)) for (index, offset), hour in segments.items()),
    )


def kept(generations: Sequence[GenerationInfo], current: str, cutoff: float) -> list[str]:
    """What stays, by the ends of the names."""
    gone = expired(generations, current, at(cutoff))
    files = [file for each in generations for file in (*each.snapshots, *each.segments)]
    assert set(gone) <= {file.path for file in files} and len(set(gone)) == len(gone)
    left = [file for file in files if file.path not in gone]
    return [
        f"{file.generation[0]}{file.path.rpartition('/')[2].partition('.')[0].lstrip('0')}" for file in left
    ]


LONG = generation(A, {1: 1, 2: 5, 3: 9}, {(1, 0): 2, (1, 9): 4, (2, 0): 6, (2, 9): 8, (3, 0): 10})


def test_a_time_after_the_cutoff_can_be_restored() -> None:
    assert (
        kept([LONG], A, 0) == kept([LONG], A, 4.9) == ["a1", "a2", "a3", "a1_00000000", "a1_00000009", *LAST]
    )
    assert kept([LONG], A, 5) == kept([LONG], A, 8.5) == ["a2", "a3", *LAST]
    assert kept([LONG], A, 9) == kept([LONG], A, 99) == ["a3", "a3_00000000"]


LAST = ["a2_00000000", "a2_00000009", "a3_00000000"]


def test_snapshots_are_deleted_before_segments() -> None:
    gone = expired([LONG], A, at(99))
    assert gone == sorted(gone, key=lambda path: "/wal/" in path)


def test_a_generation_that_is_over_goes_once_the_next_one_covers_the_retention() -> None:
    old, new = generation(A, {0: 1}, {(0, 0): 2}), generation(B, {0: 5}, {(0, 0): 6})
    assert kept([old, new], B, 1.5) == ["a", "a_00000000", "b", "b_00000000"]
    assert kept([old, new], B, 4.9) == ["a", "a_00000000", "b", "b_00000000"]
    assert kept([old, new], B, 5) == ["b", "b_00000000"]


def test_the_generation_that_is_written_stays_whatever_its_times_are() -> None:
    current, other = generation(A, {0: 1}, {(0, 0): 2}), generation(B, {0: 5}, {})
    assert kept([current, other], A, 99) == ["a", "a_00000000", "b"]


def test_segments_that_nothing_leads_to_go_in_the_end() -> None:
    """They are left of a generation whose deletion was cut off."""
    orphans, current = generation(A, {}, {(0, 0): 1}), generation(B, {0: 2}, {})
    assert kept([orphans, current], B, 0.5) == ["a_00000000", "b"]
    assert kept([orphans, current], B, 1.5) == ["b"]


def chosen(generations: Sequence[GenerationInfo], time: datetime) -> list[str] | None:
    """What a restore of a time reads."""
    candidates = []
    for each in generations:
        snapshots = [file for file in each.snapshots if file.created_at <= time]
        if not snapshots:
            continue
        base = max(snapshots, key=lambda file: file.created_at)
        segments = [file for file in each.segments if file.index >= base.index and file.created_at <= time]
        newest = max([base.created_at, *(file.created_at for file in segments)])
        candidates.append((newest, [base.path, *(file.path for file in segments)]))
    return max(candidates)[1] if candidates else None


@st.composite
def replicas(draw: st.DrawFn) -> list[GenerationInfo]:
    """Generations that follow each other."""
    made, hour = [], 0
    for name in draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)):
        snapshots: dict[int, float] = {0: (hour := hour + 1)}
        segments: dict[tuple[int, int], float] = {}
        index, offset = 0, 0
        for step in draw(st.lists(st.sampled_from(("segment", "snapshot", "wal")), max_size=8)):
            hour += 1
            if step == "segment":
                segments[index, offset] = hour
                offset += 1
            elif offset:
                index, offset = index + 1, 0
                if step == "snapshot":
                    snapshots[index] = hour
        made.append(generation(name * 16, snapshots, segments))
    return made


@given(replicas(), st.integers(0, 30))
def test_no_restore_of_a_later_time_misses_anything(generations: list[GenerationInfo], cutoff: int) -> None:
    gone = set(expired(generations, generations[-1].generation, at(cutoff)))
    for hour in range(cutoff, 40):
        assert not gone.intersection(chosen(generations, at(hour)) or []), f"hour {hour}"
