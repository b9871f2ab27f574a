"""The listing of a replica: a file beside its LTX files, for readers that cannot list, such as those of a web server."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ltxcore._process.times import parse_time
from ltxcore.errors import FormatError
from ltxcore.ltx import SNAPSHOT_LEVEL, TXID, FileInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The name of the file.
NAME = "ltx.json"
#: What it says about its own format.
VERSION = 1
_LEVELS = SNAPSHOT_LEVEL + 1
#: No file has as many bytes.
_MAX_SIZE = 1 << 63
#: A folder below the replica.
_FOLDER = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*")


class Listing(NamedTuple):
    """The folder of each level below the replica, and the files, ascending."""

    folders: tuple[str, ...]
    files: list[FileInfo]


def encode(folders: tuple[str, ...], files: Iterable[FileInfo]) -> bytes:
    """The bytes of a listing, one line for each file."""
    lines = ",\n".join(f"    {json.dumps(_row(file))}" for file in files)
    head = f'"version": {VERSION},\n  "folders": {json.dumps(folders)}'
    return f'{{\n  {head},\n  "files": [\n{lines}\n  ]\n}}\n'.encode()


def decode(data: bytes, place: str) -> Listing:
    """Read a listing, which may have been written by anybody.

    Args:
        data: its bytes.
        place: where it comes from, for the message.

    Raises:
        FormatError: it is none, or one of a later version.
    """
    try:
        found = json.loads(data)
        version = found["version"]
        if type(version) is int and version == VERSION:
            return Listing(_folders(found["folders"]), sorted(map(_file, found["files"])))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        # ConfigError and FormatError are ValueErrors.
        message = f"not a listing of LTX files: {place}"
        raise FormatError(message, op="list", hint="write it again with: ltxcore listing REPLICA") from error
    raise FormatError(
        f"the listing has the version {version!r}, and {VERSION} is the only one that is known: {place}",
        op="list",
        hint="upgrade ltxcore, or write the listing again with this version",
    )


def _row(file: FileInfo) -> dict[str, Any]:
    """One file, with the keys of ``ltxcore ltx --json``."""
    return {
        "level": file.level,
        "min_txid": str(file.min_txid),
        "max_txid": str(file.max_txid),
        "size": file.size,
        "timestamp": _text(file.created_at),
    }


def _file(row: Any) -> FileInfo:  # noqa: ANN401 - of JSON
    level, size = row["level"], row["size"]
    low, high = TXID.parse(row["min_txid"]), TXID.parse(row["max_txid"])
    is_sound = type(level) is int and type(size) is int and 0 <= level < _LEVELS and 0 < low <= high
    if not is_sound or not 0 <= size < _MAX_SIZE:
        raise ValueError("a file that there cannot be")
    return FileInfo(level, low, high, size, parse_time(row["timestamp"]))


def _folders(found: Any) -> tuple[str, ...]:  # noqa: ANN401 - of JSON
    if len(found) != _LEVELS or not all(map(_FOLDER.fullmatch, found)):
        raise ValueError("folders that cannot be those of the levels")
    return tuple(found)


def _text(when: datetime) -> str:
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
