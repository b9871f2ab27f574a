"""All levels of a replica by one listing: in both layouts, beside other objects, and wherever all levels are asked for."""

import io
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

import ltxcore
from ltxcore import TXID, FileInfo, Replica
from ltxcore.clients import objects
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.ltx import format_filename
from ltxcore.replica._inventory import Inventory
from ltxcore.stores import Capabilities, ObjectInfo

from tests.helpers.stores import MemoryStore
from tests.unit.memory import ltx_file, page

FILES = [(0, 1, 1), (0, 2, 2), (0, 3, 3), (1, 1, 2), (4, 1, 2), (8, 1, 2), (9, 1, 1), (9, 1, 2)]
LAYOUTS = {"s3": "{level:04x}/", "memory": "ltx/{level}/"}


class Counting(MemoryStore):
    """Counts listings, and the objects that were taken from them; each has a page of one object."""

    def __init__(self, kind: str = "s3", capabilities: Capabilities = Capabilities()) -> None:  # noqa: B008
        super().__init__(capabilities)
        self.type = kind  # type: ignore[misc]
        self.listings: list[tuple[str, str]] = []
        self.listed: list[str] = []

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        self.listings.append((prefix, start))
        for info in super().list(prefix, start=start):
            self.listed.append(info.key)
            yield info

    def put(self, key: str) -> None:
        self.write(key, io.BytesIO(b"?"))


class FolderByFolder(Counting):
    """As SeaweedFS: "a/b" before "a-b"."""

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        self.listings.append((prefix, start))
        found = MemoryStore.list(self, prefix)
        ordered = sorted(found, key=lambda info: info.key.split("/"))
        for info in ordered:
            if info.key.split("/") >= start.removesuffix("/").split("/"):
                self.listed.append(info.key)
                yield info


@pytest.fixture(params=LAYOUTS)
def store(request: pytest.FixtureRequest) -> Counting:
    return Counting(request.param)


def filled(store: Counting, prefix: str = "app") -> ObjectReplicaClient:
    client = ObjectReplicaClient(store, prefix)
    for level, low, high in FILES:
        # A whole database each, so that a restore has more than one way.
        data = ltx_file({1: page(high)}, commit=1, min_txid=low, max_txid=high)
        client.write_ltx_file(level, TXID(low), TXID(high), io.BytesIO(data))
    store.listings.clear()
    store.listed.clear()
    return client


def keys(files: Iterator[FileInfo]) -> list[tuple[int, int, int]]:
    return [(file.level, file.min_txid, file.max_txid) for file in files]


@pytest.mark.parametrize("prefix", ["", "app", "backups/app/"])
@pytest.mark.parametrize("use_metadata", [False, True])
def test_one_listing_has_all_levels(store: Counting, prefix: str, use_metadata: bool) -> None:
    client = filled(store, prefix)
    files = [*client.all_ltx_files(use_metadata=use_metadata)]
    assert len(store.listings) == 1
    assert keys(iter(files)) == FILES
    assert files == [
        file for level in range(10) for file in client.ltx_files(level, use_metadata=use_metadata)
    ]


def test_whatever_asks_for_all_levels_lists_once(store: Counting, tmp_path: Any) -> None:
    client = filled(store)
    replica = Replica(client)

    def listings() -> int:
        number = len(store.listings)
        store.listings.clear()
        return number

    assert set(Inventory.of(client).sizes) == set(FILES)
    assert listings() == 1
    assert replica.newest_txid() == 3
    assert listings() == 1
    assert keys(replica.files()) == FILES
    assert listings() == 1
    assert ltxcore.restore_plan(client).files
    assert listings() == 1
    assert [point.txid for point in ltxcore.restore_points(client)] == [1, 2, 3]
    assert listings() == 1
    assert ltxcore.restore(client, tmp_path / "out.db", txid=3).pos.txid == 3
    assert listings() == 1
    assert ltxcore.restore(client, tmp_path / "new.db").pos.txid == 3
    # Another one for files of Litestream 0.3.
    assert listings() == 2


def test_what_lies_below_the_same_prefix_is_not_listed(store: Counting) -> None:
    client = filled(store)
    layout = LAYOUTS[store.type]
    names = [f"{layout.format(level=0)}{format_filename(number, number)}" for number in range(1, 50)]
    for below in ("app/sub/", "app/a/b/", "app/ltx2/", "app/ltx/sub/", "app/000a/", "app/0010/", "app/1/"):
        for name in names:
            store.put(below + name)
    for after in ("app/ltx/9x", "app/00090", "app0/x", "app/ltx", "app.bak/0000/x"):
        store.put(after)
    assert keys(client.all_ltx_files()) == FILES
    # And one more, where the listing ends.
    assert len(store.listed) <= len(FILES) + 1


@pytest.mark.parametrize("count", [1, 10])
def test_what_lies_between_the_levels_is_passed_over(
    store: Counting, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few are read over; behind many a new listing begins."""
    monkeypatch.setattr(objects, "_STRANGERS", 3)
    client = filled(store)
    for level in (0, 1, 8, 9):
        folder = f"app/{LAYOUTS[store.type].format(level=level)}"[:-1]
        for number in range(count):
            for key in (
                f"{folder}-x/{number}",
                f"{folder}0/{number}",
                f"{folder}/ff/{number}",
                f"{folder}/x{number}",
            ):
                store.put(key)
    assert keys(client.all_ltx_files()) == FILES
    assert (len(store.listings) == 1) == (count < 3)
    starts = [start for _, start in store.listings]
    assert starts == sorted(set(starts))


@pytest.mark.parametrize("count", [2, 10])
def test_a_store_that_lists_folder_by_folder(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_STRANGERS", 3)
    store = FolderByFolder()
    client = filled(store)
    for level in (0, 1, 3, 8, 9):
        for number in range(count):
            store.put(f"app/{level:04x}-x/{number}")
            store.put(f"app/{level:04x}0/{number}")
    assert keys(client.all_ltx_files()) == FILES
    client.delete_ltx_files([*client.ltx_files(0)])
    assert keys(client.all_ltx_files()) == [each for each in FILES if each[0] > 0]


def test_a_listing_that_breaks_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltxcore.clients.objects.PAUSES", (0.001,) * 3)
    monkeypatch.setattr("ltxcore.clients._transfer.PAUSES", (0.001,) * 3)

    class Breaks(Counting):
        def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
            for number, info in enumerate(super().list(prefix, start=start)):
                if number == 3:
                    raise ltxcore.errors.ReplicaError("reset", transient=True)
                yield info

    assert keys(filled(Breaks()).all_ltx_files()) == FILES


def test_who_overrides_the_listing_of_a_level_is_asked() -> None:
    class Without(ObjectReplicaClient):
        hidden: ClassVar = {4}

        def ltx_files(self, level: int, **options: Any) -> Iterator[FileInfo]:
            return iter(()) if level in self.hidden else super().ltx_files(level, **options)

    store = Counting()
    filled(store)
    client = Without(store, "app")
    expected = [each for each in FILES if each[0] != 4]
    assert keys(client.all_ltx_files()) == expected
    assert set(Inventory.of(client).sizes) == set(expected)
    patched = ObjectReplicaClient(store, "app")
    patched.ltx_files = client.ltx_files  # type: ignore[method-assign]
    assert keys(patched.all_ltx_files()) == expected
