"""The contract suites find what they are there to find: each store and client here breaks one promise."""

import io
import itertools
import time as clock
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ltxcore import TXID, FileInfo, ReplicaClient
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import ObjectNotFoundError
from ltxcore.stores import Capabilities, ObjectInfo, ObjectStore, Version
from ltxcore.testing import ObjectStoreContract, ReplicaClientContract

from tests.helpers.stores import MemoryStore
from tests.unit.memory import MemoryClient

ZERO = TXID(0)


class OrderOfUTF16(MemoryStore):
    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        return iter(sorted(super().list(prefix, start=start), key=lambda info: info.key.encode("utf-16-be")))


class StartIsExcluded(MemoryStore):
    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        return (info for info in super().list(prefix) if info.key > start)


class PrefixIsAFolder(MemoryStore):
    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        folder = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        return super().list(folder, start=start)


class NoRangeBeyondTheEnd(MemoryStore):
    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        if key in self.objects and offset >= len(self.objects[key][0]) > 0:
            raise OSError("416 range not satisfiable")
        return super().read(key, offset=offset, size=size)


class ShortInTheMiddle(MemoryStore):
    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        return super().read(key, offset=offset, size=None if size is None else min(size, 100_000))


class NoBytesAreAllBytes(MemoryStore):
    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        return super().read(key, offset=offset, size=size or None)


class Views(MemoryStore):
    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> Any:
        return memoryview(super().read(key, offset=offset, size=size))


class ViewsOfMany(MemoryStore):
    def read_many(self, requests: Sequence[tuple[str, int, int]]) -> Any:
        return [bytearray(each) for each in super().read_many(requests)]


class FirstPage(MemoryStore):
    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        return itertools.islice(super().list(prefix, start=start), 1000)


class DeletesOneRequest(MemoryStore):
    def delete(self, keys: Iterable[str]) -> dict[str, Exception]:
        return super().delete(itertools.islice(keys, 1000))


class ListsWhatLives(MemoryStore):
    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        # Objects that are written in order are in order.
        return (
            ObjectInfo(key, len(data), time)
            for key, (data, time) in self.objects.items()
            if key.startswith(prefix) and key >= start
        )


class MissingIsAKeyError(MemoryStore):
    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        try:
            return super().read(key, offset=offset, size=size)
        except ObjectNotFoundError as error:
            raise KeyError(key) from error


class ReaderOfAll(MemoryStore):
    def open(self, key: str, *, offset: int = 0, size: int | None = None) -> BinaryIO:
        return io.BytesIO(bytes(bytearray(self.read(key, offset=offset, size=size))))


class HalfAnObject(MemoryStore):
    def write(self, key: str, data: BinaryIO, **options: Any) -> ObjectInfo:
        stored = super().write(key, io.BytesIO(b""), **options)
        while block := data.read(100):
            stored = super().write(key, io.BytesIO(self.read(key) + block), time=options.get("time"))
        return stored


class FromTheBeginning(MemoryStore):
    def write(self, key: str, data: BinaryIO, **options: Any) -> ObjectInfo:
        data.seek(0)
        return super().write(key, data, **options)


class ClosesData(MemoryStore):
    def write(self, key: str, data: BinaryIO, **options: Any) -> ObjectInfo:
        with data:
            return super().write(key, data, **options)


class LooksThenWrites(MemoryStore):
    def write(
        self, key: str, data: BinaryIO, *, if_absent: bool = False, time: datetime | None = None
    ) -> ObjectInfo:
        if if_absent and key in self.objects:
            return super().write(key, data, if_absent=True, time=time)
        clock.sleep(0.02)
        return super().write(key, data, time=time)


class WholeSeconds(MemoryStore):
    def write(
        self, key: str, data: BinaryIO, *, if_absent: bool = False, time: datetime | None = None
    ) -> ObjectInfo:
        when = None if time is None else time.replace(microsecond=0)
        return super().write(key, data, if_absent=if_absent, time=when)


class MissingIsAFailure(MemoryStore):
    def delete(self, keys: Iterable[str]) -> dict[str, Exception]:
        return {key: KeyError(key) for key in keys if self.objects.pop(key, None) is None}


class LooksThenReplaces(MemoryStore):
    def write_version(self, key: str, data: bytes, *, tag: str | None) -> Version:
        self._compare(key, tag)
        clock.sleep(0.02)
        return super().write_version(key, data, tag=self.read_version(key).tag)


class ReplacesAnyVersion(MemoryStore):
    def write_version(self, key: str, data: bytes, *, tag: str | None) -> Version:
        return super().write_version(key, data, tag=tag and self.read_version(key).tag)


class DeletesAnyVersion(MemoryStore):
    def delete_version(self, key: str, *, tag: str) -> None:
        self.delete([key])


