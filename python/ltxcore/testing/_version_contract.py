"""The promises of an object store about versions of objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltxcore.errors import ObjectChangedError, ObjectExistsError
from ltxcore.testing._tools import at_once, raises

if TYPE_CHECKING:
    from pathlib import Path

    from ltxcore.stores import ObjectStore, Version


class VersionContract:
    """What a store has to do that can replace an object only if it is unchanged. Others pass."""

    def make(self, tmp_path: Path) -> ObjectStore:
        """An empty store.

        Args:
            tmp_path: an empty directory, which may be used for anything.
        """
        raise NotImplementedError("override make()")

    def test_a_version_is_written_only_over_the_one_that_was_seen(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            if not store.capabilities.replaces_if_unchanged:
                return
            absent = store.read_version("a/lock.json")
            assert (absent.data, absent.tag) == (None, None)
            first = store.write_version("a/lock.json", b"1", tag=None)
            assert first.tag is not None
            assert _seen(store) == (b"1", first.tag)
            with raises(ObjectExistsError):
                store.write_version("a/lock.json", b"2", tag=None)
            second = store.write_version("a/lock.json", b"2", tag=first.tag)
            assert second.tag != first.tag
            assert _seen(store) == (b"2", second.tag)
            with raises(ObjectChangedError):
                store.write_version("a/lock.json", b"3", tag=first.tag)
            with raises(ObjectChangedError):
                store.write_version("a/missing", b"3", tag=first.tag)
            assert _seen(store) == (b"2", second.tag)
            assert [info.key for info in store.list("")] == ["a/lock.json"]
            assert store.read("a/lock.json") == b"2"

    def test_a_version_is_deleted_only_if_it_is_the_one_that_was_seen(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            if not store.capabilities.replaces_if_unchanged:
                return
            first = store.write_version("a/lock.json", b"1", tag=None)
            second = store.write_version("a/lock.json", b"2", tag=first.tag)
            assert first.tag is not None
            assert second.tag is not None
            with raises(ObjectChangedError):
                store.delete_version("a/lock.json", tag=first.tag)
            assert _seen(store) == (b"2", second.tag)
            for _ in range(2):
                store.delete_version("a/lock.json", tag=second.tag)
                assert _seen(store) == (None, None)
            store.write_version("a/lock.json", b"3", tag=None)

    def test_one_of_many_replaces_a_version(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            if not store.capabilities.replaces_if_unchanged:
                return
            seen = store.read_version("a/lock.json")
            for turn in range(4):

                def write(number: int, tag: str | None = seen.tag, turn: int = turn) -> Version:
                    return store.write_version("a/lock.json", b"%d of %d" % (number, turn), tag=tag)

                done = at_once(write)
                winners = [each for each in done if not isinstance(each, Exception)]
                losers = [each for each in done if isinstance(each, Exception)]
                assert len(winners) == 1, done
                kind = ObjectExistsError if seen.tag is None else ObjectChangedError
                assert all(isinstance(each, kind) for each in losers), done
                seen = store.read_version("a/lock.json")
                assert (seen.data, seen.tag) == (winners[0].data, winners[0].tag)

    def test_a_store_says_when_it_answered_by_a_clock(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as store:
            if not store.capabilities.replaces_if_unchanged:
                return
            for version in (
                store.read_version("a"),
                store.write_version("a", b"1", tag=None),
                store.read_version("a"),
            ):
                assert version.answered_at is None or version.answered_at.utcoffset() is not None


def _seen(store: ObjectStore) -> tuple[bytes | None, str | None]:
    version = store.read_version("a/lock.json")
    return version.data, version.tag
