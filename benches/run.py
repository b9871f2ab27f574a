"""`python -m benches.run`: measures ltxcore against Litestream 0.5.17 and prints one table.

Whatever it starts it stops, and its directory below $TMPDIR is gone afterwards; full sizes need about 6 GB there.
A missed wish is a line in the table, no failure; the exit code is 1 only if something could not be measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benches import (
    rows_blob,
    rows_bulk,
    rows_codec,
    rows_lag,
    rows_legacy,
    rows_link,
    rows_live,
    rows_reads,
    rows_requests,
    rows_vfs,
    tools,
)
from benches.site import Site, Sizes, say
from benches.table import Row, render

#: Those that use the large database come first, since the others want its space.
GROUPS: dict[str, Callable[[Site], list[Row]]] = {
    "codec": rows_codec.codec,
    "replicate": rows_bulk.replicate,
    "restore": rows_bulk.restore,
    "link": rows_link.link,
    "reads": rows_reads.reads,
    "chain": rows_bulk.chain,
    "legacy": rows_legacy.legacy,
    "writer": rows_live.writer,
    "lag": rows_lag.lag,
    "idle": rows_live.idle,
    "vfs": rows_vfs.vfs,
    "blob": rows_blob.blob,
    "requests": rows_requests.requests,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is asked for."""
    options = parser().parse_args(argv)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        tools.check_programs()
    except tools.BenchError as error:
        say(str(error))
        return 2
    sizes = chosen_sizes(options)
    with tempfile.TemporaryDirectory(prefix="ltxcore-bench-", ignore_cleanup_errors=True) as directory:
        site = Site(Path(directory), sizes)
        about = machine(site.root)
        rows = [row for name in GROUPS if name in options.only for row in measured(name, site)]
    print(f"\n{heading(about, sizes)}\n\n{render(rows)}\n")
    for note in site.notes:
        print(f"note: {note}")
    if options.json is not None:
        lines = [row.as_json() for row in rows]
        report = {"machine": about, "sizes": dataclasses.asdict(sizes), "notes": site.notes, "rows": lines}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return int(site.wrong or any(row.failure for row in rows))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m benches.run", description="ltxcore beside Litestream, one table"
    )
    made.add_argument(
        "--quick", action="store_true", help="small sizes: does it all work? not: how fast is it?"
    )
    made.add_argument(
        "--only", action="append", choices=list(GROUPS), help="this group of rows; may be repeated"
    )
    made.add_argument("--seconds", type=float, help="how long to write and to idle, 30 by default")
    made.add_argument("--rounds", type=int, help="how often each is measured, 3 by default")
    made.add_argument("--commits", type=int, help="how many for the lag, 60 by default")
    made.add_argument("--json", type=Path, metavar="FILE", help="the table and all samples as JSON")
    made.set_defaults(only=None)
    return made


def chosen_sizes(options: argparse.Namespace) -> Sizes:
    """The sizes of this run."""
    options.only = options.only or list(GROUPS)
    sizes = Sizes.quick() if options.quick else Sizes()
    given = {name: getattr(options, name) for name in ("seconds", "rounds", "commits")}
    return dataclasses.replace(sizes, **{name: value for name, value in given.items() if value is not None})


def measured(name: str, site: Site) -> list[Row]:
    """The rows of one group. One that fails leaves the others alone."""
    say(name)
    began = time.perf_counter()
    try:
        return GROUPS[name](site)
    except Exception as error:  # whatever it was, the table says it
        if not isinstance(error, tools.BenchError):
            traceback.print_exc()
        return [Row(name, "", failure=str(error) or repr(error))]
    finally:
        say(f"{name}: {time.perf_counter() - began:.0f} s")


def machine(directory: Path) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "file_system": file_system(directory),
    }


def file_system(directory: Path) -> str:
    """The type of the file system that a directory is on (proc_pid_mountinfo(5))."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ", 1)
        point = left.split()[4]
        if len(point) >= len(best) and directory.resolve().is_relative_to(point):
            best, kind = point, right.split()[0]
    return kind


def heading(about: dict[str, Any], sizes: Sizes) -> str:
    """What stands above the table."""
    return (
        f"ltxcore beside Litestream {tools.litestream_version()}, in turns, medians of {sizes.rounds}. "
        "ratio: how many times better, or the part of the limit.\n"
        + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in about.items())
    )


if __name__ == "__main__":
    sys.exit(main())
