"""What a replica in an object store does beyond the contract: keys, headers, claims, errors that are asked for once more."""

import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import pytest

from ltxcore import TXID, Replica, ReplicaClient
from ltxcore.clients import as_client
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import (
    ConfigError,
    FormatError,
    LTXFileExistsError,
    LTXFileNotFoundError,
    ObjectNotFoundError,
    ReplicaError,
    TruncatedError,
)
from ltxcore.stores import Capabilities, ObjectInfo, ObjectStore

from tests.helpers.stores import DirectoryStore, MemoryStore
from tests.unit.memory import EPOCH, ltx_file, page

ONE = TXID(1)
FIRST = ltx_file({1: page(1)}, commit=1, min_txid=1)
OTHER = ltx_file({1: page(2)}, commit=1, min_txid=1)
KEY = "ltx/0/0000000000000001-0000000000000001.ltx"
NO_TIMES = Capabilities(creates_if_absent=True)
NO_CREATION = Capabilities(keeps_time=True)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made."""
    made: list[float] = []
    monkeypatch.setattr("ltxcore.clients._transfer.time.sleep", made.append)
    return made


def put(client: ReplicaClient, data: bytes = FIRST, level: int = 0) -> Any:
    return client.write_ltx_file(level, ONE, ONE, io.BytesIO(data))


def test_the_layout_is_that_of_litestream(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for prefix in ("", "backups/app", "backups/b/"):
        put(ObjectReplicaClient(store, prefix))
    assert [info.key for info in store.list("")] == [f"backups/app/{KEY}", f"backups/b/{KEY}", KEY]
    assert [*as_client(tmp_path).ltx_files(0)] == [*as_client(store).ltx_files(0)]


@pytest.mark.parametrize(
    "prefix",
    ["/", "/a", "a//b", "./a", "a/..", "..", "a/\n", "a/\ud800", "a" * 256, "\u00e9" * 128, "a/" * 500],
)
def test_a_prefix_that_no_key_can_have_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="not a prefix of a replica") as caught:
        ObjectReplicaClient(MemoryStore(), prefix)
    assert caught.value.key == "prefix"


def test_the_longest_prefix_leaves_room_for_the_names_of_files() -> None:
    store = MemoryStore()
    longest = ("a" * 200 + "/") * 4 + "a" * 176 + "/"
    put(ObjectReplicaClient(store, longest))
    assert [len(info.key) for info in store.list("")] == [1024]
    with pytest.raises(ConfigError, match="not a prefix"):
        ObjectReplicaClient(store, "b" + longest)


def test_a_store_is_taken_where_a_client_is() -> None:
    store = MemoryStore()
    client = as_client(store)
    assert isinstance(client, ObjectReplicaClient)
    assert (client.store, client.prefix, client.type) == (store, "", "memory")
    assert client.capabilities is store.capabilities
    assert isinstance(Replica(store).client, ObjectReplicaClient)


def test_all_that_is_deleted_is_below_the_prefix() -> None:
    store = MemoryStore()
    for prefix in ("a", "a/b", "", "ab"):
        put(ObjectReplicaClient(store, prefix))
    for key in ("a/other", "a/ltx", "a/ltx2/x", "a/ltx/0/foreign"):
        store.write(key, io.BytesIO(b"?"))
    ObjectReplicaClient(store, "a").delete_all()
    assert sorted(store.objects) == ["a/b/" + KEY, "a/ltx", "a/ltx2/x", "a/other", "ab/" + KEY, KEY]


def test_more_objects_are_deleted_than_fit_into_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltxcore.clients.objects._DELETIONS", 3)
    store, client = MemoryStore(), as_client(MemoryStore())
    client = ObjectReplicaClient(store)
    files = [
        client.write_ltx_file(0, TXID(n), TXID(n), io.BytesIO(ltx_file({1: page(1)}, commit=1, min_txid=n)))
        for n in range(1, 9)
    ]
    client.delete_ltx_files(files[:4])
    assert [file.min_txid for file in client.ltx_files(0)] == [5, 6, 7, 8]
    client.delete_all()
    assert not store.objects


@pytest.mark.parametrize("capabilities", [Capabilities(), NO_TIMES, NO_CREATION])
@pytest.mark.parametrize("level", [0, 1, 8])
def test_below_snapshots_no_file_is_replaced(capabilities: Capabilities, level: int) -> None:
    client = ObjectReplicaClient(MemoryStore(capabilities))
    first = put(client, level=level)
    assert put(client, level=level) == first
    longer = ltx_file({1: page(1), 2: page(2)}, commit=2, min_txid=1)
    for other in (OTHER, longer):
        with pytest.raises(LTXFileExistsError, match="another writer stored a different file") as caught:
            put(client, other, level)
        error = caught.value
        assert (error.client_type, error.level, error.min_txid, error.max_txid) == ("memory", level, 1, 1)
        assert error.hint is not None
    assert client.read_ltx_file(level, ONE, ONE) == FIRST


def test_the_name_must_be_the_headers() -> None:
    store = MemoryStore()
    client = ObjectReplicaClient(store)
    with pytest.raises(FormatError, match="holds transactions 0000000000000001-0000000000000001") as caught:
        client.write_ltx_file(0, ONE, TXID(2), io.BytesIO(FIRST))
    assert (caught.value.level, caught.value.max_txid) == (0, 2)
    for cut in (0, 99):
        with pytest.raises(TruncatedError, match="damaged file: level 0, transactions") as short:
            put(client, FIRST[:cut])
        assert (short.value.level, short.value.min_txid) == (0, 1)
    with pytest.raises(FormatError):
        put(client, b"?" * 200)
    assert not store.objects


def test_the_time_in_the_header_is_the_time_of_the_object() -> None:
    store = MemoryStore()
    assert (
        put(ObjectReplicaClient(store)).created_at
        == store.objects[KEY][1]
        == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
    )


def test_headers_are_read_only_where_the_store_keeps_no_times() -> None:
    """With `use_metadata` a restore to a time asks every file, one request each, where the listing has the time already."""

    class Counting(MemoryStore):
        reads = 0

        def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
            self.reads += 1
            assert size == 100
            return super().read(key, offset=offset, size=size)

    for capabilities, reads in ((NO_CREATION, 0), (NO_TIMES, 1)):
        store = Counting(capabilities)
        client = ObjectReplicaClient(store)
        put(client)
        assert [file.created_at for file in client.ltx_files(0, use_metadata=True)] == [
            EPOCH.replace(second=1)
        ]
        assert store.reads == reads
        assert [file.size for file in client.ltx_files(0)] == [len(FIRST)]
        assert store.reads == reads


def test_files_that_go_while_their_times_are_read_are_left_out() -> None:
    store = MemoryStore(NO_TIMES)
    client = ObjectReplicaClient(store)
    put(client)
    second, third = KEY.replace("1", "2"), KEY.replace("1", "3")
    store.write(second, io.BytesIO(b"no header"))
    store.write(third, io.BytesIO(b"goes away"))
    listed = store.list("")
    store.list = lambda prefix, start="": listed  # type: ignore[method-assign, assignment]  # a listing from before
    del store.objects[third]
    times = {file.min_txid: file.created_at for file in client.ltx_files(0, use_metadata=True)}
    assert times == {1: EPOCH.replace(second=1), 2: store.objects[second][1]}


class Pipe(io.RawIOBase):
    """Yields its bytes once, a few at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._data.read(min(len(buffer), 70))
        buffer[: len(block)] = block
        return len(block)


