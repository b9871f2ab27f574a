"""Every kind of request to a bucket, through a network that is broken in every way.

What passes by itself changes nothing. What lasts is a typed error, after few requests and in good time. No file is there in
part, none is lost, and none is another one than was written.
"""

import contextlib
import io
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import ltxcore
from ltxcore import DB, TXID, FileInfo, Replica
from ltxcore.clients import _located
from ltxcore.clients.s3 import S3Client
from ltxcore.errors import Error, LTXFileNotFoundError, ReplicaError
from ltxcore.stores import HTTPOptions

from tests.helpers.proxy import Proxy
from tests.helpers.s3_servers import S3Server
from tests.unit.databases import eventually, insert, restored
from tests.unit.memory import MemoryClient, ltx_file, run_sql

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

#: What a client may take over requests that fail for good, in seconds. The servers and the machine are slow at times.
DEADLINE = 60.0
#: Four attempts of botocore, and four of ours.
MOST_REQUESTS = 16
#: Of 512 bytes each, which cannot be compressed: three parts of an upload.
PAGES = 22_000
SMALL, LARGE = TXID(2), TXID(1)


def files() -> MemoryClient:
    chance, client = random.Random(7), MemoryClient()
    pages = {pgno: chance.randbytes(512) for pgno in range(1, PAGES + 1)}
    client.files[0, 1, 1] = ltx_file(pages, commit=PAGES, min_txid=1)
    client.files[0, 2, 2] = ltx_file({9: b"9" * 512}, commit=PAGES, min_txid=2)
    client.files[9, 1, 2] = ltx_file(pages | {9: b"9" * 512}, commit=PAGES, min_txid=1, max_txid=2)
    return client


FILES = files().files


class Place:
    """One replica in a bucket, through a proxy and past it."""

    def __init__(self, client: S3Client, direct: S3Client, proxy: Proxy, folder: Path) -> None:
        self.client, self.direct, self.proxy, self.folder = client, direct, proxy, folder

    def fill(self, *keys: tuple[int, int, int]) -> None:
        for level, low, high in keys:
            self.direct.write_ltx_file(level, TXID(low), TXID(high), io.BytesIO(FILES[level, low, high]))

    def has(self, key: tuple[int, int, int]) -> bool:
        """Whether a file is there, which is then whole."""
        level, low, high = key
        try:
            data = self.direct.read_ltx_file(level, TXID(low), TXID(high))
        except LTXFileNotFoundError:
            return False
        assert data == FILES[key]
        return True

    def upload(self, key: tuple[int, int, int]) -> None:
        level, low, high = key
        stored = self.client.write_ltx_file(level, TXID(low), TXID(high), io.BytesIO(FILES[key]))
        assert stored.size == len(FILES[key])
        assert self.has(key)


def listing(place: Place) -> None:
    assert [file.max_txid for file in place.client.ltx_files(0)] == [LARGE, SMALL]


def read(place: Place) -> None:
    assert place.client.read_ltx_file(0, SMALL, SMALL, offset=10, size=100) == FILES[0, 2, 2][10:110]


def read_to_the_end(place: Place) -> None:
    with place.client.open_ltx_file(0, LARGE, LARGE, offset=1000) as file:
        assert file.read() == FILES[0, 1, 1][1000:]


def times(place: Place) -> None:
    found = list(place.client.ltx_files(0, use_metadata=True))
    expected = [ltxcore.ltx.Header.parse(FILES[0, n, n][:100]).timestamp for n in (1, 2)]
    assert [file.created_at for file in found] == expected


def restore(place: Place) -> None:
    output, expected = place.folder / "out.db", place.folder / "expected.db"
    ltxcore.restore(place.client, output, overwrite=True)
    if not expected.exists():
        memory = MemoryClient()
        memory.files.update({key: FILES[key] for key in ((0, 1, 1), (0, 2, 2))})
        ltxcore.restore(memory, expected)
    assert output.read_bytes() == expected.read_bytes()


def delete(place: Place) -> None:
    place.client.delete_ltx_files([FileInfo(0, SMALL, SMALL, 0, None)])  # type: ignore[arg-type]
    assert not place.has((0, 2, 2)) and place.has((0, 1, 1))


class Case(NamedTuple):
    """What is done, which requests it is about, and what is in the replica before and, whole or not at all, after it."""

    act: Callable[[Place], None]
    operation: str
    before: tuple[tuple[int, int, int], ...] = ((0, 1, 1), (0, 2, 2))
    after: tuple[tuple[int, int, int], ...] = ()


def writing(key: tuple[int, int, int], operation: str) -> Case:
    before = ((0, 1, 1),) if key == (0, 2, 2) else ()
    return Case(lambda place: place.upload(key), operation, before, (key,))


CASES = {
    "list": Case(listing, "ListObjectsV2"),
    "read": Case(read, "GetObject"),
    "read to the end": Case(read_to_the_end, "GetObject"),
    "times": Case(times, "GetObject"),
    "restore": Case(restore, "GetObject"),
    "create": writing((0, 2, 2), "PutObject"),
    "begin parts": writing((9, 1, 2), "CreateMultipartUpload"),
    "part": writing((9, 1, 2), "UploadPart"),
    "end parts": writing((9, 1, 2), "CompleteMultipartUpload"),
    "create from parts": writing((0, 1, 1), "CompleteMultipartUpload"),
    "delete": Case(delete, "DeleteObjects"),
}

