"""Arguments that cannot work, and those that look as if they could not."""

import math
import os
from pathlib import Path
from typing import Any

import pytest

from ltxcore.blob_store import BlobStore, Options
from ltxcore.errors import BlobNameError, ConfigError, NotABlobStoreError

from tests.unit.blobs import ask, in_use, opened, quick

NOT_UTF8 = "\udcff"


@pytest.mark.parametrize("capacity", [1.5, True, False, math.inf, math.nan, "10", b"10", 0, -1, 1 << 63])
def test_a_capacity_is_a_whole_number_above_nothing(tmp_path: Path, capacity: Any) -> None:
    with opened(tmp_path / "s.db") as store:
        store["a"] = b"12"
        with pytest.raises(ConfigError, match="capacity"):
            store.capacity = capacity
    with pytest.raises(ConfigError, match="capacity"):
        opened(tmp_path / "s.db", capacity=capacity)
    with opened(tmp_path / "s.db") as store:
        assert store.capacity is None
        assert in_use(store) == {"a": b"12"}


@pytest.mark.parametrize("name", ["busy_timeout", "linger", "hold_reads", "touch_interval"])
@pytest.mark.parametrize("value", [math.inf, math.nan, -1, 1e10])
def test_a_time_has_an_end(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        Options(**{name: value})


def test_the_longest_time_works(tmp_path: Path) -> None:
    longest = quick(busy_timeout=2e6, linger=0, hold_reads=2e6, touch_interval=2e6)
    with opened(tmp_path / "s.db", options=longest) as store:
        store["a"] = b"x"
        for _ in range(200):
            assert store["a"] == b"x"
        store.put_nowait("b", b"y").result(10)


def test_a_path_with_a_nul_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NUL"):
        BlobStore(f"{tmp_path}/s.db\0x")
    assert list(tmp_path.iterdir()) == []


def test_a_path_may_begin_with_two_slashes(tmp_path: Path) -> None:
    with opened(Path(f"/{tmp_path}/s.db")) as store:
        store["a"] = b"x"
    assert os.listdir(tmp_path) == ["s.db"]


def test_an_empty_file_is_a_store_only_for_who_would_make_one(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.touch()
    for mode in ({"create": False}, {"readonly": True}):
        with pytest.raises(NotABlobStoreError, match="empty"):
            opened(path, **mode)
        assert path.stat().st_size == 0
    with opened(path) as store:
        store["a"] = b"x"
    with opened(path, create=False) as store:
        assert in_use(store) == {"a": b"x"}


@pytest.mark.parametrize("pages", ["1); DROP TABLE item; --", 1.0, "1"])
def test_pages_to_give_back_are_a_number(tmp_path: Path, pages: Any) -> None:
    with opened(tmp_path / "s.db") as store:
        store["a"] = b"x"
        with pytest.raises(TypeError):
            store.vacuum(pages)
        assert in_use(store) == {"a": b"x"} and store.check().is_clean


def test_fewer_pages_than_none_are_not_given_back(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db") as store:
        store["a"] = bytes(1 << 20)
        del store["a"]
        free = store.usage().freelist
        with pytest.raises(ValueError, match="-1"):
            store.vacuum(-1)
        assert store.usage().freelist == free > 0


@pytest.mark.parametrize(
    "use",
    [
        lambda store: list(store.list(NOT_UTF8)),
        lambda store: list(store.list(after=NOT_UTF8)),
        lambda store: list(store.iterdir(NOT_UTF8)),
        lambda store: store.open_chunks(NOT_UTF8),
        lambda store: store.compose("whole", NOT_UTF8),
        lambda store: store.delete_prefix(NOT_UTF8),
        lambda store: store.rename_prefix("a", NOT_UTF8),
        lambda store: store.pop(NOT_UTF8, None),
        lambda store: store.setdefault(NOT_UTF8, b"x"),
    ],
)
def test_what_is_not_utf8_is_no_part_of_a_name(tmp_path: Path, use: Any) -> None:
    with opened(tmp_path / "s.db") as store:
        store["a"] = b"x"
        with pytest.raises(BlobNameError):
            use(store)


def test_tags_that_are_not_utf8_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db") as store:
        for tags in ({"t": NOT_UTF8}, {NOT_UTF8: "t"}):
            with pytest.raises(ValueError, match="surrogates"):
                store.put("a", b"x", tags=tags)
        assert len(store) == 0


@pytest.mark.parametrize("overwrites", [True, False])
def test_removed_bytes_are_overwritten_if_asked_for(tmp_path: Path, overwrites: bool) -> None:
    path = tmp_path / "s.db"
    with opened(path, options=quick(secure_delete=overwrites)) as store:
        assert store.effective_options.secure_delete is overwrites
        store["a"] = b"secret bytes" * 1000
        del store["a"]
    assert (b"secret bytes" in path.read_bytes()) is not overwrites
    assert ask(path, "SELECT count(*) FROM item") == 0
