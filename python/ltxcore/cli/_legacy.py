"""What `restore` says where the files are those of Litestream 0.3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ltxcore.cli._output import counted, format_time, note, print_json

if TYPE_CHECKING:
    from ltxcore import Replica
    from ltxcore.legacy import RestoreResult


def report(
    result: RestoreResult, origin: Replica, seconds: float, integrity_check: str, as_json: bool
) -> None:
    """Say what was restored."""
    files = 1 + len(result.segments)
    if result.clamped:
        note("The time is after the newest file: this is the newest state.")
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
                "clamped": result.clamped,
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
