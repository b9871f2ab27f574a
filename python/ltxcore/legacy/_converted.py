"""The LTX files of a conversion that are there already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltxcore.errors import LTXFileExistsError
from ltxcore.ltx import SNAPSHOT_LEVEL, TXID, FileInfo, Header, format_filename

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The level of the states, as the native side writes them.
STATES = SNAPSHOT_LEVEL - 1
#: What the native side writes into each header.
_WAL_OFFSET = 32


class There:
    """The LTX files of a conversion, by their last transactions."""

    def __init__(self, files: Iterable[FileInfo]) -> None:
        self.newest: dict[TXID, FileInfo] = {}
        self.states: dict[TXID, FileInfo] = {}
        self.whole: dict[TXID, FileInfo] = {}
        kinds = {0: self.newest, STATES: self.states, SNAPSHOT_LEVEL: self.whole}
        for file in files:
            kinds[file.level][file.max_txid] = file

    def last_after(self, txid: TXID, end: TXID | None) -> TXID:
        """The last transaction before ``end`` without a gap since a whole database at the one after ``txid``; else 0."""
        reached = txid
        while (following := TXID(reached + 1)) in self.whole or (reached > txid and following in self.states):
            if following == end:
                break
            reached = following
        return reached if reached > txid else TXID(0)

    def of(self, txid: TXID) -> list[FileInfo]:
        """The files of the state of a transaction."""
        return [kind[txid] for kind in (self.whole, self.states) if txid in kind]

    def beyond(self, txid: TXID) -> list[FileInfo]:
        """The files of states after it."""
        return [file for kind in (self.states, self.whole) for file in kind.values() if file.max_txid > txid]


def origin_of(header: Header) -> int:
    """The generation that a file is of."""
    return header.wal_salt1 << 32 | header.wal_salt2


def with_min_txid(header: Header, txid: TXID) -> Header:
    """The same with another first transaction."""
    return Header(
        page_size=header.page_size,
        commit=header.commit,
        min_txid=txid,
        max_txid=header.max_txid,
        timestamp=header.timestamp,
        wal_offset=header.wal_offset,
        wal_size=header.wal_size,
        wal_salt1=header.wal_salt1,
        wal_salt2=header.wal_salt2,
        node_id=header.node_id,
    )


def is_of_conversion(header: Header) -> bool:
    """Whether a conversion has written a file with this header: other programs name no node."""
    return header.node_id != 0 and (header.wal_offset, header.wal_size) == (_WAL_OFFSET, 0)


def foreign(file: FileInfo) -> LTXFileExistsError:
    """There is a file that no conversion of this v0.3 replica has made."""
    name = format_filename(file.min_txid, file.max_txid)
    return LTXFileExistsError(
        f"the place of the LTX files has a file that is not of this conversion: level {file.level}, {name}",
        op="convert",
        level=file.level,
        min_txid=file.min_txid,
        max_txid=file.max_txid,
        hint="convert to an empty place; a replica that another program has continued cannot be converted to any more",
    )
