"""Files of a store in forked children: what both processes were told is committed is there, and nobody hangs."""

from pathlib import Path

import pytest

from ltxcore.blob_store import BlobStore

from tests.unit.blobs import run_forking

pytestmark = pytest.mark.process


def run(tmp_path: Path, script: str, *arguments: object) -> None:
    run_forking(tmp_path / "s.db", script, *arguments)


@pytest.mark.parametrize("ends", ["kill", "close"])
@pytest.mark.parametrize("generations", [1, 2])
@pytest.mark.parametrize("parent_writes", [True, False])
def test_parent_and_child_write_to_one_file(
    tmp_path: Path, ends: str, generations: int, parent_writes: bool
) -> None:
    """With SQLite's own VFS the parent's close would remove the WAL that the child goes on writing."""
    run(
        tmp_path,
        """
        ends, generations, parent_writes = sys.argv[2], int(sys.argv[3]), sys.argv[4] == "True"
        to_parent, from_child = os.pipe()[::-1]
        from_parent, to_child = os.pipe()
        store = BlobStore(path)
        store["before"] = b"x"
        child = os.fork()
        if child == 0:
            if generations == 2 and (grandchild := os.fork()):
                os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
            own = BlobStore(path)
            own["first"] = b"x"
            os.write(to_parent, b"x")
            os.read(from_parent, 1)
            for number in range(50):
                own[f"child {number}"] = bytes(5000)
            os.write(to_parent, b"x")
            os.read(from_parent, 1)
            if ends == "close":
                own.close()
            os._exit(0)
        os.read(from_child, 1)
        assert store["first"] == b"x"
        store.close()
        os.write(to_child, b"x")
        os.read(from_child, 1)
        if parent_writes:
            with BlobStore(path) as store:
                for number in range(50):
                    store[f"parent {number}"] = bytes(5000)
        os.write(to_child, b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        """,
        ends,
        generations,
        parent_writes,
    )
    with BlobStore(tmp_path / "s.db") as store:
        assert len([*store.list("child ")]) == 50
        assert len([*store.list("parent ")]) == 50 * parent_writes
        assert store.check().is_clean


@pytest.mark.parametrize("what", ["writes", "reads", "both"])
def test_a_fork_waits_until_no_thread_is_inside_sqlite(tmp_path: Path, what: str) -> None:
    """Otherwise the child would find mutexes of SQLite's locked for ever, and could not open any database."""
    run(
        tmp_path,
        """
        what = sys.argv[2]
        store, memory = BlobStore(path), BlobStore.memory()
        store["a"] = memory["a"] = bytes(100_000)

        def work(number):
            for each in (store, memory):
                if what != "reads":
                    each[f"{number}"] = bytes(1000)
                if what != "writes":
                    each.get("a")
                    each.read_range("a", 5, 5)

        def child(number):
            with BlobStore(path) as own, BlobStore.memory() as other:
                own["child"] = other["child"] = b"%d" % number
                assert own["child"] == other["child"] == b"%d" % number

        with threads_that(*[lambda number=number: work(number) for number in range(6)]):
            for number in range(40):
                in_child(lambda: child(number))
        assert store["child"] == b"39" and store.check().is_clean
        store.close()
        """,
        what,
    )


def test_several_threads_may_fork(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        store = BlobStore(path)

        def work(name):
            for _ in range(10):
                store[name] = b"x"
                in_child(lambda: None)

        threads = [threading.Thread(target=work, args=[f"{number}"]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store["after"] = b"x"
        store.close()
        """,
    )


def test_a_fork_while_others_open_and_close(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        with BlobStore(path) as store:
            store["long"] = bytes(3 << 20)

        def use(readonly):
            with BlobStore(path, readonly=readonly) as store:
                store.get("a")
                for _ in range(5):
                    store.open("long").read()

        def child(number):
            own = BlobStore(path)
            for each in range(10):
                own[f"{number} {each}"] = bytes(1000)

        with threads_that(*[lambda readonly=readonly: use(readonly) for readonly in [True, False] * 3]):
            for number in range(30):
                in_child(lambda: child(number))
        with BlobStore(path) as store:
            assert len(store) == 301 and store.check().is_clean
        """,
    )


def test_the_parent_may_have_the_file_open_with_sqlite_itself(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        import sqlite3
        BlobStore(path).close()
        connection = sqlite3.connect(path)
        connection.execute("SELECT count(*) FROM item").fetchone()
        to_parent, from_child = os.pipe()[::-1]
        from_parent, to_child = os.pipe()
        child = os.fork()
        if child == 0:
            own = BlobStore(path)
            own["first"] = b"x"
            os.write(to_parent, b"x")
            os.read(from_parent, 1)
            for number in range(50):
                own[f"{number}"] = bytes(5000)
            os._exit(0)
        os.read(from_child, 1)
        connection.close()
        os.write(to_child, b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with BlobStore(path) as store:
            assert len(store) == 51 and store.check().is_clean
        """,
    )


def test_a_signal_handler_may_fork_in_the_middle_of_a_fork(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        import signal, time
        store = BlobStore(path)
        lead, held, done = store._engine.writer._lead, threading.Event(), threading.Event()

        def lead_for_a_while():
            with lead:
                held.set()
                time.sleep(0.4)

        def handle(*_):
            in_child(lambda: None)
            done.set()

        thread = threading.Thread(target=lead_for_a_while)
        thread.start()
        held.wait()
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        in_child(lambda: None)
        thread.join()
        assert done.is_set()
        other = threading.Thread(target=store.put, args=["a", b"x"], daemon=True)
        other.start()
        other.join(20)
        assert store["a"] == b"x"
        store.close()
        """,
    )


def test_a_store_for_coroutines_is_refused_in_a_child(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        import asyncio, time
        from ltxcore.blob_store import AsyncBlobStore
        store = AsyncBlobStore(path)

        async def use():
            await store.put("a", b"x")
            assert await store.get("a") == b"x"

        asyncio.run(use())
        time.sleep(0.2)  # until a thread of the executor counts as idle

        def child():
            assert refused([lambda: asyncio.run(use())]) == []
            asyncio.run(store.close())

        in_child(child)
        asyncio.run(store.close())
        """,
    )


@pytest.mark.parametrize("case", ["unix-excl", "no library", "closed", "another file", "ltx-os"])
def test_what_a_child_may_open(tmp_path: Path, case: str) -> None:
    run(
        tmp_path,
        """
        import ltxcore.vfs
        from ltxcore.errors import SQLiteNotFoundError
        case = sys.argv[2]
        store = BlobStore(path)
        store["a"] = b"x"
        if case == "closed":
            store.close()

        def refuse(*arguments, **keywords):
            raise SQLiteNotFoundError("hidden")

        def child():
            options, is_refused, own = Options(), False, path
            if case == "unix-excl":
                options, is_refused = Options(vfs="unix-excl"), True
            elif case == "no library":
                ltxcore.vfs.OSVFS.register, is_refused = refuse, True
            elif case == "ltx-os":
                ltxcore.vfs.OSVFS().register()
                options = Options(vfs="ltx-os")
            else:
                ltxcore.vfs.OSVFS.register = refuse  # SQLite's own will do
                own += ".other" if case == "another file" else ""
            try:
                BlobStore(own, options=options)["b"] = b"y"
            except ForkedError as error:
                assert is_refused and error.hint and own in str(error)
            else:
                assert not is_refused

        in_child(child)
        """,
        case,
    )
