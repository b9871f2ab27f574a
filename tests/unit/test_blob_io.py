"""Blobs as files: rb, r+b, wb and xb do what files of the io module do."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ltxcore.blob_store import BlobStore
from ltxcore.errors import BlobChangedError, BlobExistsError, BlobNotFoundError, SizeMismatchError

from tests.unit.blobs import opened, quick

CHUNK = 64
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5]


def content(size: int) -> bytes:
    """Bytes whose places can be told apart."""
    return bytes((place * 7 + place // 251) % 256 for place in range(size))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with opened(tmp_path / "s.db", options=quick(chunk_size=CHUNK)) as made:
        yield made


def with_put(store: BlobStore, data: bytes) -> None:
    store.put("x", data)


def with_put_sized(store: BlobStore, data: bytes) -> None:
    store.put_sized("x", io.BytesIO(data), len(data))


def with_wb(store: BlobStore, data: bytes) -> None:
    with store.open("x", "wb", size=len(data)) as file:
        for start in range(0, len(data), 50):
            assert file.write(data[start : start + 50]) == len(data[start : start + 50])
            assert file.tell() == min(start + 50, len(data))


def with_xb(store: BlobStore, data: bytes) -> None:
    with store.open("x", "xb") as file:
        file.writelines(data[place : place + 1] for place in range(len(data)))


def with_compose(store: BlobStore, data: bytes) -> None:
    for start in range(0, len(data), 100) or [0]:
        store.put(f"x/{start}", data[start : start + 100])
    assert store.compose("x", "x/") == len(data)


WAYS: list[Callable[[BlobStore, bytes], None]] = [with_put, with_put_sized, with_wb, with_xb, with_compose]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("write", WAYS)
def test_a_blob_is_read_as_it_was_written(
    store: BlobStore, write: Callable[[BlobStore, bytes], None], size: int
) -> None:
    data = content(size)
    write(store, data)
    assert list(store) == ["x"]
    assert store["x"] == data
    assert store.stat("x").size == size == store.usage().payload_bytes
    for mode in ("rb", "r+b"):
        with store.open("x", mode) as file:
            read_like_any_file(file, data)
    with store.open("x") as file:
        assert b"".join(iter(lambda: file.raw.read(1), b"")) == data, "unbuffered, byte by byte"
        assert file.raw.read(1) == b""
    for offset in range(0, size + 2, 9):
        for length in (0, 1, 9, 20, CHUNK, size + 1):
            assert store.read_range("x", offset, length) == data[offset : offset + length]
            buffer = bytearray(b"-" * length)
            assert store.readinto("x", buffer, offset) == len(data[offset : offset + length])
            assert buffer == data[offset : offset + length].ljust(length, b"-")
    assert store.check().is_clean


def read_like_any_file(file: BinaryIO, data: bytes) -> None:
    """Do the same to a file that is known to be right."""
    right, size = io.BytesIO(data), len(data)
    assert file.readable() and file.seekable() and not file.closed and not file.isatty()
    for wanted in (0, 1, 3, CHUNK, CHUNK + 1, 1, size, 1):
        assert file.read(wanted) == right.read(wanted)
        assert file.tell() == right.tell()
    for offset, whence in [
        *[(place, io.SEEK_SET) for place in (0, 1, size, size // 2, size + 10)],
        *[(-place, io.SEEK_END) for place in (0, min(1, size), size)],
        (5, io.SEEK_END),
        *[(0, io.SEEK_SET), (7, io.SEEK_CUR), (-3, io.SEEK_CUR), (size, io.SEEK_CUR)],
    ]:
        assert file.seek(offset, whence) == right.seek(offset, whence) == file.tell()
        assert file.read(10) == right.read(10)
    for offset, whence in ((-1, io.SEEK_SET), (-size - 1, io.SEEK_END), (0, 9)):
        with pytest.raises(ValueError):
            file.seek(offset, whence)
    file.seek(0)
    assert [*file] == [*io.BytesIO(data)]
    file.seek(0)
    right.seek(0)
    assert file.readline() == right.readline()
    assert file.readlines() == right.readlines()
    for length in (0, 1, CHUNK, size + 1):
        for start in (0, size // 3, size, size + 1):
            file.seek(start)
            buffer = bytearray(length)
            count = file.readinto(buffer)  # type: ignore[attr-defined]
            assert buffer[:count] == data[start : start + length] and count == len(
                data[start : start + length]
            )
    file.seek(0)
    assert file.read() == data
    assert file.read() == b"" == file.read(5)


@pytest.mark.parametrize("mode", ["rb", "r+b"])
def test_a_file_that_is_closed_does_nothing_more(store: BlobStore, mode: Any) -> None:
    store["x"] = content(200)
    file = store.open("x", mode)
    assert store.stats().open_readers == 1
    file.close()
    file.close()
    assert file.closed and store.stats().open_readers == 0
    for use in (
        file.read,
        file.tell,
        lambda: file.seek(0),
        lambda: next(file),
        lambda: file.readinto(bytearray(1)),
    ):
        with pytest.raises(ValueError):
            use()
    with pytest.raises(ValueError), file:
        pass


@pytest.mark.parametrize("mode", ["wb", "xb"])
def test_a_writer_that_is_closed_does_nothing_more(store: BlobStore, mode: Any) -> None:
    file = store.open("x", mode)
    assert file.writable() and not file.readable() and not file.seekable()
    for use in (
        file.read,
        lambda: file.seek(0),
        lambda: file.readinto(bytearray(1)),
        file.truncate,
        file.fileno,
    ):
        with pytest.raises((io.UnsupportedOperation, OSError)):
            use()
    file.write(content(200))
    file.close()
    file.close()
    file.abort()
    assert file.closed and store["x"] == content(200)
    for use in (lambda: file.write(b"x"), file.tell, file.flush, lambda: file.writelines([b"x"])):
        with pytest.raises(ValueError):
            use()
    with pytest.raises(ValueError), file:
        pass
    assert store["x"] == content(200)


def test_a_reader_cannot_write_and_is_named(store: BlobStore) -> None:
    store["x"] = b"bytes"
    with store.open("x") as file:
        assert not file.writable()
        for use in (lambda: file.write(b"x"), file.truncate, file.fileno):
            with pytest.raises((io.UnsupportedOperation, OSError)):
                use()
        assert file.raw.name == "x"
        assert file.raw.size == 5
        assert isinstance(file.raw, io.RawIOBase)


def test_modes_that_are_not_there_are_refused(store: BlobStore) -> None:
    for mode in ("r", "w", "ab", "rb+", "", "rt"):
        with pytest.raises(ValueError):
            store.open("x", mode)  # type: ignore[call-overload]  # the point of the test
    for mode in ("rb", "r+b"):
        with pytest.raises(BlobNotFoundError) as caught:
            store.open("missing", mode)
        assert caught.value.name == "missing"
    assert store.stats().open_readers == 0


@pytest.mark.parametrize("size", [10, 200])
def test_what_is_written_appears_whole_or_never(store: BlobStore, size: int) -> None:
    store["x"] = b"old"
    with pytest.raises(LookupError), store.open("x", "wb") as file:
        file.write(content(size))
        assert store["x"] == b"old"
        raise LookupError
    assert file.closed and store["x"] == b"old"
    file = store.open("x", "wb")
    file.write(content(size))
    file.abort()
    file = store.open("x", "wb")
    file.write(content(size))
    del file  # forgotten
    store.flush()
    assert store["x"] == b"old"
    assert store.usage().staged_bytes == 0
    assert store.check().is_clean


@pytest.mark.parametrize("size", [0, 10, CHUNK, 200])
def test_a_writer_holds_its_user_to_the_size_that_was_promised(store: BlobStore, size: int) -> None:
    file = store.open("x", "wb", size=size)
    with pytest.raises(SizeMismatchError) as caught:
        file.write(content(size + 1))
    assert (caught.value.expected, caught.value.actual) == (size, size + 1)
    file.write(content(size))
    file.close()
    assert store["x"] == content(size)
    if size:
        short = store.open("y", "wb", size=size)
        short.write(content(size - 1))
        with pytest.raises(SizeMismatchError):
            short.close()
        assert short.closed and "y" not in store
    assert store.usage().staged_bytes == 0


@pytest.mark.parametrize("size", [10, 200])
def test_xb_never_replaces(store: BlobStore, size: int) -> None:
    store["x"] = b"old"
    with pytest.raises(BlobExistsError) as caught:
        store.open("x", "xb")
    assert isinstance(caught.value, FileExistsError)
    late = store.open("y", "xb")
    late.write(content(size))
    store["y"] = b"first"
    with pytest.raises(BlobExistsError):
        late.close()
    assert late.closed
    assert (store["x"], store["y"]) == (b"old", b"first")
    assert store.usage().staged_bytes == 0


@pytest.mark.parametrize("size", [size for size in SIZES if size])
@pytest.mark.parametrize("write", WAYS)
def test_bytes_are_changed_in_place(
    store: BlobStore, write: Callable[[BlobStore, bytes], None], size: int
) -> None:
    data = content(size)
    write(store, data)
    right = io.BytesIO(data)
    with store.open("x", "r+b") as file:
        assert file.writable()
        for start, patch in (
            (0, b"A"),
            (size - 1, b"Z"),
            (size // 2, b"M" * (size - size // 2)),
            (size, b""),
        ):
            for each in (file, right):
                each.seek(start)
                assert each.write(patch) == len(patch)
            assert file.tell() == right.tell()
            file.flush()
            assert store["x"] == right.getvalue()
        file.seek(0)
        assert file.read() == right.getvalue()
    store.write_at("x", size - 1, b"!")
    assert store["x"] == right.getvalue()[:-1] + b"!"
    with pytest.raises(ValueError):
        store.write_at("x", size, b"!")
    with pytest.raises(ValueError), store.open("x", "r+b") as file:
        file.seek(size)
        file.write(b"beyond")
    assert store["x"] == right.getvalue()[:-1] + b"!"
    assert store.stat("x").size == size and store.check().is_clean


def test_a_blob_that_was_replaced_is_not_changed_in_place(store: BlobStore) -> None:
    for size in (10, 200):
        store["x"] = content(size)
        file = store.open("x", "r+b").detach()
        store["x"] = bytes(size)
        with pytest.raises(BlobChangedError):
            file.write(b"late")
        with pytest.raises(BlobChangedError):
            file.read(1)
        file.close()
        file = store.open("x", "r+b").detach()
        del store["x"]
        with pytest.raises((BlobChangedError, BlobNotFoundError)):
            file.write(b"late")
        file.close()


def test_sixty_four_mebibytes_go_in_and_out(tmp_path: Path) -> None:
    block = content(1 << 16)
    data = block * 1024
    with opened(tmp_path / "s.db") as store:
        store.put("put", data)
        assert store["put"] == data
        store.put_sized("sized", io.BytesIO(data), len(data))
        with store.open("sized") as file:
            assert all(file.read(1 << 16) == block for _ in range(1024))
            assert file.read(1) == b""
        assert store.read_range("sized", (64 << 20) - 5, 100) == data[-5:]
        assert store.usage().payload_bytes == 128 << 20
        assert store.usage().staged_bytes == 0
