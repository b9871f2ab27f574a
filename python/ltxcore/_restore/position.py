"""What a followed database stands on, and the two files beside it that keep this."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltxcore._ltxcore import CHANGE_COUNTER_AT, write_sidecar
from ltxcore._process.files import sync_dir
from ltxcore.errors import FormatError, RestoreError
from ltxcore.ltx import SNAPSHOT_LEVEL, TXID

#: Version of the record; another one is not read.
FORMAT = 1
#: Longer runs are not read, in bytes. Those that are written have half of that.
MOST_RUNS = 2 << 20


@dataclass(frozen=True, slots=True)
class Mark:
    """One LTX file of a replica; its checksum tells it from every other file of this name."""

    level: int
    min_txid: TXID
    max_txid: TXID
    size: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What a database file is like from outside. Whoever writes to it changes at least one of these."""

    change_counter: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, fd: int) -> Shape:
        """The file as it is now."""
        found = os.fstat(fd)
        return cls(
            int.from_bytes(os.pread(fd, 4, CHANGE_COUNTER_AT), "big"), found.st_size, found.st_mtime_ns
        )


def shape_of_new(path: Path) -> Shape:
    """What a database is like that nobody else has open, as it has a temporary name."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return Shape.of(fd)
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Page1:
    """Page 1 as the replica has it: its checksum, and the database header in it.

    In the database it may have another journal mode, and a follower changes the change counter. Earlier versions kept no head.
    """

    checksum: int
    head: bytes | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """A transaction, the file of the replica that ends with it, and the database file as it was left there.

    Without ``mark`` and ``shape`` only a comparison can prove that the database is what the replica holds.

    ``witnesses`` are files that ended earlier, oldest first, and may stay longer. ``runs`` says which pages were written after
    which of them (``rust/replica/src/restore/past.rs``); it is empty if none was. Followers keep neither.
    """

    txid: TXID
    mark: Mark | None = None
    shape: Shape | None = None
    page_1: Page1 | None = None
    witnesses: tuple[Mark, ...] = ()
    runs: bytes = b""


class Sidecars:
    """``<database>-txid``, 16 digits, as Litestream writes and reads it, and ``<database>-ltxcore``, the whole position."""

    def __init__(self, database: Path) -> None:
        self.txid = Path(f"{database}-txid")
        self.record = Path(f"{database}-ltxcore")
        #: The name under which Litestream stages its sidecar, and the second name of our journals.
        self.twin = Path(f"{database}-txid.tmp")

    def read(self) -> Position | None:
        """The position, or ``None`` if there is none. A record that is not about the TXID of the sidecar is left out.

        Raises:
            RestoreError: the sidecar says something else than a TXID.
        """
        try:
            text = self.txid.read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return None
        with contextlib.suppress(FormatError):
            if txid := TXID.parse(text.strip()):
                return self._recorded(txid) or Position(txid)
        raise RestoreError(
            f"not a transaction id: {self.txid}: {text[:40]!r}",
            op="follow",
            path=os.fspath(self.txid),
            hint="restore again, to another path or over this one",
        )

    def write(self, position: Position) -> None:
        """Keep a position, durably."""
        # In this order: a record that is not about the TXID of the sidecar is left out.
        write_sidecar(self.record, _record(position).encode())
        write_sidecar(self.txid, f"{position.txid}\n".encode())

    def remove(self) -> None:
        """Delete everything that is kept beside a database, staged files too."""
        for path in (self.txid, self.record):
            path.unlink(missing_ok=True)
            _staged(path).unlink(missing_ok=True)
        self.twin.unlink(missing_ok=True)
        sync_dir(self.txid.parent)

    def _recorded(self, txid: TXID) -> Position | None:
        try:
            position = _position(json.loads(self.record.read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, zlib.error):
            return None
        return position if position.txid == txid else None


def _record(position: Position) -> str:
    shape = position.shape
    record: dict[str, Any] = {"format": FORMAT, "txid": str(position.txid)}
    if position.mark is not None:
        record["file"] = _named(position.mark)
    if shape is not None:
        record["database"] = {
            "change_counter": shape.change_counter,
            "size": shape.size,
            "mtime_ns": shape.mtime_ns,
        }
    if position.page_1 is not None:
        record["page_1"] = f"{position.page_1.checksum:016x}"
        if position.page_1.head is not None:
            record["head"] = position.page_1.head.hex()
    if position.witnesses:
        record["witnesses"] = [_named(mark) for mark in position.witnesses]
        record["runs"] = base64.b64encode(zlib.compress(position.runs)).decode()
    return json.dumps(record) + "\n"


def _position(record: dict[str, Any]) -> Position:
    """The reverse of `_record`; what is wrong with it raises an error of Python's own, or of `zlib`."""
    if record["format"] != FORMAT:
        raise ValueError(record["format"])
    database, head = record["database"], record.get("head")
    page_1 = _checksum(record["page_1"]) if "page_1" in record else None
    witnesses = tuple(map(_mark, record.get("witnesses", ())))
    return Position(
        TXID.parse(record["txid"]),
        _mark(record["file"]),
        Shape(
            _number(database["change_counter"], 32),
            _number(database["size"], 63),
            _number(database["mtime_ns"], 63, signed=True),
        ),
        None if page_1 is None else Page1(page_1, None if head is None else bytes.fromhex(head)),
        witnesses,
        _decompress(record["runs"]) if witnesses else b"",
    )


def _named(mark: Mark) -> dict[str, Any]:
    return {
        "level": mark.level,
        "min_txid": str(mark.min_txid),
        "max_txid": str(mark.max_txid),
        "size": mark.size,
        "checksum": f"{mark.checksum:016x}",
    }


def _mark(file: dict[str, Any]) -> Mark:
    return Mark(
        _level(file["level"]),
        TXID.parse(file["min_txid"]),
        TXID.parse(file["max_txid"]),
        _number(file["size"], 63),
        _checksum(file["checksum"]),
    )


def _number(value: Any, bits: int, *, signed: bool = False) -> int:  # noqa: ANN401 - whatever is in the record
    """A whole number that has room in so many bits, and in a sign before them."""
    if type(value) is not int or not (-1 << bits if signed else 0) <= value < 1 << bits:
        raise ValueError(value)
    return value


def _level(value: Any) -> int:  # noqa: ANN401 - whatever is in the record
    if (level := _number(value, 8)) > SNAPSHOT_LEVEL:
        raise ValueError(level)
    return level


def _checksum(text: str) -> int:
    return _number(int(text, 16), 64)


def _decompress(text: str) -> bytes:
    stream = zlib.decompressobj()
    runs = stream.decompress(base64.b64decode(text, validate=True), MOST_RUNS)
    if not stream.eof:
        raise ValueError("cut off, or too long")
    return runs


def _staged(path: Path) -> Path:
    return Path(f"{path}.new")