class OnlyRead:
    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read


@pytest.mark.parametrize("wrap", [Pipe, OnlyRead, io.BytesIO])
def test_data_of_any_kind_is_stored(wrap: Any) -> None:
    client = ObjectReplicaClient(MemoryStore())
    for _ in range(2):
        client.write_ltx_file(0, ONE, ONE, wrap(FIRST))
    with pytest.raises(LTXFileExistsError):
        client.write_ltx_file(0, ONE, ONE, wrap(OTHER))
    assert client.read_ltx_file(0, ONE, ONE) == FIRST


def test_a_store_that_stores_less_is_noticed() -> None:
    class Cutting(MemoryStore):
        def write(self, key: str, data: BinaryIO, **options: Any) -> ObjectInfo:
            return super().write(key, io.BytesIO(data.read()[:-1]), **options)

    with pytest.raises(ReplicaError, match=f"the store has {len(FIRST) - 1} of {len(FIRST)} bytes"):
        put(ObjectReplicaClient(Cutting()))


class Failing(MemoryStore):
    """Fails so many times with an error of its own."""

    def __init__(self, times: int, error: Exception, capabilities: Capabilities = NO_TIMES) -> None:
        super().__init__(capabilities)
        self.times, self.error, self.asked = 0, error, 0
        self.objects[KEY] = (FIRST, EPOCH)
        self.times = times

    def fail(self) -> None:
        self.asked += 1
        if self.asked <= self.times:
            raise self.error

    def list(self, prefix: str, *, start: str = "") -> Any:
        self.fail()
        return super().list(prefix, start=start)

    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        self.fail()
        return super().read(key, offset=offset, size=size)

    def write(self, key: str, data: BinaryIO, **options: Any) -> ObjectInfo:
        self.fail()
        return super().write(key, data, **options)

    def delete(self, keys: Iterable[str]) -> dict[str, Exception]:
        self.fail()
        return super().delete(keys)

    def init(self) -> None:
        self.fail()

    def change_token(self) -> object:
        self.fail()
        return 1


