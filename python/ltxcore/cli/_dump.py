"""Everything that an LTX file says, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ltxcore import ltx
from ltxcore.cli._output import format_time


def read(path: Path, pages: bool) -> dict[str, Any]:
    """Header, trailer and, where asked for, the page index of one verified file."""
    with ltx.open(path) as decoder:
        header = decoder.header
        trailer = decoder.finish()
    facts: dict[str, Any] = {"path": str(path), "size": path.stat().st_size}
    facts |= header_facts(header)
    facts["post_apply_checksum"] = str(ltx.Checksum(trailer.post_apply_checksum))
    facts["file_checksum"] = str(ltx.Checksum(trailer.file_checksum))
    index = ltx.read_page_index(path)
    facts["page_count"] = len(index)
    if pages:
        facts["pages"] = [{"pgno": pgno, "offset": at.offset, "size": at.size} for pgno, at in index.items()]
    return facts


def header_facts(header: ltx.Header) -> dict[str, Any]:
    """The fields of a header."""
    return {
        "min_txid": str(ltx.TXID(header.min_txid)),
        "max_txid": str(ltx.TXID(header.max_txid)),
        "is_snapshot": header.is_snapshot,
        "has_checksums": not header.no_checksum,
        "page_size": header.page_size,
        "commit": header.commit,
        "timestamp": format_time(header.timestamp),
        "pre_apply_checksum": str(ltx.Checksum(header.pre_apply_checksum)),
        "wal_offset": header.wal_offset,
        "wal_size": header.wal_size,
        "wal_salts": f"{header.wal_salt1:08x} {header.wal_salt2:08x}",
        "node_id": f"{header.node_id:016x}",
    }
