"""A replica of the real Litestream, updated over its compactions: its files have no checksum of the whole database either."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import ltxcore
from ltxcore import FileClient, FileInfo
from ltxcore.errors import LTXFileNotFoundError

from tests.helpers import litestream
from tests.helpers.app import digest
from tests.helpers.process import ChildError, ended, until

pytestmark = [pytest.mark.interop, pytest.mark.process, pytest.mark.timeout(180)]

ROWS = 3000


class Place:
    """A database that Litestream replicates, merges every second or so, and deletes merged files of level 0 of soon after."""

    def __init__(self, folder: Path, snapshot: dict[str, str]) -> None:
        self.folder, self.db, self.replica = folder, folder / "app.db", folder / "replica"
        self.copy, self.socket = folder / "copy.db", folder / "socket"
        with closing(sqlite3.connect(self.db)) as connection, connection:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("CREATE TABLE t (x INTEGER PRIMARY KEY, body)")
            connection.executemany("INSERT INTO t VALUES (?, randomblob(3000))", [(n,) for n in range(ROWS)])
        replica = {"type": "file", "path": str(self.replica), "sync-interval": "50ms"}
        config = {
            "socket": {"enabled": True, "path": str(self.socket)},
            "levels": [{"interval": "1s"}, {"interval": "4s"}],
            "snapshot": snapshot,
            "l0-retention": "1s",
            "l0-retention-check-interval": "1s",
            "dbs": [{"path": str(self.db), "monitor-interval": "50ms", "replica": replica}],
        }
        self.config = folder / "litestream.yml"
        self.config.write_text(json.dumps(config))

    def change(self, part: int) -> None:
        with closing(sqlite3.connect(self.db, timeout=10)) as connection, connection:
            connection.execute("UPDATE t SET body = randomblob(3000) WHERE x % 100 = ?", (part,))

    def sync(self) -> int:
        return litestream.sync(self.socket, self.db, 30)

    def level(self, level: int) -> list[FileInfo]:
        return list(FileClient(self.replica).ltx_files(level))

    def merge(self) -> None:
        """Wait until all that is there now is in level 1, and no longer in level 0."""
        txid = self.sync()

        def is_merged() -> bool:
            there = any(file.max_txid >= txid for file in self.level(1))
            return there and all(file.min_txid > txid for file in self.level(0))

        # The newest file of level 0 stays.
        self.change(99)
        self.sync()
        until(is_merged, timeout=60, what=f"TXID {txid} in level 1 alone")

    def update(self) -> ltxcore.RestoreResult:
        """Files may be merged and deleted at any moment."""
        return ltxcore.restore(self.replica, self.copy, update=True)

    def is_right(self, txid: int) -> bool:
        """Whether the copy is what Litestream itself restores."""
        for _ in range(5):
            try:
                return self._restored(txid) == digest(self.copy)
            except (ChildError, LTXFileNotFoundError):
                time.sleep(0.1)
        return False

    def _restored(self, txid: int) -> str:
        output = self.folder / "theirs.db"
        for path in self.folder.glob("theirs.db*"):
            path.unlink()
        litestream.restore(self.replica, output, txid=txid)
        return digest(output)


@pytest.fixture
def snapshot() -> dict[str, str]:
    """How often Litestream makes one, and how long it keeps it."""
    return {"interval": "1h", "retention": "24h"}


@pytest.fixture
def place(tmp_path: Path, snapshot: dict[str, str]) -> Iterator[Place]:
    made = Place(tmp_path, snapshot)
    with ended(child := litestream.daemon(made.config, tmp_path / "log")):
        until(made.socket.exists, timeout=20, what="litestream")
        yield made
        child.terminate()


def test_updates_over_the_compactions_of_litestream(place: Place) -> None:
    place.merge()
    first = place.update()
    assert not first.updated and first.bytes_read > ROWS * 3000
    pos = first.pos
    for turn in range(3):
        place.change(turn)
        place.merge()
        assert all(file.min_txid > pos.txid for file in place.level(0)), "nothing ends where the copy is"
        place.change(turn + 20)
        newest = place.sync()
        result = place.update()
        assert result.updated and result.bytes_read <= 0.2 * first.bytes_read
        assert all(file.min_txid > 1 for file in result.files)
        assert result.pos.txid >= newest and place.is_right(result.pos.txid)
        pos = result.pos
    assert any(place.level(2)), "files were merged twice"


@pytest.mark.parametrize("snapshot", [{"interval": "2s", "retention": "4s"}])
def test_updates_while_snapshots_replace_all_other_files(place: Place) -> None:
    """Whether anything that the copy was made from is left depends on how fast this machine is; the result does not."""
    results = []
    for turn in range(12):
        place.change(turn)
        newest = place.sync()
        results.append(place.update())
        assert results[-1].pos.txid >= newest and place.is_right(results[-1].pos.txid)
        time.sleep(0.7)
    assert any(result.updated for result in results)
    until(
        lambda: place.level(1)[0].min_txid > 1, timeout=30, what="files that a snapshot replaces are deleted"
    )
