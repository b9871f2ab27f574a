"""Restores from S3 over a link of 30 ms and 100 MB/s: SeaweedFS behind the proxy of the tests.

The link is what a plain parallel download gets through the same proxy in the same round: server, proxy and client share the
machine's processors, so it may be less than 100 MB/s.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benches import datasets, tools
from benches.rows_bulk import Samples, pair
from benches.site import Site, library_seconds, say
from benches.table import Row, Wanted

from tests.helpers.proxy import Proxy
from tests.helpers.s3_servers import S3Server, SeaweedFS

LATENCY_S = 0.03
RATE = 100e6
BUCKET = "bench"
#: Bytes of one range of a plain download.
RANGE = 4 << 20
PEAK_MIB = 128


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is wanted: so many times Litestream, such a part of the link. "Speed over a link" in docs/design.md says why."""

    times: float
    of_link: float


@dataclass(frozen=True, slots=True)
class Remote:
    """One replica in the bucket, behind the proxy."""

    name: str
    url: str
    requests: Path
    size: int


class Bucket:
    """A bucket, and the proxy in front of it."""

    def __init__(self, server: S3Server, proxy: Proxy) -> None:
        self.server, self.proxy = server, proxy
        self._direct = server.client()
        self._signer = server.client(endpoint_url=proxy.url)
        server.make_bucket(BUCKET)

    def replica(self, name: str, local: Path, directory: Path) -> Remote:
        """Upload a replica from a directory, as Litestream lays it out in S3."""
        lines, size = [], 0
        for path in sorted(local.glob("ltx/*/*.ltx")):
            key, length = f"{name}/{int(path.parent.name):04x}/{path.name}", path.stat().st_size
            self._direct.upload_file(str(path), BUCKET, key)
            url = self._signer.generate_presigned_url(
                "get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=24 * 3600
            )
            for offset in range(0, length, RANGE):
                lines.append(f"{url} {offset} {min(RANGE, length - offset)}\n")
            size += length
        requests = directory / f"{name}.requests"
        requests.write_text("".join(lines))
        url = (
            f"s3://{BUCKET}/{name}?endpoint={self.proxy.url}&region={self.server.region}&forcePathStyle=true"
        )
        return Remote(name, url, requests, size)


@contextlib.contextmanager
def bucket(directory: Path) -> Iterator[Bucket]:
    """A server and a proxy that go away again; credentials are in the environment meanwhile."""
    with SeaweedFS() as server, Proxy(directory / "proxy.log", server.url) as proxy:
        keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
        old = {name: os.environ.get(name) for name in keys}
        os.environ.update(keys)
        try:
            yield Bucket(server, proxy)
        finally:
            for name, value in old.items():
                os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def link(site: Site) -> list[Row]:
    """Both data sets."""
    sizes, directory = site.sizes, site.directory()
    with bucket(directory) as remote:
        local = directory / "snapshot"
        datasets.snapshot_replica(site.big_database(), local)
        site.free_big_database()
        snapshot = remote.replica("snapshot", local, directory)
        rows = measured(
            f"restore from S3, one snapshot of {sizes.snapshot_mb} MB",
            remote,
            snapshot,
            directory,
            site,
            Bounds(2.5, 0.8),
        )
        shutil.rmtree(local)
        db, local = directory / "db", directory / "chain"
        say(f"making {sizes.chain_files} L0 files on {sizes.chain_mb} MB")
        datasets.filled_database(db, sizes.chain_mb)
        datasets.chain_replica(db, local, sizes.chain_files)
        datasets.remove_database(db)
        chain = remote.replica("chain", local, directory)
        what = f"restore from S3, {sizes.chain_mb} MB and {sizes.chain_files} L0 files"
        return rows + measured(what, remote, chain, directory, site, Bounds(2.0, 0.5))


def measured(
    what: str, remote: Bucket, replica: Remote, directory: Path, site: Site, wanted: Bounds
) -> list[Row]:
    """The rows of one replica."""
    compare(replica, directory)
    remote.proxy.link(latency=LATENCY_S, rate=RATE)
    try:
        samples = in_turns(replica, directory, site.sizes.rounds)
    finally:
        remote.proxy.link()
    megabytes = replica.size / 1e6
    ours, limit = (megabytes / median(samples[name]) for name in ("library", "link"))
    peak = max(samples["ltxcore peak MiB"])
    return [
        Row(
            what,
            "s",
            median(samples["ltxcore"]),
            median(samples["litestream"]),
            Wanted(wanted.times),
            samples=samples,
        ),
        Row(
            "  as a library call, against the link",
            "MB/s",
            ours,
            limit,
            Wanted(wanted.of_link),
            against="link",
        ),
        Row(
            "  a busy thread beside it, against a process",
            "loops/s",
            median(samples["busy thread"]),
            median(samples["busy process"]),
            Wanted(0.9),
            against="alone",
        ),
        pair("  processor time", "s", samples, "processor"),
        Row(
            "  peak memory",
            "MiB",
            peak,
            median(samples["litestream peak MiB"]),
            Wanted(PEAK_MIB, of="ours"),
        ),
    ]


def in_turns(replica: Remote, directory: Path, rounds: int) -> Samples:
    """The command of ours, that of Litestream, our library call and the plain download, round after round."""
    output, log = directory / "output", directory / "log"
    samples: Samples = defaultdict(list)
    for turn in range(rounds):
        say(f"round {turn + 1} of {rounds}")
        for name in tools.NAMES:
            clean(directory)
            cost = tools.run(line(name, replica, output), log)
            samples[name].append(cost.seconds)
            samples[f"{name} processor"].append(cost.cpu_seconds)
            samples[f"{name} peak MiB"].append(cost.peak_mib)
        clean(directory)
        samples["library"].append(library_seconds(log, "restore", replica.url, output))
        clean(directory)
        for where, count in busy(replica, output, log).items():
            samples[f"busy {where}"].append(count)
            clean(directory)
        tools.run(tools.python_line("download", replica.requests, output), log)
        samples["link"].append(float(log.read_text().splitlines()[-1]))
        clean(directory)
    return dict(samples)


def busy(replica: Remote, output: Path, log: Path) -> dict[str, float]:
    """How fast Python counts in a thread beside a restore, and in a process beside one, which shares no interpreter."""
    thread = library_seconds(log, "beside", replica.url, output)
    output.unlink()
    line = tools.python_line("library", "beside", "-", "-")
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as counting:
        library_seconds(log, "restore", replica.url, output)
        said, _ = counting.communicate()
    return {"thread": thread, "process": float(said)}


def compare(replica: Remote, directory: Path) -> None:
    """Both restores without the link, byte for byte."""
    outputs = [directory / f"output-{name}" for name in tools.NAMES]
    for name, output in zip(tools.NAMES, outputs, strict=True):
        tools.run(line(name, replica, output), directory / "log")
    if not filecmp.cmp(outputs[0], outputs[1], shallow=False):
        raise tools.BenchError("the two programs restored different databases")
    clean(directory)


def line(name: tools.Name, replica: Remote, output: Path) -> list[str]:
    """The command that restores the newest state."""
    return [tools.program(name), "restore", "-o", str(output), replica.url]


def clean(directory: Path) -> None:
    """The same start for every measurement."""
    for left in directory.glob("output*"):
        left.unlink()
    os.sync()
