"""The cache of restores: what it saves, and what it survives. The storage is SeaweedFS behind a proxy that counts."""

import contextlib
import io
import logging
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ltxcore
from ltxcore import TXID, FileClient
from ltxcore.clients.s3 import S3Client
from ltxcore.errors import ConfigError, FormatError

from tests.helpers.proxy import Proxy
from tests.helpers.s3_servers import S3Server
from tests.unit.memory import MemoryClient, ltx_file

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

MIB, BLOCK = 1 << 20, (256 << 10) + 4096
#: Of 512 bytes each, which cannot be compressed.
PAGES = 12_000
COUNT = 12
#: Requests and bytes of a restore of which everything is cached: the ends of its first and of its last file.
ENDS = (2, 2 * 16)


def files() -> dict[tuple[int, int, int], bytes]:
    """A snapshot of 6 MB and transactions after it, one of them larger than a block."""
    chance = random.Random(5)
    pages = {pgno: chance.randbytes(512) for pgno in range(1, PAGES + 1)}
    made = {(9, 1, 1): ltx_file(pages, commit=PAGES, min_txid=1)}
    for txid in range(2, COUNT + 1):
        changed = {chance.randrange(1, PAGES): chance.randbytes(512) for _ in range(900 if txid == 5 else 3)}
        made[0, txid, txid] = ltx_file(dict(sorted(changed.items())), commit=PAGES, min_txid=txid)
    return made


FILES = files()


class Place:
    """A replica in a bucket behind a proxy, the same replica in memory, and a cache."""

    def __init__(self, server: S3Server, proxy: Proxy, folder: Path) -> None:
        self.server, self.proxy, self.folder = server, proxy, folder
        self.bucket = server.make_bucket(f"cache-{time.monotonic_ns()}")
        self.cache = folder / "cache"
        direct = self.client(server.url)
        for (level, low, high), data in FILES.items():
            direct.write_ltx_file(level, TXID(low), TXID(high), io.BytesIO(data))
        self.memory = MemoryClient()
        self.memory.files.update(FILES)
        self.proxy.forget()

    def client(self, endpoint: str | None = None) -> S3Client:
        return S3Client(
            self.bucket,
            "app",
            endpoint=endpoint or self.proxy.url,
            region=self.server.region,
            access_key_id=self.server.access_key,
            secret_access_key=self.server.secret_key,
        )

    def expected(self, txid: int | None = None) -> bytes:
        ltxcore.restore(self.memory, self.folder / "expected.db", txid=txid, overwrite=True)
        return (self.folder / "expected.db").read_bytes()

    def restored(self, txid: int | None = None, **options: object) -> bytes:
        settings = {"cache": self.cache, "overwrite": True} | options
        ltxcore.restore(self.client(), self.folder / "out.db", txid=txid, **settings)  # type: ignore[arg-type]
        return (self.folder / "out.db").read_bytes()

    def reads(self) -> tuple[int, int]:
        """Requests for content, and bytes that came, since the last call."""
        found = [
            record for record in self.proxy.requests() if ".ltx" in record.target and record.method == "GET"
        ]
        self.proxy.forget()
        return len(found), sum(record.received for record in found)

    def held(self) -> int:
        """Bytes on the disk of the cache."""
        held = 0
        for path in self.cache.rglob("*"):
            # Another process may remove it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                held += -(-found.st_size // 4096) * 4096 if stat.S_ISREG(found.st_mode) else 0
        return held


@pytest.fixture
def place(seaweedfs: S3Server, proxied: Callable[..., Proxy], tmp_path: Path) -> Place:
    return Place(seaweedfs, proxied(seaweedfs.url), tmp_path)


def test_what_was_read_once_is_not_asked_for_again(place: Place) -> None:
    assert place.restored() == place.expected()
    count, size = place.reads()
    total = sum(map(len, FILES.values()))
    assert size <= total + 1000, "each block once"
    assert place.restored() == place.expected()
    assert place.reads() == ENDS
    # Other points in time, of files that were read before.
    for txid in (1, 4, COUNT - 1):
        assert place.restored(txid) == place.expected(txid)
    assert place.reads() == (5, 5 * 16), "the first has one file"
    # Without a cache it is about as many requests.
    assert place.restored(cache=None) == place.expected()
    plain, plain_size = place.reads()
    assert count <= plain + 4
    assert size <= plain_size


