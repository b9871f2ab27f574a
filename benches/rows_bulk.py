"""Restores and first replications: whole commands, timed from start to end, in turns."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

from benches import datasets, tools
from benches.site import Site, files_below, library_seconds, say, settle, write_speed
from benches.table import Row, Wanted

Samples = dict[str, list[float]]
Line = Callable[[tools.Name, Path, Path], list[str]]


def replicate(site: Site) -> list[Row]:
    """First replication of the large database by `replicate --once`."""
    db = site.big_database()
    directory = site.directory()
    replica, log = directory / "replica", directory / "log"

    def command(name: tools.Name) -> tools.Cost:
        cost = tools.run(tools.replicate_line(name, db, replica, once=True), log)
        if not any(replica.glob("ltx/0/*.ltx")):
            raise tools.BenchError(f"{name} replicated nothing")
        return cost

    def library() -> float:
        return library_seconds(log, "replicate", db, tools.url(replica))

    samples = in_turns(
        site,
        command,
        library,
        inputs=lambda: [db],
        clean=lambda: datasets.forget(db, replica),
        limit=directory / "x",
    )
    return rows(f"first replication, {site.sizes.snapshot_mb} MB", samples, 3.0, site)


def restore(site: Site) -> list[Row]:
    """Restore of one large snapshot, which Litestream wrote."""
    directory = site.directory()
    replica = directory / "replica"
    part = datasets.snapshot_replica(site.big_database(), replica)
    site.note(f"LZ4 makes {part:.2f} of the {site.sizes.snapshot_mb} MB database")
    samples = restores(site, directory, replica, limit=directory / "limit")
    return rows(f"restore, one snapshot of {site.sizes.snapshot_mb} MB", samples, 3.0, site)


def chain(site: Site) -> list[Row]:
    """Restore of a database and very many small files after it."""
    site.free_big_database()
    sizes, directory = site.sizes, site.directory()
    db, replica = directory / "db", directory / "replica"
    say(f"making {sizes.chain_files} L0 files on {sizes.chain_mb} MB")
    datasets.filled_database(db, sizes.chain_mb)
    datasets.chain_replica(db, replica, sizes.chain_files)
    datasets.remove_database(db)
    samples = restores(site, directory, replica)
    return rows(f"restore, {sizes.chain_mb} MB and {sizes.chain_files} L0 files", samples, 5.0, site)


def restores(
    site: Site, directory: Path, replica: Path, *, limit: Path | None = None, line: Line = tools.restore_line
) -> Samples:
    """Restore in turns, after a look whether both programs make the same of the replica. `line` makes the commands."""
    output, log = directory / "output", directory / "log"
    inputs = files_below(replica)
    compare(replica, directory, line)

    def command(name: tools.Name) -> tools.Cost:
        return tools.run(line(name, replica, output), log)

    def library() -> float:
        return library_seconds(log, "restore", tools.url(replica), output)

    def clean() -> None:
        datasets.remove_database(output)
        # Litestream leaves a file with the position beside it.
        for left in directory.glob("output*"):
            left.unlink()

    return in_turns(site, command, library, inputs=lambda: inputs, clean=clean, limit=limit)


def compare(replica: Path, directory: Path, line: Line = tools.restore_line) -> None:
    """Both restores, byte for byte; also what makes the caches warm."""
    outputs = {name: directory / f"compared-{name}" for name in tools.NAMES}
    for name, output in outputs.items():
        tools.run(line(name, replica, output), directory / "log")
    if not filecmp.cmp(outputs["ltxcore"], outputs["litestream"], shallow=False):
        raise tools.BenchError("the two programs restored different databases")
    for left in directory.glob("compared-*"):
        left.unlink()


def in_turns(
    site: Site,
    command: Callable[[tools.Name], tools.Cost],
    library: Callable[[], float],
    *,
    inputs: Callable[[], Iterable[Path]],
    clean: Callable[[], None],
    limit: Path | None,
) -> Samples:
    """The command of ours, that of Litestream, our library call and the bare disk, round after round."""
    samples: Samples = defaultdict(list)
    for turn in range(site.sizes.rounds):
        say(f"round {turn + 1} of {site.sizes.rounds}")
        for name in tools.NAMES:
            clean()
            settle(inputs())
            cost = command(name)
            samples[name].append(cost.seconds)
            samples[f"{name} processor"].append(cost.cpu_seconds)
            samples[f"{name} peak MiB"].append(cost.peak_mib)
        clean()
        settle(inputs())
        samples["library"].append(library())
        clean()
        if limit is not None:
            samples["disk"].append(write_speed(limit, site.sizes.snapshot_mb * 1_000_000))
    return dict(samples)


def rows(what: str, samples: Samples, wanted: float, site: Site) -> list[Row]:
    """The lines that one set of samples makes."""
    theirs = median(samples["litestream"])
    made = [
        Row(what, "s", median(samples["ltxcore"]), theirs, Wanted(wanted), samples=samples),
        Row("  as a library call", "s", median(samples["library"]), theirs),
        pair("  processor time", "s", samples, "processor"),
        pair("  peak memory", "MiB", samples, "peak MiB"),
    ]
    if "disk" in samples:
        size = site.sizes.snapshot_mb
        ours, disk = (size / median(samples[name]) for name in ("ltxcore", "disk"))
        made.append(Row(f"  against writing {size} MB, fsync", "MB/s", ours, disk, against="disk"))
    return made


def pair(what: str, unit: str, samples: Samples, key: str) -> Row:
    """A line for information: the medians of both programs."""
    ours, theirs = (median(samples[f"{name} {key}"]) for name in tools.NAMES)
    return Row(what, unit, ours, theirs)
