"""Stores in a forked child, and uses of a store from where its own work is done."""

from pathlib import Path

import pytest

from tests.unit.blobs import in_use, opened, run_forking

pytestmark = pytest.mark.process


def run(tmp_path: Path, script: str) -> None:
    run_forking(tmp_path / "s.db", script)


@pytest.mark.parametrize("where", ["BlobStore(path, options=options)", "BlobStore.memory(options=options)"])
@pytest.mark.parametrize("idle", [True, False])
def test_a_store_is_refused_in_a_forked_child_and_the_parent_goes_on(
    tmp_path: Path, where: str, idle: bool
) -> None:
    run(
        tmp_path,
        f"""
        store = {where}
        store["a"], store["p/0"] = b"x", b"y"
        {"store.get('a')" if idle else ""}
        uses = [
            lambda: store.put("a", b"z"), lambda: store.put_nowait("a", b"z"), lambda: store.get("a"),
            lambda: store["a"], lambda: "a" in store, lambda: len(store), lambda: list(store),
            lambda: store.put_sized("a", io.BytesIO(b"z"), 1), lambda: store.open("a"),
            lambda: store.open("a", "r+b"), lambda: store.open("a", "wb").close(), lambda: store.open_chunks("p/"),
            lambda: store.compose("n", "p/"), lambda: store.stat("a"), lambda: store.tags("a"),
            lambda: store.set_tags("a", None), lambda: store.write_at("a", 0, b"z"), lambda: store.delete("a"),
            lambda: store.rename("a", "n"), lambda: store.delete_prefix("p"), lambda: store.rename_prefix("p", "q"),
            lambda: list(store.iterdir()), lambda: store.capacity, lambda: setattr(store, "capacity", 9),
            lambda: store.usage(), lambda: store.check(), lambda: store.check(repair=True),
            lambda: store.vacuum(), lambda: store.flush(), lambda: store.clear(), lambda: store.read_range("a", 0, 1),
        ]
        in_child(lambda: refused(uses))
        in_child(lambda: store.close())
        store["b"] = b"parent"
        assert dict(store) == {{"a": b"x", "p/0": b"y", "b": b"parent"}}
        assert store.check().is_clean
        store.close()
        """,
    )


def test_what_is_open_is_refused_in_a_forked_child(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        store = BlobStore(path, options=options)
        store["a"] = bytes(300_000)
        reader, updater = store.open("a"), store.open("a", "r+b")
        writer, short = store.open("long", "wb"), store.open("short", "wb")
        writer.write(bytes(2500))
        short.write(b"short")
        assert reader.read(1) == b"\\0"
        raw = updater.detach()
        in_child(lambda: refused([
            lambda: (reader.seek(200_000), reader.read(5)), lambda: raw.read(5), lambda: raw.write(b"child"),
            lambda: writer.write(bytes(2500)), lambda: short.close(),
        ]))
        assert "short" not in store and "long" not in store
        assert store.usage().staged_bytes == 2000, "what the parent has written so far is still there"
        assert reader.read() == bytes(299_999)
        raw.write(b"parent")
        writer.write(bytes(1000))
        writer.close()
        short.close()
        assert store["short"] == b"short" and len(store["long"]) == 3500 and store["a"][:6] == b"parent"
        assert store.check().is_clean
        store.close()
        """,
    )


@pytest.mark.parametrize("end", ["sys.exit", "os._exit"])
def test_a_child_that_ends_takes_nothing_of_the_parent_with_it(tmp_path: Path, end: str) -> None:
    run(
        tmp_path,
        f"""
        store = BlobStore(path, options=options)
        store["a"] = bytes(3000)
        reader, writer = store.open("a"), store.open("long", "wb")
        writer.write(bytes(2500))

        def child():
            global store, reader, writer
            del store, reader, writer
            gc.collect()

        in_child(child, {end})
        in_child(lambda: None, {end})
        writer.write(b"end")
        writer.close()
        assert reader.read() == bytes(3000)
        assert store["long"] == bytes(2500) + b"end"
        store["b"] = b"parent"
        assert store.check().is_clean
        store.close()
        """,
    )


def test_a_child_may_open_a_store_of_its_own(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        store = BlobStore(path, options=options)
        store["parent"] = b"x"

        def child():
            with BlobStore(path, options=options) as own:
                assert own["parent"] == b"x"
                own["child"] = b"y"

        in_child(child, sys.exit)
        in_child(child)
        store["parent"] = b"z"
        assert dict(store) == {"child": b"y", "parent": b"z"} and store.check().is_clean
        store.close()
        """,
    )
    with opened(tmp_path / "s.db") as store:
        assert in_use(store) == {"child": b"y", "parent": b"z"}


def test_a_fork_while_others_write_hangs_nobody(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        store = BlobStore(path, options=options)
        stop = threading.Event()

        def work(number):
            count = 0
            while not stop.is_set():
                count += 1
                store[f"{number}"] = b"%d" % count
                store.get(f"{number}")

        threads = [threading.Thread(target=work, args=[number]) for number in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(10):
            in_child(lambda: refused([lambda: store.get("0"), lambda: store.put("0", b"")]), sys.exit)
        stop.set()
        for thread in threads:
            thread.join()
        assert len(store) == 3 and store.check().is_clean
        store.close()
        """,
    )


def test_a_callback_of_a_future_may_use_the_store(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        store = BlobStore(path, options=options)
        done = threading.Event()

        def follow(future):
            store["followed"] = store["first"]
            done.set()

        gate = store.put_nowait("gate", b"x")
        store.put_nowait("first", b"x").add_done_callback(follow)
        if not done.wait(3):
            print("the callback waits for the writer, which waits for the callback", flush=True)
            os._exit(1)
        assert store["followed"] == b"x"
        store.close()
        """,
    )


@pytest.mark.parametrize("what", ["writer", "reader", "store"])
def test_garbage_that_is_collected_in_the_middle_of_a_write_hangs_nobody(tmp_path: Path, what: str) -> None:
    run(
        tmp_path,
        f"""
        store = BlobStore(path, options=options)
        other = path + ".other"
        gc.disable()

        class Knot:
            pass

        def tie():
            knot = Knot()
            knot.itself = knot
            if {what!r} == "writer":
                knot.file = store.open("half", "wb")
                knot.file.write(bytes(5000))
            elif {what!r} == "reader":
                store["r"] = bytes(5000)
                knot.file = store.open("r")
                knot.file.read(1)
            else:
                knot.store = BlobStore(other, options=options)
                knot.store["x"] = b"x"


        def collecting(transaction):
            gc.collect()

        tie()
        done = threading.Event()

        def work():
            store._engine.writer.call(collecting)
            done.set()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        if not done.wait(3):
            print("a finalizer waits for the writer in whose thread it runs", flush=True)
            os._exit(1)
        store["a"] = b"x"
        assert store["a"] == b"x" and store.check().is_clean
        store.close()
        """,
    )


def test_a_store_in_garbage_is_closed_even_by_its_own_writer(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        gc.disable()
        store = BlobStore(path, options=options)
        started, collected = threading.Event(), threading.Event()
        store.itself = store
        engine = store._engine

        def collecting(transaction):
            started.wait(5)
            gc.collect()
            collected.set()

        writer = engine.writer
        del engine
        request = writer.submit(collecting, 0)
        del store
        started.set()
        if not collected.wait(3):
            print("the store is closed by its writer, which waits for itself", flush=True)
            os._exit(1)
        request.future.result(timeout=5)
        """,
    )