def test_the_command_and_an_update(place: Place, tmp_path: Path) -> None:
    client = place.client()
    first = ltxcore.restore(client, tmp_path / "copy.db", txid=4, update=True, cache=place.cache)
    assert not first.updated
    ltxcore.restore(client, tmp_path / "copy.db", update=True, cache=place.cache)
    assert (tmp_path / "copy.db").read_bytes() == place.expected()
    place.reads()
    source = f"s3://{place.bucket}/app?endpoint={place.proxy.url}&region={place.server.region}"
    keys = {
        "AWS_ACCESS_KEY_ID": place.server.access_key,
        "AWS_SECRET_ACCESS_KEY": place.server.secret_key,
    }
    argv = [sys.executable, "-m", "ltxcore", "restore", source, "-o", str(tmp_path / "command.db")]
    argv += ["--cache", str(place.cache), "--cache-size", "1GiB"]
    subprocess.run(argv, env=os.environ | keys, check=True, timeout=120, capture_output=True)
    assert (tmp_path / "command.db").read_bytes() == place.expected()
    assert place.reads() == ENDS
    for secret in keys.values():
        for path in place.cache.rglob("*"):
            assert secret.encode() not in os.fsencode(path)
            assert not path.is_file() or secret.encode() not in path.read_bytes()


def test_wrong_blocks_are_read_anew(place: Place) -> None:
    assert place.restored() == place.expected()
    blocks = [path for path in place.cache.rglob("*.*") if path.is_file() and path.parent != place.cache]
    assert len(blocks) > 20
    chance = random.Random(3)
    for path in blocks:
        data = bytearray(path.read_bytes())
        act = chance.randrange(4)
        if act == 0:
            data[chance.randrange(len(data))] ^= 4
        elif act == 1:
            del data[chance.randrange(len(data)) :]
        path.write_bytes(data)
    assert place.restored() == place.expected()
    assert place.restored() == place.expected()
    place.reads()
    assert place.restored() == place.expected()
    assert place.reads() == ENDS


def test_a_cache_of_another_file_costs_another_try(place: Place) -> None:
    """The blocks are sound and of the name that they should be, and not of the file that is there now."""
    assert place.restored() == place.expected()
    # The same size and time: the listing cannot tell them apart.
    chance = random.Random(6)
    pages = {pgno: chance.randbytes(512) for pgno in range(1, PAGES + 1)}
    other = ltx_file(pages, commit=PAGES, min_txid=1)
    assert len(other) == len(FILES[9, 1, 1])
    folder = next(path for path in place.cache.iterdir() if path.is_dir())
    snapshot = sorted(folder.glob("9-1-1-*"))
    assert len(snapshot) > 20
    # Half of the blocks are those of another snapshot.
    fake = Fake(other, place.cache.parent / "fake")
    for path in snapshot[::2]:
        fake.give(path)
    place.reads()
    assert place.restored() == place.expected()
    assert place.reads()[0] > 0
    assert place.restored() == place.expected()
    assert place.reads() == ENDS


class Fake:
    """Makes blocks of another file, with names and checksums as the cache has them."""

    def __init__(self, data: bytes, folder: Path) -> None:
        self.data, self.folder = data, folder

    def give(self, path: Path) -> None:
        number = int(path.name.rpartition(".")[2], 16)
        block = self.data[number << 18 : (number + 1) << 18]
        assert len(block) + 8 == path.stat().st_size
        path.write_bytes(block + crc(path.parent.name.encode() + path.name.encode() + block))


def crc(data: bytes) -> bytes:
    """CRC-64/GO-ISO."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xD800000000000000 if value & 1 else 0)
        table.append(value)
    total = (1 << 64) - 1
    for byte in data:
        total = table[(total ^ byte) & 0xFF] ^ total >> 8
    return (total ^ (1 << 64) - 1).to_bytes(8, "little")


RESTORER = """
import sys, ltxcore
from ltxcore.clients.s3 import S3Client
bucket, endpoint, region, key, secret, cache, size, rounds, output = sys.argv[1:]
client = S3Client(bucket, "app", endpoint=endpoint, region=region, access_key_id=key, secret_access_key=secret)
first = None
for round in range(int(rounds)):
    ltxcore.restore(client, output, overwrite=True, cache=cache, cache_size=int(size))
    with open(output, "rb") as file:
        data = file.read()
    assert first is None or data == first
    first = data
    print("done", flush=True)
