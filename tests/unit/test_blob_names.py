"""Names of blobs: which there are, which there are not, and ranges of them."""

from pathlib import Path
from typing import Any

import pytest

from ltxcore.blob_store import BlobStore
from ltxcore.blob_store._sql.queries import lowest_above
from ltxcore.blob_store._values import MAX_BYTES
from ltxcore.errors import BlobExistsError, BlobNameError, BlobNotFoundError

from tests.unit.blobs import in_use, opened

ALLOWED = [
    "a",
    " ",
    "%",
    "_",
    "a%b_c",
    "A",
    "/",
    "//",
    "a/",
    "a//b",
    "../../etc/passwd",
    "line\nbreak",
    "quote'\"`;--",
    "caf\u00e9",
    "cafe\u0301",
    "\u00df",
    "SS",
    "\ufeff",
    "\uffff",
    "\U0001f4a9",
    "\U0010ffff",
    "\x01",
    "\x7f",
    "0",
    "1e5",
    "x" * 10_000,
    "\u00e9" * 16_384,
    "x" * MAX_BYTES,
]
REFUSED = ["", "\0", "a\0b", "a\0", "\ud800", "a\udfffb", "x" * (MAX_BYTES + 1), "\u00e9" * 16_385]


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with opened(tmp_path / "s.db") as made:
        yield made


def fill(store: BlobStore, *names: str) -> None:
    with store.batch() as batch:
        for name in names:
            batch.put(name, name.encode()[:20])


def test_names_are_kept_apart_and_as_they_are(store: BlobStore) -> None:
    for name in ALLOWED:
        store.put(name, name.encode())
    assert len(store) == len(ALLOWED)
    assert list(store) == sorted(ALLOWED, key=str.encode)
    for name in ALLOWED:
        assert store[name] == name.encode()
        assert name in store
        assert store.stat(name).name == name
        with store.open(name) as file:
            assert file.read() == name.encode()
        assert list(store.list(name, limit=1)) == [name]
        del store[name]
        assert name not in store
    assert len(store) == 0


@pytest.mark.parametrize("name", REFUSED, ids=range(len(REFUSED)))
def test_a_name_that_cannot_be_is_refused_everywhere(store: BlobStore, name: str) -> None:
    store["a"] = b"x"
    for use in (
        lambda: store.put(name, b""),
        lambda: store.put_nowait(name, b""),
        lambda: store.put_sized(name, None, 0),  # type: ignore[arg-type]  # it is not read
        lambda: store.get(name),
        lambda: store[name],
        lambda: store.read_range(name, 0, 1),
        lambda: store.stat(name),
        lambda: store.tags(name),
        lambda: store.set_tags(name, None),
        lambda: store.write_at(name, 0, b"x"),
        lambda: store.delete(name, missing_ok=True),
        lambda: store.rename("a", name),
        lambda: store.rename(name, "a"),
        lambda: store.compose(name, "a"),
        *[lambda mode=mode: store.open(name, mode) for mode in ("rb", "r+b", "wb", "xb")],  # type: ignore[misc]
    ):
        with pytest.raises(BlobNameError) as caught:
            use()
        assert isinstance(caught.value, ValueError)
    for add in (lambda batch: batch.put(name, b""), lambda batch: batch.rename("a", name)):
        with pytest.raises(BlobNameError), store.batch() as batch:
            add(batch)
    assert name not in store
    assert in_use(store) == {"a": b"x"}


@pytest.mark.parametrize("prefix", ["\ud800", "a\udfff"])
def test_a_prefix_that_cannot_be_in_a_name_is_refused(store: BlobStore, prefix: str) -> None:
    store["a"] = b"x"
    for use in (
        lambda: list(store.list(prefix)),
        lambda: list(store.iterdir(prefix)),
        lambda: store.delete_prefix(prefix),
        lambda: store.rename_prefix(prefix, "b"),
        lambda: store.rename_prefix("a", prefix),
        lambda: store.open_chunks(prefix),
        lambda: store.compose("all", prefix),
    ):
        with pytest.raises(ValueError):
            use()
    assert list(store) == ["a"]


@pytest.mark.parametrize("name", [1, None, b"a", ("a",), 1.5])
def test_only_text_is_a_name(store: BlobStore, name: Any) -> None:
    store["1"], store["1.5"] = b"x", b"x"
    assert name not in store
    for use in (
        lambda: store.get(name),
        lambda: store[name],
        lambda: store.put(name, b""),
        lambda: store.delete(name),
        lambda: store.stat(name),
        lambda: store.open(name),
        lambda: store.delete_prefix(name),
    ):
        with pytest.raises(TypeError):
            use()
    assert list(store) == ["1", "1.5"]


def test_the_end_of_a_prefix() -> None:
    assert lowest_above("a") == "b"
    assert lowest_above("a/") == "a0"
    assert lowest_above("\ud7ff") == "\ue000"
    assert lowest_above("a\U0010ffff") == "b"
    assert lowest_above("\U0010ffff\U0010ffff") is None
    assert lowest_above("") is None


