"""The bound on the payload: kept, changed, lifted; and what goes when it is reached."""

import threading
from pathlib import Path
from typing import Any, Literal

import pytest

from ltxcore.blob_store import BlobStore, Evicted, Options
from ltxcore.errors import (
    BlobTooLargeError,
    ConfigError,
    NotABlobStoreError,
    OptionMismatchError,
    StoreFullError,
    StoreReadOnlyError,
)

from tests.unit.blobs import opened, plain, quick
from tests.unit.databases import eventually


def test_a_capacity_is_kept_by_the_file_until_another_is_given(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    steps: list[tuple[int | Literal["keep"] | None, int | None]] = [
        ("keep", None),
        (25, 25),
        ("keep", 25),
        (30, 30),
        ("keep", 30),
        (None, None),
        ("keep", None),
    ]
    for given, expected in steps:
        with opened(path, capacity=given) as store:
            assert store.capacity == expected
            assert store.usage().capacity == expected
    with opened(path) as store:
        store.capacity = 7
    with opened(path) as store:
        assert store.capacity == 7


@pytest.mark.parametrize(("capacity", "left"), [(50, 5), (49, 4), (40, 4), (39, 3), (25, 2), (10, 1), (9, 0)])
@pytest.mark.parametrize("how", ["set", "open"])
def test_a_lower_capacity_takes_effect_at_once(tmp_path: Path, capacity: int, left: int, how: str) -> None:
    path = tmp_path / "s.db"
    with opened(path) as store:
        for name in "abcde":
            store[name] = bytes(10)
        if how == "set":
            store.capacity = capacity
            assert list(store) == list("abcde"[5 - left :])
    with opened(path, capacity=capacity if how == "open" else "keep") as store:
        assert list(store) == list("abcde"[5 - left :])
        assert store.usage().payload_bytes == left * 10
        assert store.check().is_clean


@pytest.mark.parametrize(
    ("size", "left"), [(9, "abx"), (10, "abx"), (11, "bx"), (20, "bx"), (21, "x"), (30, "x")]
)
@pytest.mark.parametrize("chunk_size", [4, 1000])
def test_exactly_the_capacity_may_be_used(tmp_path: Path, size: int, left: str, chunk_size: int) -> None:
    with opened(tmp_path / "s.db", capacity=30, options=quick(chunk_size=chunk_size)) as store:
        store["a"], store["b"] = bytes(10), bytes(10)
        store["x"] = bytes(size)
        assert "".join(store) == left
        with pytest.raises(BlobTooLargeError):
            store["y"] = bytes(31)
        assert "".join(store) == left


def test_growing_in_place_of_another_counts_the_difference(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", capacity=30) as store:
        store["a"], store["b"], store["c"] = bytes(10), bytes(10), bytes(10)
        store["c"] = bytes(9)
        store["a"] = bytes(11)
        assert list(store) == ["a", "b", "c"]
        store["a"] = bytes(12)
        assert list(store) == ["a", "c"], "b is what was not used for the longest time"


def test_no_commit_exceeds_the_capacity_even_in_one_batch(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", capacity=25) as store:
        with store.batch() as batch:
            for name in "abcdefg":
                batch.put(name, bytes(10))
        assert list(store) == ["f", "g"]
        assert store.stats().evictions == 5
        assert store.stats().evicted_bytes == 50


@pytest.mark.parametrize("value", [0, -5, "1000", "all", float("nan"), 1 << 63, 1 << 80])
def test_a_capacity_that_cannot_work_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ValueError):
        opened(tmp_path / "s.db", capacity=value)
    with opened(tmp_path / "s.db", capacity=100) as store:
        for wrong in (value, "keep"):
            with pytest.raises(ValueError):
                store.capacity = wrong
        assert store.capacity == 100
    with pytest.raises(ConfigError):
        BlobStore.memory(capacity=0)


def test_the_largest_capacity_works(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", capacity=(1 << 63) - 1) as store:
        store["a"] = b"x"
        assert store.capacity == (1 << 63) - 1


@pytest.mark.parametrize(
    ("policy", "left"),
    [("lru", ["a", "d", "e"]), ("fifo", ["c", "d", "e"]), ("lfu", ["a", "b", "e"])],
)
@pytest.mark.parametrize("touch", ["lazy", "exact"])
@pytest.mark.parametrize("reopen", [False, True])
def test_policies_say_who_goes_first(
    tmp_path: Path, policy: Any, left: list[str], touch: Any, reopen: bool
) -> None:
    path, options = tmp_path / "s.db", quick(policy=policy, touch=touch)
    store = opened(path, capacity=40, options=options)
    for name in "abcd":
        store[name] = bytes(10)
    for name in "bbbaaa":
        assert store[name]
    assert store["d"]
    assert store["a"]
    if reopen:
        store.close()
        store = opened(path, options=options)
    store["e"] = bytes(20)
    assert list(store) == left
    store.close()


def test_a_policy_is_kept_until_another_is_given(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    for given, expected in ((None, "lru"), ("fifo", "fifo"), (None, "fifo"), ("lfu", "lfu"), ("lru", "lru")):
        with opened(path, capacity=20, options=quick(policy=given)) as store:
            assert store.effective_options.policy == expected
            store.clear()
            store["a"], store["b"] = bytes(10), bytes(10)
            for _ in range(2):
                assert store["a"]
            store["c"] = bytes(10)
            assert list(store) == (["b", "c"] if expected == "fifo" else ["a", "c"])


def test_where_nothing_may_be_evicted_a_full_store_refuses(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", capacity=25, options=quick(policy="none")) as store:
        store["a"], store["b"] = bytes(10), bytes(10)
        for use in (lambda: store.put("c", bytes(6)), lambda: store.put("a", bytes(16))):
            with pytest.raises(StoreFullError):
                use()
        with pytest.raises(StoreFullError):
            store.capacity = 19
        store["c"] = bytes(5)
        store["a"] = bytes(9)
        assert [store.stat(name).size for name in store] == [9, 10, 5]
        del store["b"]
        store["d"] = bytes(11)
        assert store.usage().payload_bytes == 25


@pytest.mark.parametrize(("touch", "left"), [("lazy", "ac"), ("exact", "ac"), ("off", "bc")])
def test_reading_counts_as_use_unless_switched_off(tmp_path: Path, touch: Any, left: str) -> None:
    with opened(tmp_path / "s.db", capacity=20, options=quick(touch=touch)) as store:
        store["a"], store["b"] = bytes(10), bytes(10)
        for read in (
            lambda: store.get("a"),
            lambda: store.read_range("a", 0, 1),
            lambda: store.open("a").close(),
            lambda: store.readinto("a", bytearray(2)),
        ):
            read()
        store.flush()
        assert store.stat("a").hits == (0 if touch == "off" else 4)
        store.stat("b")
        assert "b" in store and list(store.list("b")) == ["b"]
        store["c"] = bytes(10)
        assert "".join(store) == left


def test_a_flush_writes_down_every_use_before_it(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", options=quick(touch="exact")) as store:
        store["a"] = b"x"
        for number in range(1, 101):
            store.read_range("a", 0, 1)
            store.flush()
            assert store.stat("a").hits == number


def test_uses_are_written_down_after_a_while_or_when_there_are_many(tmp_path: Path) -> None:
    with opened(tmp_path / "a.db", options=quick(touch_interval=0.05)) as store:
        store["a"] = b"x"
        store.get("a")
        eventually(lambda: store.stat("a").hits == 1)
    with opened(tmp_path / "b.db", options=quick(touch_interval=1000, touch_max=3)) as store:
        for name in "abc":
            store[name] = b"x"
        for name in "ab":
            store.get(name)
        assert store.stat("a").hits == 0
        store.get("c")
        eventually(lambda: store.stat("a").hits == 1)


def test_who_was_evicted_is_told_after_the_commit_in_a_thread_of_its_own(tmp_path: Path) -> None:
    told: list[Evicted] = []
    threads: set[int] = set()
    seen: list[bool] = []

    def note(gone: Evicted) -> None:
        threads.add(threading.get_ident())
        seen.append(gone.name in store)
        store[f"log {gone.name}"] = b""  # the store can be used here
        told.append(gone)
        if gone.name == "a":
            raise LookupError("whatever a callback raises is logged")

    with opened(tmp_path / "s.db", capacity=25, on_evict=note) as store:
        for name in "abc":
            store[name] = bytes(10)
        eventually(lambda: len(told) == 1)
        store["d"] = bytes(20)
        eventually(lambda: len(told) >= 3)
        assert told[:3] == [Evicted("a", 10), Evicted("b", 10), Evicted("c", 10)]
        assert not any(seen)
        assert threading.get_ident() not in threads and len(threads) == 1


def test_a_callback_may_close_the_store(tmp_path: Path) -> None:
    closed = threading.Event()

    def close(_gone: Evicted) -> None:
        store.close()
        closed.set()

    store = opened(tmp_path / "s.db", capacity=10, on_evict=close)
    store["a"], store["b"] = bytes(10), bytes(10)
    assert closed.wait(10)
    store.close()


def test_a_store_that_is_only_read_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with opened(path, capacity=100) as store:
        store["a"] = bytes(50)
    before = path.read_bytes()
    with opened(path, readonly=True) as store:
        assert (store["a"], len(store), store.capacity) == (bytes(50), 1, 100)
        assert store.check().is_clean and store.usage().items == 1 and store.stats().hits == 1
        with store.open("a") as file:
            assert file.read() == bytes(50)
        for use in (
            lambda: store.put("a", b""),
            lambda: store.put_nowait("a", b""),
            lambda: store.open("a", "wb"),
            lambda: store.open("a", "r+b"),
            lambda: store.write_at("a", 0, b"x"),
            lambda: store.delete("a"),
            lambda: store.rename("a", "b"),
            lambda: store.set_tags("a", {}),
            lambda: store.delete_prefix("a"),
            lambda: store.compose("b", "a"),
            lambda: setattr(store, "capacity", 1),
            lambda: store.check(repair=True),
            store.clear,
            store.vacuum,
        ):
            with pytest.raises(StoreReadOnlyError):
                use()
    assert path.read_bytes() == before
    with pytest.raises(OptionMismatchError):
        opened(path, readonly=True, options=quick(page_size=8192))
    with pytest.raises((StoreReadOnlyError, ConfigError)):
        opened(path, readonly=True, capacity=10)


def test_what_is_not_there_is_not_made_if_not_wanted(tmp_path: Path) -> None:
    for arguments in ({"create": False}, {"readonly": True}, {"readonly": True, "create": False}):
        with pytest.raises(FileNotFoundError) as caught:
            opened(tmp_path / "s.db", **arguments)
        assert str(tmp_path / "s.db") in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    with pytest.raises(NotABlobStoreError):
        opened(tmp_path / "empty.db", readonly=True)
    assert Options().durability == "normal"


@pytest.mark.parametrize("policy", ["lru", "fifo", "lfu"])
def test_a_total_that_somebody_else_made_wrong_makes_no_write_fail(tmp_path: Path, policy: Any) -> None:
    path = tmp_path / "s.db"
    with opened(path, capacity=10, options=quick(policy=policy)) as store:
        with plain(path) as connection:
            connection.execute("UPDATE meta SET bytes = 1000")
        store.delete("a", missing_ok=True)
        assert list(store) == []
        assert store.check(repair=True).problems
        store["a"] = b"x"
        assert list(store) == ["a"] and store.check().is_clean


def test_a_capacity_that_is_refused_leaves_the_others_of_its_batch_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "s.db", capacity=1000, options=quick(policy="none")) as store:
        store["a"] = bytes(500)
        failed: list[BaseException] = []

        def lower() -> None:
            try:
                store.capacity = 100
            except StoreFullError as error:
                failed.append(error)

        with store._engine.writer._lead:  # so that both come into one transaction
            threads = [threading.Thread(target=lower)]
            threads[0].start()
            eventually(lambda: store.stats().queue_depth == 1)
            threads.append(threading.Thread(target=store.put, args=["b", bytes(10)]))
            threads[1].start()
            eventually(lambda: store.stats().queue_depth == 2)
        for thread in threads:
            thread.join()
        assert len(failed) == 1
        assert store.capacity == 1000 and sorted(store) == ["a", "b"]
