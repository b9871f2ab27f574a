"""Real Litestream and we, on the same bucket: each restores what the other uploaded, and goes on where the other stopped."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import ltxcore
from ltxcore import config
from ltxcore.clients.s3 import S3Client

from tests.helpers import litestream
from tests.helpers.app import digest, reference_digest
from tests.helpers.process import ended, until
from tests.helpers.s3_servers import S3Server

pytestmark = [pytest.mark.interop, pytest.mark.process, pytest.mark.timeout(180)]

#: More than a part of a multipart upload, in rows of a kilobyte that cannot be compressed.
MANY = 6_000


class Place:
    """One database and one place in a bucket, as a configuration file that both programs read."""

    def __init__(self, server: S3Server, folder: Path) -> None:
        self.folder = folder
        self.db = folder / "app.db"
        self.bucket = server.make_bucket(f"interop-{os.getpid()}-{time.monotonic_ns()}")
        self.config = folder / "litestream.yml"
        self.socket = folder / "socket"
        replica = {
            "type": "s3",
            "bucket": self.bucket,
            "path": "backups/app",
            "endpoint": server.url,
            "region": server.region,
            "access-key-id": server.access_key,
            "secret-access-key": server.secret_key,
            "sync-interval": "100ms",
        }
        self.config.write_text(
            json.dumps(
                {
                    "socket": {"enabled": True, "path": str(self.socket)},
                    "levels": [{"interval": "1h"}],
                    "dbs": [{"path": str(self.db), "monitor-interval": "100ms", "replica": replica}],
                }
            )
        )
        with closing(sqlite3.connect(self.db)) as connection:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("CREATE TABLE t (x)")
        self.write(MANY)

    def write(self, rows: int) -> None:
        with closing(sqlite3.connect(self.db)) as connection, connection:
            connection.executemany("INSERT INTO t VALUES (randomblob(1000))", [()] * rows)

    @property
    def client(self) -> S3Client:
        found = config.load(self.config)
        client = found.client(found.find(self.db))
        assert isinstance(client, S3Client)
        return client

    def restored(self, **target: Any) -> str:
        """The digest of what we restore."""
        output = self.folder / "ours.db"
        ltxcore.restore(self.client, output, overwrite=True, **target)
        return digest(output)

    def restored_by_litestream(self, *target: str) -> str:
        output = self.folder / "theirs.db"
        for path in self.folder.glob("theirs.db*"):
            path.unlink()
        litestream.call("restore", "-config", str(self.config), "-o", str(output), *target, str(self.db))
        return digest(output)

    def states(self, sync: Any) -> dict[int, str]:
        """What several synced TXIDs hold; a file of several parts is among them."""
        found = {}
        for rows in (3, 1, MANY, 2):
            self.write(rows)
            found[sync()] = self.state()
            time.sleep(0.02)  # no two of them of one millisecond
        return found

    def state(self) -> str:
        """The digest of the database as it is."""
        return reference_digest(self.db, self.folder / "scratch")

    def time_after(self, txid: int) -> str:
        """The first moment, to the millisecond, from which on a restore has this transaction."""
        files = [file for file in self.client.ltx_files(0, use_metadata=True) if file.max_txid == txid]
        when = files[0].created_at + timedelta(milliseconds=1)
        return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.fixture
def place(seaweedfs: S3Server, tmp_path: Path) -> Place:
    return Place(seaweedfs, tmp_path)


@contextmanager
def running_litestream(place: Place) -> Iterator[Any]:
    """Litestream replicates; yields what syncs, and returns the TXID."""
    with ended(child := litestream.daemon(place.config, place.folder / "log")):
        until(place.socket.exists, timeout=20, what="litestream")
        yield lambda: litestream.sync(place.socket, place.db, 30)
        child.terminate()


def test_we_restore_what_litestream_uploaded(place: Place) -> None:
    with running_litestream(place) as sync:
        states = place.states(sync)
    for txid in states:
        # It writes to the database itself, after a sync: what it restores is the measure.
        state = place.restored_by_litestream("-txid", f"{txid:016x}")
        assert place.restored(txid=txid) == state
        assert place.restored(timestamp=place.time_after(txid)) == state
    assert max(file.size for file in place.client.ltx_files(0)) > MANY * 1000, "it was uploaded in parts"


def test_litestream_restores_what_we_uploaded(place: Place) -> None:
    with ltxcore.DB(place.db, replica=place.client) as db:
        states = place.states(lambda: int(db.wait(timeout=30).txid))
        db.snapshot()
        requests = db.replica.client.store.requests if isinstance(db.replica.client, S3Client) else {}
    assert requests["UploadPart"] >= 2
    for txid, state in states.items():
        assert place.restored_by_litestream("-txid", f"{txid:016x}") == state
        assert place.restored_by_litestream("-timestamp", place.time_after(txid)) == state


def test_each_goes_on_where_the_other_stopped(place: Place) -> None:
    with running_litestream(place) as sync:
        place.write(5)
        sync()
    with ltxcore.DB(place.db, replica=place.client) as db:
        place.write(5)
        db.wait(timeout=30)
    assert place.restored_by_litestream() == place.state()
    with running_litestream(place) as sync:
        place.write(5)
        sync()
    assert place.restored() == place.state()
