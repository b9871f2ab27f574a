"""ReaderVFS and forks: a child waits for nothing that a thread of its parent was doing, and reads no wrong bytes."""

import textwrap
from pathlib import Path

import pytest

from tests.helpers.forks import run_forking

pytestmark = pytest.mark.process

BEGIN = """
import io
from ltxcore import _ltxcore, ltx
from tests.helpers.readers import ROWS, content, count

reader = ltxcore.ReaderVFS(content())
"""


def run(room: Path, script: str) -> None:
    run_forking(room, BEGIN + textwrap.dedent(script))


def test_a_child_waits_for_no_thread_that_opened_one(tmp_path: Path) -> None:
    """Names as long as SQLite allows: the longer one is looked up, the more forks are in the middle of that."""
    run(
        tmp_path,
        """
        def search():
            connection = sqlite3.connect(reader.uri, uri=True)
            nothing = f"file:/dev/null/ltx-reader/{'x' * 4000}?vfs=ltx-reader"
            while True:
                error_of(lambda: connection.execute("ATTACH ? AS x", (nothing,)))

        def use():
            global reader
            # No connection: SQLite's own mutexes may be held.
            _ltxcore.ReaderSource(b"", False).close()
            reader.close()
            del reader

        for _ in range(3):
            threading.Thread(target=search, daemon=True).start()
        for _ in range(300):
            ended(fork(use))
        sys.stdout.flush()
        os._exit(0)
        """,
    )


def test_what_a_child_can_read_of_its_parent(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        path = room / ltx.format_filename(1, 1)
        (room / "app.db").write_bytes(content())
        with path.open("wb") as file:
            ltx.encode_database(room / "app.db", file)
        by_path = ltxcore.ReaderVFS(path)
        file = (room / "app.db").open("rb")
        by_file, copied = ltxcore.ReaderVFS(file), ltxcore.ReaderVFS(file)
        assert count(copied.connect(check_same_thread=False)) == ROWS
        closed = ltxcore.ReaderVFS(content())
        closed.close()

        def use():
            for _ in range(2):
                assert count(reader.connect()) == ROWS
            assert count(copied.connect(check_same_thread=False)) == ROWS
            for other in (by_file, by_path):
                assert error_of(lambda: count(other.connect())) == "disk I/O error"
            assert isinstance(by_file.take_error(), ForkedError)
            assert by_path.take_error() is not None
            assert "after a fork" in error_of(lambda: by_file.connect(check_same_thread=False))
            assert "unable to open" in error_of(lambda: closed.connect())
            own = ltxcore.ReaderVFS(content())
            assert own.uri != reader.uri and count(own.connect()) == ROWS
            ended(fork(lambda: count(reader.connect()) == ROWS or os._exit(1)))
            reader.close()
            assert "unable to open" in error_of(lambda: reader.connect())

        ended(fork(use))
        assert count(by_file.connect()) == count(by_path.connect()) == count(reader.connect()) == ROWS
        """,
    )


def test_a_child_waits_for_no_thread_that_made_a_copy(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        inside, go_on = threading.Event(), threading.Event()

        class Slow(io.BytesIO):
            def read(self, size=-1):
                if threading.current_thread() is not threading.main_thread():
                    inside.set()
                    go_on.wait(20)
                return super().read(size)

        reader = ltxcore.ReaderVFS(Slow(content()))
        thread = threading.Thread(target=lambda: reader.connect(check_same_thread=False))
        thread.start()
        assert inside.wait(20)

        def use():
            assert "after a fork" in error_of(lambda: reader.connect(check_same_thread=False))
            reader.close()

        ended(fork(use))
        go_on.set()
        thread.join()
        """,
    )
