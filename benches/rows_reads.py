"""Many small reads at once from S3 (SeaweedFS, no delay): by the data plane, and by boto3."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import defaultdict
from statistics import median

from benches import tools
from benches.rows_bulk import Samples
from benches.rows_link import BUCKET, bucket
from benches.site import Site, say
from benches.table import Row, Wanted

THREADS = 32
SIZE = 64 << 20
#: boto3 gets so many times fewer, as it takes so much longer.
FEWER = 5
KEY = "object"


def reads(site: Site) -> list[Row]:
    """4 KiB at random places of one object, 32 at once."""
    program, log = build(), site.directory() / "log"
    count = site.sizes.small_reads
    samples: Samples = defaultdict(list)
    with bucket(site.directory()) as remote:
        client = remote.server.client()
        client.put_object(Bucket=BUCKET, Key=KEY, Body=os.urandom(SIZE))
        url = client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": KEY})
        lines = {
            "ltxcore": ([program, url, SIZE, THREADS], count),
            "boto3": (
                tools.python_line("small_reads", remote.server.url, BUCKET, KEY, SIZE, THREADS),
                count // FEWER,
            ),
        }
        for turn in range(site.sizes.rounds):
            say(f"round {turn + 1} of {site.sizes.rounds}")
            for name, (line, number) in lines.items():
                tools.run([*map(str, line), str(number)], log)
                samples[name].append(number / float(log.read_text().splitlines()[-1]))
    ours, boto3 = (median(samples[name]) for name in lines)
    what = f"reads of 4 KiB from S3, {THREADS} at once"
    return [Row(what, "/s", ours, boto3, Wanted(5.0), against="boto3", samples=dict(samples))]


def build() -> str:
    """The example of the crate that reads ranges."""
    cargo = shutil.which(os.environ.get("CARGO", "cargo"))
    if cargo is None:
        raise tools.BenchError("cargo is not installed")
    argv = [
        cargo,
        "build",
        "--locked",
        "--release",
        "--quiet",
        "--package",
        "http-ranges",
        "--example",
        "small_reads",
    ]
    if subprocess.run(argv, cwd=tools.ROOT, check=False).returncode != 0:
        raise tools.BenchError("the example small_reads does not build")
    target = os.environ.get("CARGO_TARGET_DIR", tools.ROOT / "target")
    return os.fspath(os.path.join(target, "release/examples/small_reads"))
