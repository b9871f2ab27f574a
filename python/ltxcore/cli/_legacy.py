"""What `restore` says where the files are those of Litestream 0.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ltxcore.cli._output import counted, format_time, print_json, print_table

if TYPE_CHECKING:
    from pathlib import Path

    from ltxcore import Replica
    from ltxcore.legacy import RestoreResult, SnapshotInfo, WALSegmentInfo


def report(
    result: RestoreResult, origin: Replica, seconds: float, integrity_check: str, as_json: bool
) -> None:
    """Say what was restored."""
    files = 1 + len(result.segments)
    if as_json:
        print_json(
            {
                "db_path": str(result.path),
                "replica": origin.client.type,
                "generation": result.pos.generation,
                "index": f"{result.pos.index:08x}",
                "offset": result.pos.offset,
                "duration_ms": round(seconds * 1000),
                "integrity_check": integrity_check,
                "page_size": result.page_size,
                "page_count": result.page_count,
                "files": files,
                "bytes_read": result.bytes_read,
                "timestamp": format_time(result.created_at),
            }
        )
        return
    checked = "" if integrity_check == "none" else f", {integrity_check} check ok"
    click.echo(
        f"restored {result.path}: position {result.pos} of {format_time(result.created_at)}, "
        f"{counted(result.page_count, 'page')} of {result.page_size} bytes from {counted(files, 'file')} "
        f"of Litestream 0.3 in {seconds:.1f} s{checked}"
    )


def show_plan(
    source: str, origin: Replica, output: Path | None, wanted: dict[str, Any], as_json: bool
) -> None:
    """Print which files a restore would read."""
    from ltxcore import legacy

    plan = legacy.restore_plan(origin.client, **wanted)
    rows = [row(plan.snapshot), *map(row, plan.segments)]
    if not as_json:
        print_table(["name", "size", "created"], (each.values() for each in rows))
        return
    print_json(
        {
            "source": source,
            "target_path": None if output is None else str(output),
            "replica": origin.client.type,
            "generation": plan.snapshot.generation,
            "files": rows,
        }
    )


def row(file: SnapshotInfo | WALSegmentInfo) -> dict[str, Any]:
    """One file of a plan."""
    return {"name": file.path, "size": file.size, "timestamp": format_time(file.created_at)}