FAULTS: dict[str, dict[str, Any]] = {
    "drop": {"fault": "drop"},
    "lose": {"fault": "lose"},
    "cut": {"fault": "cut"},
    "delay": {"fault": "delay", "seconds": 0.3},
    "hang": {"fault": "hang", "seconds": 30},
    "truncate": {"fault": "truncate"},
    "reset": {"fault": "reset"},
    "stall": {"fault": "stall", "seconds": 30},
    "garbage": {"fault": "garbage"},
    "too long": {"fault": "length", "at": 7},
    "too short": {"fault": "length", "at": -7},
    "500": {"fault": "respond", "status": 500, "code": "InternalError"},
    "503": {"fault": "respond", "status": 503, "code": "SlowDown"},
    "429": {"fault": "respond", "status": 429, "code": "TooManyRequests"},
}
#: Of answers with a body.
OF_BODIES = {"truncate", "reset", "stall", "too long", "too short"}
WITH_BODIES = {
    "ListObjectsV2",
    "GetObject",
    "CreateMultipartUpload",
    "CompleteMultipartUpload",
    "DeleteObjects",
}
#: What lasts, and is no reason to wait for hours.
LASTING = ("drop", "lose", "hang", "garbage", "500", "503", "truncate")


#: SeaweedFS keeps an empty object where the body of an upload was cut, as no other service does; see below.
KEPT = {("create", "cut")}


def pairs(faults: "tuple[str, ...] | dict[str, Any]") -> list[Any]:
    """Each request with each fault; all but one or two of each kind of request are slow tests."""
    found = []
    for number, (name, case) in enumerate(CASES.items()):
        fitting = [
            fault
            for fault in faults
            if (name, fault) not in KEPT and (fault not in OF_BODIES or case.operation in WITH_BODIES)
        ]
        quick = fitting[number % len(fitting)]
        for fault in fitting:
            marks = () if fault == quick else (pytest.mark.slow,)
            found.append(pytest.param(name, fault, marks=marks, id=f"{name}, {fault}"))
    return found


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltxcore.clients.s3._connection._READ_TIMEOUT", 1.5)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.02)
    for module in ("_transfer", "objects"):
        monkeypatch.setattr(f"ltxcore.clients.{module}.PAUSES", (0.02,) * 3)
    options_of = _located._options

    def impatient(url: str, options: HTTPOptions) -> Any:
        *others, _stall = options_of(url, options)
        return (*others, 1.5)

    monkeypatch.setattr(_located, "_options", impatient)


@pytest.fixture
def place(seaweedfs: S3Server, proxied: Callable[..., Proxy], tmp_path: Path) -> Iterator[Place]:
    bucket = seaweedfs.make_bucket(f"faults-{time.monotonic_ns()}")
    proxy = proxied(seaweedfs.url)
    options: Any = {
        "region": seaweedfs.region,
        "access_key_id": seaweedfs.access_key,
        "secret_access_key": seaweedfs.secret_key,
    }
    client = S3Client(bucket, "app", endpoint=proxy.url, **options)
    direct = S3Client(bucket, "app", endpoint=seaweedfs.url, **options)
    yield Place(client, direct, proxy, tmp_path)
    client.close()
    direct.close()


@pytest.mark.parametrize(("name", "fault"), pairs(FAULTS))
def test_what_passes_changes_nothing(place: Place, name: str, fault: str) -> None:
    case = CASES[name]
    place.fill(*case.before)
    place.proxy.fault(**FAULTS[fault], operation=case.operation)
    case.act(place)
    assert place.proxy.traffic().by_operation[case.operation] >= 1


@pytest.mark.parametrize(("name", "fault"), pairs(LASTING))
def test_what_lasts_is_an_error(place: Place, name: str, fault: str) -> None:
    case = CASES[name]
    place.fill(*case.before)
    place.proxy.fault(**FAULTS[fault], operation=case.operation, times=None)
    began = time.monotonic()
    # A file that arrived may be found there, although no answer did.
    may_work = contextlib.suppress(Error) if fault in {"lose", "truncate"} and case.after else None
    with may_work or pytest.raises(ReplicaError):
        case.act(place)
    assert time.monotonic() - began < DEADLINE
    asked = place.proxy.traffic().by_operation[case.operation]
    # Several files, or parts of them, are under way at once.
    assert 1 <= asked <= MOST_REQUESTS * 4
    place.proxy.calm()
    for key in (*case.before, *case.after):
        place.has(key)
    if name != "delete":
        assert all(place.has(key) for key in case.before)
    case.act(place)


def test_what_a_cut_upload_has_left_is_replaced(place: Place, tmp_path: Path) -> None:
    """The service has an empty object for a file, which is not that of another writer."""
    database = tmp_path / "app.db"
    run_sql(database, "PRAGMA journal_mode = wal", "CREATE TABLE t (x)")
    replica = Replica(place.client, sync_interval=0.05)
    with DB(database, replica=replica, monitor_interval=0.05) as db:
        for value in range(5):
            place.proxy.fault("cut", operation="PutObject")
            insert(database, value)
            db.wait(timeout=60)
        eventually(lambda: db.status().last_error is None, timeout=60)
    assert restored(place.direct, tmp_path) == list(range(5))
