"""A blob store used as the original was: chunks of pieces come in any order, are put together, checked, and read.

The payload is 13 bytes with a NUL in them, pieces have 5 bytes and chunks 2, so that last ones are short.
"""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ltxcore.blob_store import BlobStore, Options
from ltxcore.errors import BlobNotFoundError, ChunkGapError, StoreClosedError, StoreFullError

PAYLOAD = b"hello,\0world!"
PIECE, CHUNK = 5, 2
PIECES = [PAYLOAD[at : at + PIECE] for at in range(0, len(PAYLOAD), PIECE)]
OPTIONS = Options(durability="cache")
MEMORY = "memory"
KINDS = ("wal", "delete", MEMORY)


def made(tmp_path: Path, kind: str, capacity: int | None) -> BlobStore:
    if kind == MEMORY:
        return BlobStore.memory(capacity=capacity, options=OPTIONS)
    options = Options(durability="cache", journal_mode=kind)  # type: ignore[arg-type]
    return BlobStore(tmp_path / "s.db", capacity=capacity, options=options)


class Torrent:
    """What a client does with its storage."""

    def __init__(self, store: BlobStore) -> None:
        self.store = store

    def chunks(self, piece: int) -> Iterator[tuple[str, bytes]]:
        for at in range(0, len(PIECES[piece]), CHUNK):
            yield f"incompleted/{piece}/{at}", PIECES[piece][at : at + CHUNK]

    def is_complete(self, piece: int) -> bool:
        try:
            return self.store.stat(f"completed/{piece}").size == len(PIECES[piece])
        except BlobNotFoundError:
            return False

    def promote(self, piece: int) -> None:
        self.store.compose(f"completed/{piece}", f"incompleted/{piece}/", size=len(PIECES[piece]))

    def download(self, piece: int, source: random.Random) -> None:
        arriving = list(self.chunks(piece))
        source.shuffle(arriving)
        for name, data in arriving:
            assert not self.is_complete(piece)
            self.store.put(name, data)
        self.promote(piece)

    def read(self, piece: int, source: random.Random) -> bytes:
        if not self.is_complete(piece):
            self.download(piece, source)
        with self.store.open(f"completed/{piece}") as file:
            return b"".join(iter(lambda: file.read(source.choice((1, 2, 100))), b""))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("capacity", (None, PIECE))
@pytest.mark.parametrize("seed", range(4))
def test_the_payload_is_read_twice_whatever_is_evicted(
    tmp_path: Path, kind: str, capacity: int | None, seed: int
) -> None:
    source = random.Random(seed)
    with made(tmp_path, kind, capacity) as store:
        torrent = Torrent(store)
        for _ in range(2):
            for piece in source.sample(range(len(PIECES)), len(PIECES)):
                assert torrent.read(piece, source) == PIECES[piece]
                assert capacity is None or store.usage().payload_bytes <= capacity
        complete = [torrent.is_complete(piece) for piece in range(len(PIECES))]
        assert all(complete) if capacity is None else sum(complete) in (1, 2)
        assert list(store.list("incompleted/")) == []
        assert store.check().is_clean


def test_chunks_of_all_pieces_come_at_the_same_time(tmp_path: Path) -> None:
    with made(tmp_path, "wal", None) as store, ThreadPoolExecutor(8) as pool:
        torrent = Torrent(store)
        list(pool.map(lambda piece: torrent.download(piece, random.Random(piece)), range(len(PIECES))))
        assert b"".join(store[f"completed/{piece}"] for piece in range(len(PIECES))) == PAYLOAD


def test_a_piece_without_one_of_its_chunks_is_not_complete(tmp_path: Path) -> None:
    with made(tmp_path, "wal", None) as store:
        torrent = Torrent(store)
        for name, data in torrent.chunks(0):
            store.put(name, data)
        for missing, _ in torrent.chunks(0):
            data = store[missing]
            store.delete(missing)
            with pytest.raises(ChunkGapError):
                torrent.promote(0)
            with pytest.raises(ChunkGapError):
                store.open_chunks("incompleted/0/", size=PIECE)
            assert not torrent.is_complete(0)
            store.put(missing, data)
        assert store.read_consecutive_chunks("incompleted/0/", size=PIECE) == PIECES[0]
        torrent.promote(0)
        assert torrent.is_complete(0)


def test_a_piece_that_is_lost_is_not_complete_any_more(tmp_path: Path) -> None:
    with made(tmp_path, "wal", None) as store:
        torrent = Torrent(store)
        torrent.download(1, random.Random(1))
        store.delete("completed/1")
        assert not torrent.is_complete(1)
        with pytest.raises(BlobNotFoundError):
            store.read_range("completed/1", 0, 1)


def test_a_full_disk_is_an_error_until_there_is_room(tmp_path: Path) -> None:
    options = Options(durability="cache", page_size=512, max_page_count=24, auto_vacuum="none")
    with BlobStore(tmp_path / "s.db", options=options) as store:
        torrent = Torrent(store)
        store.put("in the way", bytes(2000))
        with pytest.raises(StoreFullError):
            store.put("more", bytes(9000))
        store.delete("in the way")
        torrent.download(2, random.Random(2))
        assert torrent.read(2, random.Random(3)) == PIECES[2]
        assert store.check().is_clean


def test_a_store_that_is_closed_says_so_and_two_torrents_share_one(tmp_path: Path) -> None:
    store = made(tmp_path, "wal", None)
    one, two = Torrent(store), Torrent(store)
    one.download(0, random.Random(0))
    assert two.is_complete(0)
    store.close()
    for use in (
        lambda: one.is_complete(0),
        lambda: one.download(1, random.Random(0)),
        lambda: one.promote(0),
    ):
        with pytest.raises(StoreClosedError):
            use()
    with made(tmp_path, "wal", None) as again:
        assert Torrent(again).read(0, random.Random(0)) == PIECES[0]
