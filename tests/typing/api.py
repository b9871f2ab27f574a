"""Every documented example, for the type checkers. Nothing here is run."""

import io
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
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
    RestorePlan,
    RestorePoint,
    RestoreResult,
    ScanProgress,
    Source,
    SyncStatus,
    config,
    ltx,
)
from ltxcore.blob_store import (
    AsyncBlobStore,
    BlobPath,
    BlobStat,
    BlobStore,
    BlobWriter,
    EffectiveOptions,
    Evicted,
    Imported,
    Options,
    Report,
    Stats,
    TagValue,
    Usage,
)
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import ObjectNotFoundError
from ltxcore.stores import Capabilities, ObjectInfo, ObjectStore, SignedURL
from ltxcore.testing import ObjectStoreContract
from ltxcore.vfs import probe


class OwnStore(ObjectStore):
    type = "own"
    capabilities = Capabilities(creates_if_absent=True)

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        yield ObjectInfo(prefix + start, 0, datetime.now(UTC))

    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        raise ObjectNotFoundError(f"no such object: {key}", transient=False)

    def write(
        self, key: str, data: BinaryIO, *, if_absent: bool = False, time: datetime | None = None
    ) -> ObjectInfo:
        return ObjectInfo(key, len(data.read()), time or datetime.now(UTC))

    def delete(self, keys: Iterable[str]) -> dict[str, Exception]:
        return {}


class TestOwnStore(ObjectStoreContract):
    def make(self, tmp_path: Path) -> ObjectStore:
        return OwnStore()


def bring_your_own_storage() -> None:
    with OwnStore() as store:
        assert_type(store, OwnStore)
        assert_type(store.read_many([("a", 0, 10)]), Sequence[bytes])
        assert_type(store.open("a"), BinaryIO)
        assert_type(store.locate("a"), Path | SignedURL | None)
        client = ObjectReplicaClient(store, prefix="backups/app")
        DB("app.db", replica=client)
        ltxcore.restore(client, "restored.db")


def replicate_in_process() -> None:
    with DB("app.db", replica="file:///var/backups/app") as db:
        assert_type(db.wait(), Pos)
        assert_type(db.wait(TXID(3), timeout=5), Pos)
        assert_type(db.sync(), Pos)
        assert_type(db.checkpoint("TRUNCATE"), CheckpointResult)
        assert_type(db.snapshot(), FileInfo)
        assert_type(db.compact(1), FileInfo | None)
        assert_type(db.status(), SyncStatus)
        assert_type(db.status().scan, ScanProgress | None)
        assert_type(db.status().has_ended, bool)
        assert_type(db.path, Path)
        assert_type(db.page_size, int)
    assert_type(ltxcore.replicate(Path("app.db"), "file:///b", monitor_interval=timedelta(seconds=1)), DB)


async def wait_in_a_coroutine(db: DB) -> None:
    assert_type(await db.wait_async(), Pos)
    assert_type(await db.snapshot_async(), FileInfo)
    assert_type(await db.compact_async(1), FileInfo | None)
    assert_type(await Replica("backup").compact_async(1), FileInfo | None)
    assert_type(await ltxcore.restore_async("file:///b", "restored.db", overwrite=True), RestoreResult)
    copy = await ltxcore.follow_async("file:///b", "copy.db", interval=timedelta(seconds=5))
    assert_type(copy, FollowedDatabase)
    assert_type(await copy.wait_async(timeout=5), Pos)
    await ltxcore.restore_async("file:///b", 5)  # type: ignore[arg-type]  # as of restore itself


def destinations(client: ReplicaClient) -> None:
    replica = Replica(client, sync_interval=timedelta(seconds=2))
    assert_type(replica.newest_txid(), TXID)
    assert_type(replica.time_bounds(), tuple[datetime, datetime])
    for file in replica.files(0):
        assert_type(file, FileInfo)
    DB("app.db", replica=replica)
    DB("app.db", replica=Path("/var/backups/app"))
    for source in (client, "file:///var/backups/app", "backups/app", Path("/var/backups/app")):
        named: Source = source
        Replica(named)
    assert_type(ltxcore.client_from_url("file:///var/backups/app"), ReplicaClient)


def restore_to_a_point_in_time() -> None:
    when = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    done = ltxcore.restore("file:///b", "restored.db", timestamp=when, integrity_check="quick")
    print(done.pos, done.page_count, len(done.files))
    ltxcore.restore(Path("/b"), "restored.db", txid="0000000000000001", overwrite=True)
    ltxcore.restore("file:///b", "restored.db", progress=lambda at: print(at.done, at.total))
    assert_type(ltxcore.restore_points("file:///b"), list[RestorePoint])
    plan = ltxcore.restore_plan("file:///b", timestamp="2026-03-01T12:00:00Z")
    assert_type(plan, RestorePlan)
    print(plan.txid, plan.size, plan.clamped, [file.name for file in plan.files])


