"""The codec against bare LZ4 on the same pages: runs the Rust benchmark and reads its tables."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator

from benches import tools
from benches.site import Site
from benches.table import Row, Wanted

PAGE_SIZE = re.compile(r"page size (?P<size>\d+)")
LINE = re.compile(
    r"\| (?P<what>[a-z][^|]*?) \| (?P<ours>\d+) \| (?P<limit>\d+) \| [\d.]+ \| (?P<wanted>[\d.]+) \|"
)


def codec(_site: Site) -> list[Row]:
    """Encoding, decoding and compaction, single-threaded and in memory."""
    cargo = shutil.which(os.environ.get("CARGO", "cargo"))
    if cargo is None:
        raise tools.BenchError("cargo is not installed")
    argv = [cargo, "run", "--locked", "--release", "--quiet", "--package", "codec-bench"]
    done = subprocess.run(argv, cwd=tools.ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise tools.BenchError(f"codec-bench: exit code {done.returncode}")
    rows = list(parse(done.stdout))
    if not rows:
        raise tools.BenchError("codec-bench printed no table that could be read")
    return rows


def parse(text: str) -> Iterator[Row]:
    """The rows of its second kind of table; the first compares LZ4 libraries, and has other columns."""
    size = ""
    for line in text.splitlines():
        if found := PAGE_SIZE.match(line):
            size = found["size"]
        elif found := LINE.fullmatch(line.strip()):
            yield Row(
                what=f"codec: {found['what']}, pages of {size}",
                unit="MB/s",
                ours=float(found["ours"]),
                other=float(found["limit"]),
                wanted=Wanted(float(found["wanted"])),
                against="LZ4",
            )
