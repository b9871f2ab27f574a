"""Restores from a bucket that are killed, cut off or interrupted, and those that continue them."""

import contextlib
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB
from ltxcore.clients.s3 import S3Client
from ltxcore.errors import DiskFullError, IntegrityCheckError, ReplicaError

from tests.helpers.process import environment
from tests.helpers.proxy import Proxy
from tests.helpers.s3_servers import S3Server
from tests.helpers.strace import needs_strace

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

MB = 1_000_000
#: Of blobs that cannot be compressed.
SIZE = 80 * MB
#: Bytes a second: slow enough that a restore has a few checkpoints.
RATE = 14 * MB
#: What one kill may cost: reads on their way, and what was read since the last checkpoint on a machine that is busy.
PER_KILL = 40 * MB


class Site:
    """A replica in a bucket, with an output of its own for each test."""

    def __init__(self, server: S3Server, bucket: str, folder: Path) -> None:
        self.server, self.bucket = server, bucket
        self.good = folder / "good.db"
        source = folder / "source.db"
        with closing(sqlite3.connect(source)) as db:
            db.execute("PRAGMA journal_mode = wal")
            db.execute("CREATE TABLE blob (id INTEGER PRIMARY KEY, data BLOB)")
            with DB(source, replica=self.client(server.url)) as replicated:
                for start in range(0, SIZE // MB, 40):
                    rows = ((start + n, os.urandom(MB)) for n in range(min(40, SIZE // MB - start)))
                    db.executemany("INSERT INTO blob VALUES (?, ?)", rows)
                    db.commit()
                for n in range(5):
                    db.execute("UPDATE blob SET data = ? WHERE id = ?", (os.urandom(MB), n * 7))
                    db.commit()
                    replicated.wait(timeout=120)
        result = ltxcore.restore(self.client(server.url), self.good)
        #: Bytes of all files together.
        self.size = result.bytes_read
        assert result.resumed == 0

    def client(self, url: str) -> S3Client:
        return S3Client(
            self.bucket,
            "app",
            endpoint=url,
            region=self.server.region,
            access_key_id=self.server.access_key,
            secret_access_key=self.server.secret_key,
        )

    def env(self) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": self.server.access_key, "AWS_SECRET_ACCESS_KEY": self.server.secret_key}
        return environment(**keys)

    def argv(self, proxy: Proxy, output: Path) -> list[str]:
        url = f"s3://{self.bucket}/app?endpoint={proxy.url}&region={self.server.region}"
        return [sys.executable, "-m", "ltxcore", "restore", url, "-o", str(output)]

    @contextmanager
    def running(self, proxy: Proxy, output: Path) -> "Iterator[subprocess.Popen[str]]":
        with subprocess.Popen(
            self.argv(proxy, output),
            env=self.env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                yield child
            finally:
                child.kill()


@pytest.fixture(scope="module")
def site(seaweedfs: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Site:
    bucket = seaweedfs.make_bucket(f"resumed-{os.getpid()}")
    return Site(seaweedfs, bucket, tmp_path_factory.mktemp("resumed"))


def left(output: Path) -> list[str]:
    return sorted(
        path.name for path in output.parent.iterdir() if output.name in path.name and path != output
    )


PAIR = [".out.db.ltxcore-partial", ".out.db.ltxcore-partial.state"]


def records(output: Path) -> int:
    """How long the journal is; 0 if there is none."""
    try:
        return (output.parent / PAIR[1]).stat().st_size
    except FileNotFoundError:
        return 0


def until(child: "subprocess.Popen[str]", condition: Callable[[], bool]) -> bool:
    """Wait for a condition; whether it was met before the child ended."""
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        if child.poll() is not None:
            return False
        time.sleep(0.01)
    return True


def killed(site: Site, proxy: Proxy, output: Path, checkpoints: int) -> bool:
    """Start a restore, and kill it after so many checkpoints; whether it had not ended before."""
    with site.running(proxy, output) as child:
        if not until(child, lambda: records(output) > 0):
            return False
        for _ in range(checkpoints):
            before = records(output)
            if not until(child, lambda: records(output) > before):  # noqa: B023 - called at once
                return False
        child.kill()
    return True


def resumed(text: str) -> tuple[float, float]:
    """What a restore says about how much was there, in bytes, of how much."""
    found = re.search(r"resumed: (\d+) of (\d+) MB", text)
    assert found is not None, text
    return float(found[1]) * MB, float(found[2]) * MB


def kill_again_and_again(
    site: Site, proxy: Proxy, output: Path, kills: list[int], others: Sequence[str] = ()
) -> None:
    count = 0
    for checkpoints in kills:
        if not killed(site, proxy, output, checkpoints):
            break
        count += 1
        assert set(PAIR) <= set(left(output))
        assert not output.exists()
    else:
        before = proxy.traffic().received
        done = subprocess.run(
            site.argv(proxy, output), env=site.env(), capture_output=True, text=True, check=True
        )
        there, size = resumed(done.stderr)
        assert there > MB
        # Headers, page indexes, and what reads of files that were not done had in common.
        assert proxy.traffic().received - before < size - there + 8 * MB
    assert count >= 1
    assert output.read_bytes() == site.good.read_bytes()
    assert proxy.traffic().received < 1.3 * site.size + count * PER_KILL
    assert left(output) == list(others)


def test_a_killed_restore_continues(site: Site, proxied: Callable[..., Proxy], tmp_path: Path) -> None:
    for name in (".out.db.ltxcore-tmp-999999-1", ".out.db.ltxcore-tmp-999999-1.lock"):
        (tmp_path / name).touch()
    mine = tmp_path / "out.db.tmp-20261130-1"
    mine.write_text("not of a restore")
    kill_again_and_again(
        site, proxied(site.server.url, rate=RATE), tmp_path / "out.db", [1], others=[mine.name]
    )
    assert mine.read_text() == "not of a restore"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_many_kills(site: Site, proxied: Callable[..., Proxy], tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    kills = [chance.choice([0, 1, 1, 2]) for _ in range(6)]
    kill_again_and_again(site, proxied(site.server.url, rate=RATE), tmp_path / "out.db", [*kills, 1])


def test_an_interrupted_restore_says_what_is_kept(
    site: Site, proxied: Callable[..., Proxy], tmp_path: Path
) -> None:
    proxy, output = proxied(site.server.url, rate=RATE), tmp_path / "out.db"
    with site.running(proxy, output) as child:
        assert until(child, lambda: proxy.traffic().received > SIZE // 4)
        child.send_signal(signal.SIGINT)
        _, text = child.communicate(timeout=120)
    assert child.returncode != 0
    assert "run the same restore again to continue" in text
    assert PAIR[0] in text
    assert left(output) == PAIR
    proxy.link()
    done = subprocess.run(
        site.argv(proxy, output), env=site.env(), capture_output=True, text=True, check=True
    )
    assert resumed(done.stderr)[0] > MB
    assert output.read_bytes() == site.good.read_bytes()
    assert left(output) == []


def test_a_network_that_stays_away_and_comes_back(
    site: Site, proxied: Callable[..., Proxy], tmp_path: Path
) -> None:
    proxy, output = proxied(site.server.url), tmp_path / "out.db"
    client = site.client(proxy.url)
    for skip in (40, 15):
        proxy.fault("drop", operation="GetObject", skip=skip, times=1_000_000)
        with pytest.raises(ReplicaError) as caught:
            ltxcore.restore(client, output)
        assert caught.value.hint is not None
        assert "to continue" in caught.value.hint and PAIR[0] in caught.value.hint
        assert left(output) == PAIR
        proxy.calm()
    seen: list[int] = []
    result = ltxcore.restore(client, output, progress=lambda at: seen.append(at.done))
    assert result.resumed > 10 * MB
    assert min(seen) >= result.resumed
    assert output.read_bytes() == site.good.read_bytes()
    assert left(output) == []


def test_damage_in_what_was_left_is_found_by_the_check(
    site: Site, proxied: Callable[..., Proxy], tmp_path: Path
) -> None:
    proxy, output = proxied(site.server.url), tmp_path / "out.db"
    client = site.client(proxy.url)
    proxy.fault("drop", operation="GetObject", skip=60, times=1_000_000)
    with pytest.raises(ReplicaError):
        ltxcore.restore(client, output)
    proxy.calm()
    with (tmp_path / PAIR[0]).open("r+b") as partial:
        for offset in range(4096, SIZE, 4096):
            partial.seek(offset)
            if any(partial.read(64)):
                partial.seek(offset)
                partial.write(bytes(64))
    result = ltxcore.restore(client, output, integrity_check="full")
    # Whether the damage is in pages that were done or not: the result is right.
    assert result.resumed == 0
    assert output.read_bytes() == site.good.read_bytes()
    assert left(output) == []


def test_a_check_that_fails_leaves_nothing(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def report(path: str, _mode: str) -> str:
        looks.append(path)
        return "it is said to be damaged"

    monkeypatch.setattr("ltxcore._process.restoring._ltxcore.integrity_check", report)
    output = tmp_path / "out.db"
    with pytest.raises(IntegrityCheckError, match="it is said to be damaged"):
        ltxcore.restore(site.client(site.server.url), output, integrity_check="quick")
    assert len(looks) == 1
    assert left(output) == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that is a little larger than the database."""
    folder = tmp_path / "disk"
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here (that takes root): {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("rate", [RATE, None], ids=["after a checkpoint", "before"])
def test_a_full_disk_is_continued_when_there_is_room(
    site: Site, proxied: Callable[..., Proxy], disk: Path, rate: int | None
) -> None:
    proxy = proxied(site.server.url, rate=rate)
    ballast, output, client = disk / "ballast", disk / "out.db", site.client(proxy.url)
    ballast.write_bytes(bytes(100 * MB))
    with pytest.raises(DiskFullError, match=r"out\.db") as caught:
        ltxcore.restore(client, output)
    assert left(output) == PAIR
    assert caught.value.hint is not None
    assert "to continue" in caught.value.hint
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as rest:
        # There is no room for a new journal either: what is left stays.
        while True:
            rest.write(bytes(4096))
    with pytest.raises(DiskFullError) as caught:
        ltxcore.restore(client, output)
    assert caught.value.hint is not None
    assert "to continue" in caught.value.hint
    assert left(output) == PAIR
    ballast.unlink()
    proxy.link()
    result = ltxcore.restore(client, output)
    assert result.resumed > 10 * MB
    assert output.read_bytes() == site.good.read_bytes()
    assert left(output) == []


@needs_strace
def test_an_edited_page_1_is_undone_on_the_disk_before_a_new_journal_counts(
    site: Site, proxied: Callable[..., Proxy], tmp_path: Path
) -> None:
    proxy, output, trace = proxied(site.server.url), tmp_path / "out.db", tmp_path / "trace"

    def stop(at: ltxcore.RestoreProgress) -> None:
        if at.done == at.total and at.files_done == at.files_total:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        ltxcore.restore(site.client(proxy.url), output, journal_mode="delete", progress=stop)
    partial = tmp_path / PAIR[0]
    assert partial.read_bytes()[18:20] == b"\1\1", "it is in rollback mode"
    under = [
        "strace",
        "-f",
        "-y",
        "-e",
        "trace=pwrite64,fsync,fdatasync,rename,renameat,renameat2",
        "-o",
        str(trace),
    ]
    argv = [*under, *site.argv(proxy, output)]
    done = subprocess.run(argv, env=site.env(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = trace.read_text(errors="replace").splitlines()
    begun = next(n for n, line in enumerate(lines) if "rename" in line and f"{PAIR[1]}-new" in line)
    writes = [n for n, line in enumerate(lines) if "pwrite64" in line and f"{PAIR[0]}>" in line]
    syncs = [n for n, line in enumerate(lines) if "sync(" in line and f"{PAIR[0]}>" in line]
    assert writes and writes[0] < begun, "it is undone"
    assert any(writes[0] < n < begun for n in syncs)
    assert output.read_bytes() == site.good.read_bytes()
