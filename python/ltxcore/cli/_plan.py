"""What `restore --dry-run` prints: the files that a restore would read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltxcore.cli._output import format_time, note, print_json, print_table

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from ltxcore import Replica
    from ltxcore.legacy import SnapshotInfo, WALSegmentInfo
    from ltxcore.ltx import FileInfo


def show(
    source: str,
    origin: Replica,
    output: Path | None,
    txid: str | None,
    timestamp: datetime | None,
    as_json: bool,
) -> None:
    """Print which files a restore would read."""
    import ltxcore

    plan = ltxcore.restore_plan(origin.client, txid=txid, timestamp=timestamp)
    if plan.clamped:
        note("The time is after the newest transaction: this is the newest state.")
    rows = [row(file) for file in plan.files]
    if not as_json:
        print_table(["level", "name", "size", "created"], (pick(each) for each in rows))
        return
    print_json(
        {
            "source": source,
            "target_path": None if output is None else str(output),
            "replica": origin.client.type,
            "min_txid": rows[0]["min_txid"],
            "max_txid": rows[-1]["max_txid"],
            "clamped": plan.clamped,
            "files": rows,
        }
    )


def row(file: FileInfo) -> dict[str, Any]:
    """One file of a plan, with the keys that Litestream prints."""
    return {
        "level": file.level,
        "name": file.name,
        "min_txid": str(file.min_txid),
        "max_txid": str(file.max_txid),
        "size": file.size,
        "timestamp": format_time(file.created_at),
    }


def pick(row: dict[str, Any]) -> list[Any]:
    """The columns of the table."""
    return [row["level"], row["name"], row["size"], row["timestamp"]]


def show_legacy(
    source: str, origin: Replica, output: Path | None, wanted: dict[str, Any], as_json: bool
) -> None:
    """The same, of files of Litestream 0.3."""
    from ltxcore import legacy

    plan = legacy.restore_plan(origin.client, **wanted)
    rows = [legacy_row(plan.snapshot), *map(legacy_row, plan.segments)]
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


def legacy_row(file: SnapshotInfo | WALSegmentInfo) -> dict[str, Any]:
    """One file of a plan."""
    return {"name": file.path, "size": file.size, "timestamp": format_time(file.created_at)}