class TokenThatStays(MemoryStore):
    def change_token(self) -> object:
        return len(self.objects) > 0


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (OrderOfUTF16, "listings_ascend"),
        (StartIsExcluded, "a_listing_begins_at_start"),
        (PrefixIsAFolder, "a_prefix_is_a_text"),
        (NoRangeBeyondTheEnd, "ranges_are_read"),
        (NoBytesAreAllBytes, "ranges_are_read"),
        (Views, "ranges_are_read"),
        (ViewsOfMany, "many_ranges_are_read"),
        (FirstPage, "many_objects_are_listed_and_deleted"),
        (DeletesOneRequest, "many_objects_are_listed_and_deleted"),
        (ListsWhatLives, "a_listing_goes_on_while_objects_come_and_go"),
        (ShortInTheMiddle, "readers_yield_all_bytes_in_pieces_of_any_size"),
        (MissingIsAKeyError, "what_is_missing_is_not_found"),
        (ReaderOfAll, "a_big_object_is_not_held_in_memory"),
        (HalfAnObject, "data_that_fails_leaves_nothing"),
        (FromTheBeginning, "data_is_read_from_where_it_stands_and_stays_open"),
        (ClosesData, "data_is_read_from_where_it_stands_and_stays_open"),
        (LooksThenWrites, "one_of_many_creates_an_object"),
        (WholeSeconds, "times_are_kept_to_the_millisecond"),
        (MissingIsAFailure, "objects_are_deleted"),
        (TokenThatStays, "a_change_changes_the_token"),
        (LooksThenReplaces, "one_of_many_replaces_a_version"),
        (ReplacesAnyVersion, "a_version_is_written_only_over_the_one_that_was_seen"),
        (DeletesAnyVersion, "a_version_is_deleted_only_if_it_is_the_one_that_was_seen"),
    ],
)
def test_a_broken_store_is_found_out(broken: type[MemoryStore], test: str, tmp_path: Path) -> None:
    class Suite(ObjectStoreContract):
        def make(self, tmp_path: Path) -> ObjectStore:
            return broken()

    with pytest.raises((AssertionError, OSError, KeyError, ValueError, RuntimeError)):
        getattr(Suite(), f"test_{test}")(tmp_path)


class SeekIsExcluded(MemoryClient):
    def ltx_files(self, level: int, *, seek: TXID = ZERO, use_metadata: bool = False) -> Iterator[FileInfo]:
        return (file for file in super().ltx_files(level) if file.min_txid > seek)


class SeekIsAboutTheEnd(MemoryClient):
    def ltx_files(self, level: int, *, seek: TXID = ZERO, use_metadata: bool = False) -> Iterator[FileInfo]:
        return (file for file in super().ltx_files(level) if file.max_txid >= seek)


class NewestFirst(MemoryClient):
    def ltx_files(self, level: int, **options: Any) -> Iterator[FileInfo]:  # type: ignore[override]
        return iter(sorted(super().ltx_files(level, **options), reverse=True))


class FirstPageOfFiles(MemoryClient):
    def ltx_files(self, level: int, **options: Any) -> Iterator[FileInfo]:
        return itertools.islice(super().ltx_files(level, **options), 1000)


class DeletesOneRequestOfFiles(MemoryClient):
    def delete_ltx_files(self, files: Iterable[FileInfo]) -> None:
        super().delete_ltx_files(itertools.islice(files, 1000))


class AllButSnapshots(MemoryClient):
    def all_ltx_files(self, **options: Any) -> Iterator[FileInfo]:
        return (file for file in super().all_ltx_files(**options) if file.level < 9)


class ViewsOfFiles(MemoryClient):
    def read_ltx_file(self, *name: Any, **options: Any) -> Any:
        return memoryview(super().read_ltx_file(*name, **options))


class TimeOfTheUpload(MemoryClient):
    def _info(self, key: tuple[int, int, int]) -> FileInfo:
        found = super()._info(key)
        return FileInfo(found.level, found.min_txid, found.max_txid, found.size, datetime.now(UTC))


class MissingIsEmpty(MemoryClient):
    def open_ltx_file(self, level: int, min_txid: TXID, max_txid: TXID, **options: Any) -> BinaryIO:  # type: ignore[override]
        if (level, min_txid, max_txid) not in self.files:
            return io.BytesIO()
        return super().open_ltx_file(level, min_txid, max_txid, **options)


class DeletesOnce(MemoryClient):
    def delete_ltx_files(self, files: Iterable[FileInfo]) -> None:
        for file in files:
            del self.files[file.level, file.min_txid, file.max_txid]


class Replaces(MemoryClient):
    """As it is, it does not keep other files from replacing one."""

    capabilities = Capabilities(creates_if_absent=True)


class KeepsTheFirstSnapshot(ObjectReplicaClient):
    def __init__(self) -> None:
        super().__init__(MemoryStore())

    def write_ltx_file(self, level: int, min_txid: TXID, max_txid: TXID, data: BinaryIO) -> FileInfo:
        return next(
            (
                file
                for file in self.ltx_files(level)
                if (file.min_txid, file.max_txid) == (min_txid, max_txid)
            ),
            None,
        ) or super().write_ltx_file(level, min_txid, max_txid, data)


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (SeekIsExcluded, "listings_ascend_from_seek"),
        (SeekIsAboutTheEnd, "listings_ascend_from_seek"),
        (NewestFirst, "listings_ascend_from_seek"),
        (FirstPageOfFiles, "more_files_are_listed_than_fit_on_a_page"),
        (DeletesOneRequestOfFiles, "more_files_are_listed_than_fit_on_a_page"),
        (AllButSnapshots, "all_levels_are_listed"),
        (ViewsOfFiles, "ranges_are_read"),
        (TimeOfTheUpload, "files_are_listed_as_they_were_written"),
        (MissingIsEmpty, "what_is_missing_is_not_found"),
        (DeletesOnce, "files_are_deleted"),
        (Replaces, "a_txid_is_taken_once"),
        (Replaces, "one_of_many_writers_takes_a_txid"),
        (KeepsTheFirstSnapshot, "a_snapshot_may_be_replaced"),
    ],
)
def test_a_broken_client_is_found_out(broken: type[Any], test: str, tmp_path: Path) -> None:
    class Suite(ReplicaClientContract):
        def make(self, tmp_path: Path) -> ReplicaClient:
            client: ReplicaClient = broken()
            return client

    with pytest.raises((AssertionError, KeyError)):
        getattr(Suite(), f"test_{test}")(tmp_path)


def test_a_suite_without_a_store_says_so(tmp_path: Path) -> None:
    for suite in (ObjectStoreContract(), ReplicaClientContract()):
        with pytest.raises(NotImplementedError, match="override make"):
            suite.make(tmp_path)
