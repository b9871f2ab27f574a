"""The promises of a replica client."""

from __future__ import annotations

import io
import time as clock
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from ltxcore.clients.file import FileClient
from ltxcore.errors import LTXFileExistsError, LTXFileNotFoundError
from ltxcore.ltx import SNAPSHOT_LEVEL, TXID, FileInfo, format_filename
from ltxcore.testing._tools import (
    THREADS,
    TIME,
    BrokenSource,
    SourceFailed,
    at_once,
    first_difference,
    in_pieces,
    ltx_file,
    raises,
    succeeded,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from ltxcore.clients import ReplicaClient

_ONE = TXID(1)
#: Names beside LTX files that are no names of LTX files.
_FOREIGN = [
    "README",
    "0000000000000000-0000000000000001.ltx",
    "0000000000000002-0000000000000001.ltx",
    "0000000000000002-0000000000000002.ltx.tmp",
    "00000000000000AA-00000000000000AA.ltx",
    "2-2.ltx",
]


class ReplicaClientContract:
    """What every :class:`~ltxcore.ReplicaClient` has to do. Override :meth:`make`."""

    #: A different file under the TXIDs of one of level 0 is refused. False for a storage that cannot tell.
    refuses_other_files: ClassVar[bool] = True
    #: How many files are listed at once: more than the storage has on one page of a listing. Fewer are faster.
    many_files: ClassVar[int] = 1100

    def make(self, tmp_path: Path) -> ReplicaClient:
        """A client of an empty place.

        Args:
            tmp_path: an empty directory, which may be used for anything.
        """
        raise NotImplementedError("override make()")

    def put_foreign(self, client: ReplicaClient, level: int, name: str) -> bool:
        """Put something that is no LTX file among those of a level, as another program would; false if that cannot be done.

        May be overridden, so that the skipping of such names is tested.
        """
        return False

    def test_a_new_place_is_empty(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            client.init()
            client.init()
            for level in range(SNAPSHOT_LEVEL + 1):
                assert [*client.ltx_files(level, use_metadata=level % 2 == 1)] == []
            client.delete_ltx_files([])
            client.delete_all()
            assert len(client.type.split()) == 1

    def test_listings_ascend_from_seek(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            for low in (3, 16, 1, 2, 1 << 63, 10):
                _put(client, 0, low)
            _put(client, 1, 1, 3)
            _put(client, 9, 1, 9)
            _put(client, 9, 1, 2)
            assert _ranges(client, 0) == [(low, low) for low in (1, 2, 3, 10, 16, 1 << 63)]
            assert _ranges(client, 0, 2) == [(low, low) for low in (2, 3, 10, 16, 1 << 63)]
            assert _ranges(client, 0, 11) == [(16, 16), (1 << 63, 1 << 63)]
            assert _ranges(client, 0, (1 << 63) + 1) == []
            assert _ranges(client, 1, 1) == [(1, 3)]
            assert _ranges(client, 1, 2) == [], "seek is about the first TXID of a file"
            assert _ranges(client, 2) == []
            assert _ranges(client, 9) == [(1, 2), (1, 9)]

    def test_all_levels_are_listed(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            assert [*client.all_ltx_files()] == []
            ranges = [
                (0, 1, 1),
                (0, 2, 2),
                (0, 16, 16),
                (1, 1, 2),
                (5, 1, 2),
                (8, 1, 2),
                (9, 1, 1),
                (9, 1, 2),
            ]
            written = [_put(client, *each, time=TIME + timedelta(milliseconds=each[2])) for each in ranges]
            assert [*client.all_ltx_files(use_metadata=True)] == written
            for level in (0, 5, 9):
                self.put_foreign(client, level, "README")
            each_level = [file for level in range(SNAPSHOT_LEVEL + 1) for file in client.ltx_files(level)]
            assert [*client.all_ltx_files()] == each_level, "as level by level"

    def test_files_are_listed_as_they_were_written(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            written = [_put(client, 0, low, time=TIME + timedelta(milliseconds=low)) for low in (1, 2, 3)]
            for file in written:
                assert file.size == len(ltx_file(file.min_txid))
                assert file.created_at == TIME + timedelta(milliseconds=file.min_txid)
                assert {type(file.min_txid), type(file.max_txid)} == {TXID}
            assert [*client.ltx_files(0, use_metadata=True)] == written
            cheap = [*client.ltx_files(0)]
            assert [(file.name, file.size) for file in cheap] == [(file.name, file.size) for file in written]
            assert all(file.created_at.utcoffset() is not None for file in cheap)

    def test_many_files_are_listed(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            written = [_put(client, 0, low) for low in range(1, 71)]
            assert [*client.ltx_files(0, use_metadata=True)] == written
            assert _ranges(client, 0, 60) == [(low, low) for low in range(60, 71)]

    def test_more_files_are_listed_than_fit_on_a_page(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            txids = range(1, self.many_files + 1)

            def put(thread: int) -> list[FileInfo]:
                return [_put(client, 0, txid) for txid in txids[thread::THREADS]]

            written = [file for files in succeeded(at_once(put)) for file in files]
            assert not first_difference(_ranges(client, 0), [(txid, txid) for txid in txids])
            client.delete_ltx_files(written[1:])
            assert not first_difference(_ranges(client, 0), [(1, 1)])

    def test_foreign_names_are_skipped(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            written = _put(client, 0, 1)
            if all(self.put_foreign(client, 0, name) for name in _FOREIGN):
                for use_metadata in (False, True):
                    listed = client.ltx_files(0, use_metadata=use_metadata)
                    assert [file.name for file in listed] == [written.name]
                assert _ranges(client, 0, 2) == []

    def test_ranges_are_read(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            data, name = ltx_file(1, 3), (2, _ONE, TXID(3))
            client.write_ltx_file(*name, io.BytesIO(data))
            end = len(data)
            for offset in (0, 1, 100, end - 1, end, end + 1, end + 10_000):
                for size in (None, 1, 10, end, 2 * end):
                    expected = data[offset:] if size is None else data[offset : offset + size]
                    found = client.read_ltx_file(*name, offset=offset, size=size)
                    assert found == expected
                    assert isinstance(found, bytes)
                    with client.open_ltx_file(*name, offset=offset, size=size) as file:
                        assert file.read() == expected
                    with client.open_ltx_file(*name, offset=offset, size=size) as file:
                        assert in_pieces(file, 100) == expected
            assert client.read_ltx_file(*name, size=0) == b""

    def test_what_is_missing_is_not_found(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            _put(client, 0, 1)
            for name in ((0, TXID(2), TXID(2)), (0, _ONE, TXID(2)), (5, _ONE, _ONE)):
                with raises(LTXFileNotFoundError):
                    client.read_ltx_file(*name)
                with raises(LTXFileNotFoundError), client.open_ltx_file(*name) as file:
                    file.read()

    def test_a_path_is_stored(self, tmp_path: Path) -> None:
        source = tmp_path / "source.ltx"
        source.write_bytes(ltx_file(1, 7))
        place = tmp_path / "place"
        place.mkdir()
        with self.make(place) as client:
            stored = client.write_ltx_path(9, _ONE, TXID(7), source)
            assert stored == FileInfo(9, _ONE, TXID(7), source.stat().st_size, TIME)
            assert client.read_ltx_file(9, _ONE, TXID(7)) == source.read_bytes() == ltx_file(1, 7)
            with raises(FileNotFoundError):
                client.write_ltx_path(9, _ONE, TXID(8), tmp_path / "missing")
            assert _ranges(client, 9) == [(1, 7)]

    def test_a_file_is_copied_from_another_replica(self, tmp_path: Path) -> None:
        class Elsewhere(FileClient):
            def locate(self, *_: object) -> None:  # type: ignore[override]  # as if it were far away
                return None

        source = FileClient(tmp_path / "source")
        place = tmp_path / "place"
        place.mkdir()
        with self.make(place) as client:
            for level, other in ((0, source), (9, Elsewhere(source.path))):
                file = _put(other, level, 1)
                assert client.copy_ltx_file(file, other) == file
                assert client.read_ltx_file(level, _ONE, _ONE) == ltx_file(1)
                other.delete_all()
                with raises(LTXFileNotFoundError):
                    client.copy_ltx_file(file, other)

    def test_data_that_fails_stores_nothing(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            for level in (0, 9):
                with raises(SourceFailed):
                    client.write_ltx_file(level, _ONE, _ONE, BrokenSource(ltx_file(1)))
                assert _ranges(client, level) == []

    def test_a_txid_is_taken_once(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            first = _put(client, 0, 1)
            assert _put(client, 0, 1) == first, "the same file again is success"
            if self.refuses_other_files:
                with raises(LTXFileExistsError):
                    _put(client, 0, 1, fill=9)
                assert client.read_ltx_file(0, _ONE, _ONE) == ltx_file(1)

    def test_a_snapshot_may_be_replaced(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            _put(client, 9, 1, 5)
            _put(client, 9, 1, 5, fill=9, time=TIME + timedelta(seconds=1))
            assert client.read_ltx_file(9, _ONE, TXID(5)) == ltx_file(
                1, 5, fill=9, time=TIME + timedelta(seconds=1)
            )
            assert _ranges(client, 9) == [(1, 5)]

    def test_one_of_many_writers_takes_a_txid(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            if not client.capabilities.creates_if_absent:
                return
            for txid in range(1, 6):

                def write(fill: int, txid: int = txid) -> FileInfo:
                    return _put(client, 0, txid, fill=fill)

                done = at_once(write)
                winners = [fill for fill, each in enumerate(done) if isinstance(each, FileInfo)]
                losers = [each for each in done if isinstance(each, Exception)]
                assert len(winners) == 1, done
                assert all(isinstance(each, LTXFileExistsError) for each in losers), done
                assert client.read_ltx_file(0, TXID(txid), TXID(txid)) == ltx_file(txid, fill=winners[0])

    def test_many_writers_of_one_file_all_succeed(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            assert len({*succeeded(at_once(lambda _: _put(client, 0, 1)))}) == 1
            assert _ranges(client, 0) == [(1, 1)]

    def test_files_are_deleted(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            files = [_put(client, 0, low) for low in range(1, 5)]
            _put(client, 1, 1)
            client.delete_ltx_files(files[1:3])
            client.delete_ltx_files(iter(files[1:4]))
            assert _ranges(client, 0) == [(1, 1)]
            assert _ranges(client, 1) == [(1, 1)]
            assert _put(client, 0, 3, fill=7).min_txid == 3, "what is deleted may be written again"

    def test_all_is_deleted(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            for level in (0, 1, 9):
                _put(client, level, 1)
            client.delete_all()
            client.delete_all()
            assert [_ranges(client, level) for level in (0, 1, 9)] == [[], [], []]
            _put(client, 0, 1, fill=3)

    def test_a_closed_client_connects_again(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            _put(client, 0, 1)
            client.close()
            client.close()
            assert _ranges(client, 0) == [(1, 1)]

    def test_a_change_changes_the_token(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:
            client.init()
            file, tokens = FileInfo(0, _ONE, _ONE, 0, TIME), [client.change_token()]
            changes: list[Callable[[], object]] = [
                lambda: _put(client, 0, 1),
                lambda: _put(client, 0, 2),
                lambda: client.delete_ltx_files([file]),
            ]
            for change in changes:
                # The clock of a file system may be this coarse.
                clock.sleep(0.05)
                change()
                tokens.append(client.change_token())
            assert tokens[-1] == client.change_token()
            assert all(token is None for token in tokens) or len({*tokens}) == len(tokens)

    def test_threads_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as client:

            def work(number: int) -> None:
                for turn in range(5):
                    txid = 1 + number * 5 + turn
                    name, data = (0, TXID(txid), TXID(txid)), ltx_file(txid)
                    file = client.write_ltx_file(*name, io.BytesIO(data))
                    assert client.read_ltx_file(*name) == data
                    assert format_filename(txid, txid) in [each.name for each in client.ltx_files(0)]
                    with client.open_ltx_file(*name, offset=1) as opened:
                        assert opened.read() == data[1:]
                    if turn:
                        client.delete_ltx_files([file])

            count = len(succeeded(at_once(work)))
            assert _ranges(client, 0) == [(1 + number * 5, 1 + number * 5) for number in range(count)]


def _put(
    client: ReplicaClient,
    level: int,
    low: int,
    high: int | None = None,
    *,
    fill: int = 0,
    time: datetime = TIME,
) -> FileInfo:
    last = TXID(low if high is None else high)
    return client.write_ltx_file(
        level, TXID(low), last, io.BytesIO(ltx_file(low, last, fill=fill, time=time))
    )


def _ranges(client: ReplicaClient, level: int, seek: int = 0) -> list[tuple[int, int]]:
    files = [*client.ltx_files(level, seek=TXID(seek))]
    assert all(file.level == level for file in files)
    return [(file.min_txid, file.max_txid) for file in files]