@pytest.mark.parametrize("prefix", ["", "a", "a/", "\ud7ff", "\U0010ffff", "a\U0010ffff", "%", "\u00e9", "/"])
def test_a_listing_is_what_starts_with_the_prefix_in_order(store: BlobStore, prefix: str) -> None:
    names = ["A", "a", "a/", "a/b", "a0", "a\U0010ffff", "a\U0010ffffz", "b", "\ud7ff", "\ud7ffx", "\ue000"]
    names += [
        "\U0010ffff",
        "\U0010ffff\U0010ffff",
        "%",
        "%/",
        "\u00e9",
        "\u00e9a",
        "e\u0301",
        "/",
        "/a",
        "//",
    ]
    fill(store, *names)
    expected = sorted((name for name in names if name.startswith(prefix)), key=str.encode)
    assert list(store.list(prefix)) == expected
    for limit in (0, 1, 2, 100):
        assert list(store.list(prefix, limit=limit)) == expected[:limit]
    for place, name in enumerate(expected):
        assert list(store.list(prefix, after=name)) == expected[place + 1 :]
        assert list(store.list(prefix, after=name, limit=1)) == expected[place + 1 :][:1]
    assert list(store.list(prefix, after="\U0010ffff" * 3)) == []
    assert list(store.list(prefix, after="")) == expected
    if prefix:
        assert store.delete_prefix(prefix) == len(expected)
        assert set(store) == set(names) - set(expected)
        assert store.check().is_clean


def test_a_long_listing_comes_in_pages_and_bears_changes(store: BlobStore) -> None:
    names = [f"{number:05}" for number in range(2500)]
    fill(store, *names)
    assert list(store) == names
    assert list(store.list(limit=1500)) == names[:1500]
    seen = []
    for name in store:
        seen.append(name)
        del store[name]
    assert seen == names
    assert len(store) == 0
    assert list(store.list("missing")) == [] == list(store.iterdir("missing"))


def test_a_directory_is_listed_once_whatever_is_in_it(store: BlobStore) -> None:
    fill(
        store,
        *[f"d/sub/{number}" for number in range(50)],
        "d",
        "d!",
        "d/",
        "d/a",
        "d/sub",
        "d//x",
        "d0",
        "/r",
    )
    assert list(store.iterdir("d")) == ["d//", "d/a", "d/sub", "d/sub/"]
    assert list(store.iterdir("d/sub")) == sorted(f"d/sub/{number}" for number in range(50))
    assert list(store.iterdir()) == ["/", "d", "d!", "d/", "d0"]
    assert list(store.iterdir("/")) == ["/r"]
    assert list(store.iterdir("d//")) == ["d//x"]
    assert list(store.iterdir("d/a")) == []


@pytest.mark.parametrize("prefix", ["", "\0"])
def test_deleting_everything_has_to_be_meant(store: BlobStore, prefix: str) -> None:
    fill(store, "a", "b")
    with pytest.raises(BlobNameError):
        store.delete_prefix(prefix)
    with pytest.raises(BlobNameError), store.batch() as batch:
        batch.delete_prefix(prefix)
    assert len(store) == 2
    assert store.delete_prefix("c") == 0
    store.clear()
    assert len(store) == 0


@pytest.mark.parametrize(
    ("names", "old", "new"),
    [
        (["a/1", "a/2", "b"], "a/", "c/"),
        (["a/1", "a/2", "b"], "a/", ""),
        (["a", "ab", "abc"], "a", "aa"),
        (["aa", "aaa", "aaaa"], "aa", "a"),
        (["x", "xx", "xxx", "xxxx"], "x", "xx"),
        (["x", "xx", "xxx", "xxxx"], "xx", "x\U0010ffff"),
        (["a/1", "a/a/1", "a/a/a/1"], "a/", "a/a/"),
        (["a/a/1", "a/a/a/1"], "a/a/", "a/"),
        (["a", "b"], "a", "a"),
        (["a", "b"], "c", "d"),
        (["\u00e9/1", "\u00e9/2"], "\u00e9", "e\u0301"),
    ],
)
def test_a_prefix_is_replaced_in_all_names(store: BlobStore, names: list[str], old: str, new: str) -> None:
    fill(store, *names)
    expected = {(new + name[len(old) :] if name.startswith(old) else name): name.encode() for name in names}
    assert store.rename_prefix(old, new) == sum(name.startswith(old) for name in names)
    assert in_use(store) == expected
    assert store.check().is_clean


@pytest.mark.parametrize(
    ("old", "new", "raised"),
    [
        ("a/", "b/", BlobExistsError),
        ("a", "", BlobNameError),
        ("a/", "\0", BlobNameError),
        ("a/", "x" * MAX_BYTES, BlobNameError),
        ("", "x", BlobNameError),
    ],
)
def test_a_prefix_is_replaced_in_all_names_or_in_none(
    store: BlobStore, old: str, new: str, raised: type[Exception]
) -> None:
    fill(store, "a", "a/0", "a/1", "a/2", "b/1")
    before = in_use(store)
    with pytest.raises(raised):
        store.rename_prefix(old, new)
    assert in_use(store) == before
    assert store.check().is_clean


def test_a_blob_is_renamed_with_all_that_is_known_of_it(store: BlobStore) -> None:
    store.put("a", b"bytes", tags={"k": "v"})
    store.get("a")
    before = store.stat("a")
    store.rename("a", "a")
    store.rename("a", "b")
    after = store.stat("b")
    assert (after.size, after.etag, after.tags, after.created_at) == (
        5,
        before.etag,
        {"k": "v"},
        before.created_at,
    )
    assert after.hits == 1, "a use that was noted goes with it"
    store["a"] = b"other"
    with pytest.raises(BlobExistsError):
        store.rename("a", "b")
    with pytest.raises(BlobNotFoundError):
        store.rename("missing", "b", overwrite=True)
    assert in_use(store) == {"a": b"other", "b": b"bytes"}
    store.rename("a", "b", overwrite=True)
    assert in_use(store) == {"b": b"other"}
    assert store.usage().payload_bytes == 5
    assert store.check().is_clean
