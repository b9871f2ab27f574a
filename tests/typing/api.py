"""Every documented example, for the type checkers. Nothing here is run."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, assert_type

import ltxcore
from ltxcore import (
    DB,
    OSVFS,
    TXID,
    CheckpointResult,
    FileInfo,
    FollowedDatabase,
    Pos,
    ReaderVFS,
    Replica,
    ReplicaClient,
    RestorePoint,
    RestoreResult,
    SyncStatus,
    config,
    ltx,
)
from ltxcore.vfs import probe


def replicate_in_process() -> None:
    with DB("app.db", replica="file:///var/backups/app") as db:
        assert_type(db.wait(), Pos)
        assert_type(db.wait(TXID(3), timeout=5), Pos)
        assert_type(db.sync(), Pos)
        assert_type(db.checkpoint("TRUNCATE"), CheckpointResult)
        assert_type(db.snapshot(), FileInfo)
        assert_type(db.compact(1), FileInfo | None)
        assert_type(db.status(), SyncStatus)
        assert_type(db.path, Path)
        assert_type(db.page_size, int)
    assert_type(ltxcore.replicate(Path("app.db"), "file:///b", monitor_interval=timedelta(seconds=1)), DB)


async def wait_in_a_coroutine(db: DB) -> None:
    assert_type(await db.wait_async(), Pos)


def destinations(client: ReplicaClient) -> None:
    replica = Replica(client, sync_interval=timedelta(seconds=2))
    assert_type(replica.pos, Pos)
    assert_type(replica.time_bounds(), tuple[datetime, datetime])
    for file in replica.files(0):
        assert_type(file, FileInfo)
    DB("app.db", replica=replica)
    DB("app.db", replica=Path("/var/backups/app"))
    assert_type(ltxcore.client_from_url("file:///var/backups/app"), ReplicaClient)


def restore_to_a_point_in_time() -> None:
    when = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    done = ltxcore.restore("file:///b", "restored.db", timestamp=when, integrity_check="quick")
    print(done.pos, done.page_count, len(done.files))
    ltxcore.restore(Path("/b"), "restored.db", txid="0000000000000001", overwrite=True)
    ltxcore.restore("file:///b", "restored.db", progress=lambda at: print(at.done, at.total))
    assert_type(ltxcore.restore_points("file:///b"), list[RestorePoint])


def keep_up_with_a_replica() -> None:
    with ltxcore.follow("file:///b", "copy.db", interval=timedelta(seconds=5)) as copy:
        assert_type(copy, FollowedDatabase)
        assert_type(copy.wait(timeout=10), TXID)
        assert_type(copy.txid, TXID)
        assert_type(copy.error, BaseException | None)
        assert_type(copy.restored, RestoreResult | None)


def read_a_configuration(path: Path) -> None:
    settings = config.load(path, expand_env=False)
    assert_type(settings.client(settings.find("app.db")), ReplicaClient)


def look_inside_a_file() -> None:
    with ltx.open("0000000000000001-0000000000000009.ltx") as file:
        print(file.header.page_size, file.header.commit, file.header.is_snapshot)
        for pgno, page in file:
            print(pgno, page[:16].hex())
        print(file.finish().post_apply_checksum)
    assert_type(ltx.read_page_index("x.ltx").get(1), ltx.PageIndexElem | None)
    assert_type(ltx.parse_filename("x"), tuple[TXID, TXID])
    with open("merged.ltx", "wb") as out:
        assert_type(ltx.compact(["a.ltx", Path("b.ltx")], out), tuple[ltx.Header, ltx.Trailer])


def mistakes(db: DB) -> None:
    db.checkpoint("SOMETIMES")  # type: ignore[arg-type]  # only SQLite's modes
    ltxcore.restore("file:///b", "o.db", integrity_check="some")  # type: ignore[arg-type]  # none, quick, full
    ltxcore.restore("file:///b", "o.db", timestamp=5)  # type: ignore[arg-type]  # a time, not a number


def files_for_sqlite(archive: BinaryIO) -> None:
    vfs = OSVFS().register()
    assert_type(vfs.connect("app.db"), sqlite3.Connection)
    assert_type(vfs.connect("new.db", checksums=True, timeout=5.0), sqlite3.Connection)
    assert_type(sqlite3.connect(vfs.uri("other.db", lock="flock"), uri=True), sqlite3.Connection)
    assert_type(ltxcore.sqlite_library().known_bugs, tuple[str, ...])
    assert_type(probe("/srv").lock_modes, tuple[str, ...])
    with ReaderVFS(archive) as reader:
        assert_type(reader.connect(), sqlite3.Connection)
        assert_type(reader.take_error(), BaseException | None)
