"""Where the versions of Litestream differ: what our documents say of each, found out by the one that is installed."""

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from ltxcore import TXID, FileClient, ltx

from tests.helpers import litestream
from tests.helpers.process import Child, ended, until
from tests.helpers.replicas import Source, content

pytestmark = [pytest.mark.interop, pytest.mark.process]

#: The first version that does what is said here of new ones.
NEW = (0, 5, 18)


def is_new() -> bool:
    return litestream.version() >= NEW


def with_checksums(source: Source) -> None:
    """The replica once more, as a chain whose files carry the checksums of the database."""
    replica = FileClient(source.replica)
    before, pages = ltx.Checksum(0), b""
    for info in list(replica.ltx_files(0)):
        path = source.file(0, info.min_txid, info.max_txid)
        found: dict[int, bytes] = {}
        with ltx.open(path) as decoder:
            header = decoder.header
            found.update((pgno, bytes(page)) for pgno, page in decoder)
        size = header.page_size
        content = bytearray(pages[: header.commit * size].ljust(header.commit * size, b"\0"))
        for pgno, page in found.items():
            content[(pgno - 1) * size : pgno * size] = page
        pages = bytes(content)
        database = source.path.with_name("state.db")
        database.write_bytes(pages)
        after = ltx.checksum_database(database)
        made = ltx.Header(
            page_size=size,
            commit=header.commit,
            min_txid=info.min_txid,
            max_txid=info.max_txid,
            timestamp=header.timestamp,
            pre_apply_checksum=before,
            no_checksum=False,
        )
        with path.open("wb") as file:
            encoder = ltx.Encoder(file, made)
            for pgno in sorted(found):
                encoder.write(pgno, found[pgno])
            encoder.finish(after)
        before = after


def test_a_chain_with_checksums(tmp_path: Path) -> None:
    source = Source(tmp_path)
    for _ in range(3):
        source.move()
    with_checksums(source)
    argv = [str(litestream.program()), "restore", "-o", str(tmp_path / "out.db"), f"file://{source.replica}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode == 0) is is_new(), done.stderr
    if is_new():
        assert content(tmp_path / "out.db") == content(source.path)
    else:
        assert "checksum not allowed" in done.stderr


def test_our_encoded_file_with_checksums(tmp_path: Path) -> None:
    """`ltxcore file encode --checksums`."""
    source = Source(tmp_path)
    source.file(0, 1, 1).unlink()
    with source.file(0, 1, 1).open("wb") as file:
        ltx.encode_database(source.path, file, checksums=True)
    argv = [str(litestream.program()), "restore", "-o", str(tmp_path / "out.db"), f"file://{source.replica}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode == 0) is is_new(), done.stderr


def test_following_past_the_newest_snapshot(tmp_path: Path) -> None:
    """We go on there, and so do new versions."""
    source = Source(tmp_path)
    source.merge(9, 1, 1, keep=True)
    source.move()
    output = tmp_path / "out.db"
    argv = [str(litestream.program()), "restore", "-f", "-follow-interval", "20ms", "-o", str(output)]
    argv.append(f"file://{source.replica}")
    sidecar = Path(f"{output}-txid")

    def is_there() -> bool:
        return sidecar.exists() and sidecar.read_text() == f"{TXID(source.txid)}\n"

    for first in (True, False):
        follower = Child(argv, tmp_path / "follow.log")
        with ended(follower):
            source.move()
            if not first and not is_new():
                assert follower.wait(20) == 1
                assert "snapshot" in follower.tail()
                return
            until(is_there, what=f"TXID {source.txid}: {follower.tail()}")
            assert follower.terminate() == 0, follower.tail()
    assert content(output) == content(source.path)


def test_a_failed_final_sync(tmp_path: Path) -> None:
    """Exit code 1 here, and of new versions."""
    path, replica = tmp_path / "app.db", tmp_path / "replica"
    config = tmp_path / "litestream.yml"
    text = {
        "shutdown-sync-timeout": "1s",
        "dbs": [
            {"path": str(path), "monitor-interval": "50ms", "replica": {"type": "file", "path": str(replica)}}
        ],
    }
    config.write_text(json.dumps(text))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE t (v)")
        daemon = litestream.daemon(config, tmp_path / "log")
        with ended(daemon):
            until(lambda: any(replica.glob("ltx/0/*.ltx")), what=daemon.tail())
            replica.rename(tmp_path / "away")
            replica.touch()  # no directory can be made here
            connection.execute("INSERT INTO t VALUES (1)")
            assert daemon.terminate() == (1 if is_new() else 0), daemon.tail()