"""


def restorer(place: Place, size: int, rounds: int, output: Path) -> "subprocess.Popen[str]":
    server = place.server
    values = [place.bucket, place.proxy.url, server.region, server.access_key, server.secret_key]
    argv = [sys.executable, "-c", RESTORER, *values, str(place.cache), str(size), str(rounds), str(output)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("size", [2 * MIB, 64 * MIB])
def test_several_processes_share_one(place: Place, tmp_path: Path, size: int) -> None:
    most = 0
    with contextlib.ExitStack() as stack:
        # Whatever happens here, none is left to a later test.
        children = [
            stack.enter_context(restorer(place, size, 4, tmp_path / f"{number}.db")) for number in range(4)
        ]
        while any(child.poll() is None for child in children):
            most = max(most, place.held() if place.cache.exists() else 0)
            time.sleep(0.02)
    for number, child in enumerate(children):
        assert child.returncode == 0
        assert (tmp_path / f"{number}.db").read_bytes() == place.expected()
    # What each may have written and not yet added.
    assert most <= size + 4 * (4 * (size // 64) + 2 * BLOCK)
    if size == 64 * MIB:
        place.reads()
        assert place.restored() == place.expected()
        assert place.reads() == ENDS


def test_kills_leave_a_cache_that_can_be_used(place: Place, tmp_path: Path) -> None:
    chance = random.Random(2)
    for _ in range(8):
        child = restorer(place, 4 * MIB, 1000, tmp_path / "killed.db")
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(chance.random() / 4)
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=60)
        assert place.restored(cache_size=4 * MIB) == place.expected()
    # Nothing that was left behind stays for ever.
    for _ in range(3):
        assert place.restored(cache_size=4 * MIB) == place.expected()
    assert place.held() <= 4 * MIB + BLOCK


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here (that takes root): {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_a_warning(place: Place, disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert place.restored(cache=disk / "cache") == place.expected()
    said = [record for record in caplog.records if "cannot be used" in record.getMessage()]
    assert len(said) == 1
    assert "No space left" in caplog.text
    place.reads()
    # What is there is of use all the same.
    assert place.restored(cache=disk / "cache") == place.expected()
    assert 0 < place.reads()[1] < sum(map(len, FILES.values()))


def test_a_directory_that_cannot_be_made_is_a_warning(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert place.restored(cache=tmp_path / "file") == place.expected()
    assert caplog.text.count("cannot be used") == 1
    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_directory_with_other_files_is_a_warning(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photo = tmp_path / "home" / "Photos" / "wedding.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(bytes(2 * MIB))
    assert place.restored(cache=tmp_path / "home", cache_size=MIB) == place.expected()
    assert caplog.text.count("cannot be used") == 1
    assert "not marked as a cache" in caplog.text
    assert [*(tmp_path / "home").rglob("*")] == [photo.parent, photo]


def test_of_what_there_is_no_cache(place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    local = FileClient(tmp_path / "replica")
    for (level, low, high), data in FILES.items():
        local.write_ltx_file(level, TXID(low), TXID(high), io.BytesIO(data))
    ltxcore.restore(local, tmp_path / "a.db", cache=place.cache)
    assert not place.cache.exists()
    ltxcore.restore(place.memory, tmp_path / "b.db", cache=place.cache)
    assert "does not say which replica it has" in caplog.text
    assert not place.cache.exists()
    with pytest.raises(ConfigError, match="the path of the cache is a URL"):
        ltxcore.restore(local, tmp_path / "c.db", cache="s3://bucket")


def test_a_damaged_file_is_an_error_with_a_cache_too(place: Place) -> None:
    data = bytearray(FILES[9, 1, 1])
    data[len(data) // 2] ^= 1
    direct = place.client(place.server.url)
    direct.write_ltx_file(9, TXID(1), TXID(1), io.BytesIO(data))
    for _ in range(2):
        with pytest.raises(FormatError):
            place.restored()