def keep_up_with_a_replica() -> None:
    with ltxcore.follow("file:///b", "copy.db", interval=timedelta(seconds=5)) as copy:
        assert_type(copy, FollowedDatabase)
        assert_type(copy.wait(timeout=10), Pos)
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
    assert_type(vfs.connect("app.db", parameters={"mode": "ro", "psow": 0}), sqlite3.Connection)
    assert_type(sqlite3.connect(vfs.uri("other.db", lock="flock"), uri=True), sqlite3.Connection)
    assert_type(ltxcore.sqlite_library().known_bugs, tuple[str, ...])
    assert_type(probe("/srv").lock_modes, tuple[str, ...])
    with ReaderVFS(archive) as reader:
        assert_type(reader.connect(), sqlite3.Connection)
        assert_type(reader.take_error(), BaseException | None)


def note_eviction(blob: Evicted) -> None:
    print(blob.name, blob.size)


def a_cache() -> None:
    with BlobStore("cache.db", capacity=512 << 20, on_evict=note_eviction) as store:
        assert_type(store, BlobStore)
        assert_type(store, ltxcore.BlobStore)
        assert_type(store.get("page/42"), bytes | None)
        assert_type(store.get("page/42", 0), bytes | int)
        assert_type(store["page/42"], bytes)
        store["page/42"] = bytearray(b"...")
        assert_type(store.put_nowait("page/42.time", b"7"), Future[None])
        store.put("logo.png", memoryview(b"..."), tags={"type": "image/png", "width": 64, "draft": None})
        assert_type(store.tags("logo.png"), dict[str, TagValue])
        assert_type(store.stat("logo.png"), BlobStat)
        assert_type(store.usage(), Usage)
        assert_type(store.stats(), Stats)
        assert_type(store.capacity, int | None)
        store.capacity = None
        with store.batch() as batch:
            batch.put("index", b"...")
            batch.rename("incoming/7", "page/7", overwrite=True)
            batch.delete("page/6", missing_ok=True)
        names: list[str] = [*store, *store.list("page/", after="page/1", limit=10), *store.iterdir("page")]
        print(names, len(store), "index" in store)


def chunks_and_streams(store: BlobStore, request_body: BinaryIO) -> None:
    store.put("incoming/video/0", b"...")
    with store.open_chunks("incoming/video/") as file:
        assert_type(file, io.BufferedReader)
    assert_type(store.compose("video.mp4", "incoming/video/", size=8 << 20), int)
    with store.open("backup.tar", "wb") as writer:
        assert_type(writer, BlobWriter)
        assert_type(writer.write(b"..."), int)
    store.put_file("disk.img", Path("disk.img"))
    store.put_sized("upload", request_body, size=1_000_000)
    with store.open("backup.tar") as reader:
        assert_type(reader, io.BufferedReader)
        assert_type(reader.seek(-512, 2), int)
    assert_type(store.read_range("disk.img", 4096, 512), bytes)
    assert_type(store.readinto("disk.img", bytearray(512), 4096), int)
    assert_type(store.blob("a") / "b", BlobPath)
    assert_type((store.blob("a") / "b").read_bytes(), bytes)


def look_after_a_store(path: Path) -> None:
    options = Options(durability="durable", policy="lfu", readers=8, touch="exact")
    with BlobStore(path, options=options, create=False) as store:
        assert_type(store.effective_options, EffectiveOptions)
        assert_type(store.check(repair=True), Report)
        assert_type(store.vacuum(100), int)
        assert_type(store.delete_prefix("incoming/"), int)
        assert_type(store.import_original("original.db"), Imported)
    assert_type(BlobStore.memory(capacity=1 << 20, shared_name="tests"), BlobStore)


async def a_cache_for_coroutines() -> None:
    async with AsyncBlobStore("cache.db", capacity=512 << 20) as store:
        await store.put("page/42", b"...")
        assert_type(await store.get("page/42"), bytes | None)
        assert_type(await store.read("page/42"), bytes)
        async for name in store.list("page/"):
            print(name, (await store.stat(name)).size)


def mistakes_with_blobs(store: BlobStore) -> None:
    store["name"] = "text"  # type: ignore[assignment]  # a blob is bytes
    store.open("name", "r")  # type: ignore[call-overload]  # bytes only
    Options(durability="always")  # type: ignore[arg-type]  # cache, normal or durable
    BlobStore("cache.db", capacity="512MiB")  # type: ignore[arg-type]  # a number of bytes
    ltxcore.BlobStor("cache.db")  # type: ignore[attr-defined]  # only what there is