REQUESTS = {
    "list": lambda client: [*client.ltx_files(0)],
    "times": lambda client: [*client.ltx_files(0, use_metadata=True)],
    "read": lambda client: client.read_ltx_file(0, ONE, ONE),
    "open": lambda client: client.open_ltx_file(0, ONE, ONE).read(),
    "write": lambda client: put(client, level=1),
    "delete": lambda client: client.delete_ltx_files([*ObjectReplicaClient(client.store.twin).ltx_files(0)]),
    "delete_all": lambda client: client.delete_all(),
    "init": lambda client: client.init(),
    "change_token": lambda client: client.change_token(),
}


class OwnError(Exception):
    """Of a library that knows nothing of ltxcore, but for one attribute."""

    def __init__(self, transient: object) -> None:
        super().__init__("no luck")
        self.transient = transient


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("error", [ReplicaError("no luck", transient=True), OwnError(True)])
def test_what_fails_for_the_moment_is_asked_for_again(
    name: str, error: Exception, pauses: list[float]
) -> None:
    for times in (1, 3):
        store = Failing(times, error)
        store.twin = Failing(0, error)  # type: ignore[attr-defined]
        pauses.clear()
        REQUESTS[name](ObjectReplicaClient(store))
        assert pauses == [0.25, 0.5, 1.0][:times]
    store = Failing(100, error)
    store.twin = Failing(0, error)  # type: ignore[attr-defined]
    with pytest.raises(type(error), match="no luck"):
        REQUESTS[name](ObjectReplicaClient(store))
    assert store.asked == 4


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("transient", [False, None, 1, "yes"])
def test_what_does_not_say_so_is_asked_for_once(name: str, transient: object, pauses: list[float]) -> None:
    store = Failing(100, OwnError(transient))
    store.twin = Failing(0, OwnError(None))  # type: ignore[attr-defined]
    with pytest.raises(OwnError):
        REQUESTS[name](ObjectReplicaClient(store))
    assert (store.asked, pauses) == (1, [])


def test_a_file_that_goes_while_it_is_read_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltxcore.stores.BLOCK_SIZE", 100)
    store = MemoryStore()
    client = ObjectReplicaClient(store)
    put(client)
    with client.open_ltx_file(0, ONE, ONE) as file:
        store.objects.clear()
        with pytest.raises(LTXFileNotFoundError) as caught:
            file.read()
    assert isinstance(caught.value.__cause__, ObjectNotFoundError)
    assert (caught.value.client_type, caught.value.level) == ("memory", 0)


def test_a_reader_that_breaks_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is reset in the middle of a snapshot did cost the whole of it."""
    monkeypatch.setattr("ltxcore.stores.BLOCK_SIZE", 7)

    class Breaking(MemoryStore):
        asked = 0

        def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
            self.asked += 1
            if self.asked % 3 == 0:
                raise ReplicaError("reset", transient=True)
            return super().read(key, offset=offset, size=size)

    client = ObjectReplicaClient(Breaking())
    put(client)
    for offset, size in ((0, None), (3, None), (3, 50), (0, 7)):
        with client.open_ltx_file(0, ONE, ONE, offset=offset, size=size) as file:
            assert file.read() == FIRST[offset:][:size]


def test_what_cannot_be_deleted_is_raised() -> None:
    class Refusing(MemoryStore):
        def delete(self, keys: Iterable[str]) -> dict[str, Exception]:
            asked.append(sorted(keys))
            failed: dict[str, Exception] = {KEY: PermissionError("no")} if len(asked) == 2 else {}
            return failed | {"other": ReplicaError("busy", transient=True)}

    asked: list[list[str]] = []
    client = ObjectReplicaClient(Refusing())
    with pytest.raises(PermissionError):
        client.delete_ltx_files([put(client)])
    assert asked == [[KEY], ["other"]]


def test_half_a_store_cannot_be_made() -> None:
    class Half(ObjectStore):
        def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
            return b""

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]  # the point of the test


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_all_levels_are_one_listing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(MemoryStore):
        type = kind
        listed: ClassVar[list[str]] = []

        def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
            self.listed.append(prefix)
            return super().list(prefix, start=start)

    store = Counting()
    client = ObjectReplicaClient(store, "app")
    for level, low, high in [(9, 1, 3), (0, 4, 4), (1, 1, 4), (0, 3, 3)]:
        data = io.BytesIO(ltx_file({1: page(1)}, commit=1, min_txid=low, max_txid=high))
        client.write_ltx_file(level, TXID(low), TXID(high), data)
    for foreign in ["app/ltx/10/x.ltx", "app/000a/x.ltx", "app/ltx/0/x", "app/0000/deep/x.ltx", "app/ltx"]:
        store.objects[foreign] = b"", EPOCH
    store.listed.clear()
    found = [(file.level, file.min_txid, file.max_txid) for file in client.all_ltx_files()]
    assert len(store.listed) == 1
    assert found == [(0, 3, 3), (0, 4, 4), (1, 1, 4), (9, 1, 3)]
    assert found == [
        (f.level, f.min_txid, f.max_txid) for f in super(ObjectReplicaClient, client).all_ltx_files()
    ]
