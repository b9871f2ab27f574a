"""Whether files of a replica are what their names say."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, BinaryIO

from ltxcore import _ltxcore, ltx
from ltxcore.clients.file import native
from ltxcore.errors import FormatError, LTXFileNotFoundError
from ltxcore.ltx import HEADER_SIZE, TXID

if TYPE_CHECKING:
    from collections.abc import Callable

    from ltxcore.clients import ReplicaClient
    from ltxcore.replica._inventory import Inventory, Key

#: A storage that was not empty and is has to stay so for so long, in seconds: it may only be away for a moment.
LONG_REST = 1.0
#: A TXID from here on is no history that could be continued: it is a name that somebody made up.
_FAR_AWAY = 1 << 63


def position(
    client: ReplicaClient, listing: Callable[[], Inventory], *, is_empty_odd: bool, has_local: bool
) -> TXID:
    """Where a history goes on, listed now: after the last TXID of the replica.

    What a restore reaches counts, and what lies beyond a hole as well, if it is what its name says: under its TXIDs
    there must be no other files ever, or a restore would take these for what follows.

    Args:
        client: the replica.
        listing: lists it.
        is_empty_odd: there were files a while ago, so that an empty listing is not believed at once.
        has_local: there are local files, which go on where the sound ones end and take the place of damaged ones. Without
            them a damaged file that follows counts as well: it would be in the way until somebody commits.
    """
    files = listing()
    if is_empty_odd and not files.sizes:
        time.sleep(LONG_REST)
        files = listing()
    newest = newest_sound(client, files, TXID(0))
    end = max(files.sound_reach(), TXID(newest[2] if newest is not None else 0))
    if not has_local:
        for _level, low, high in sorted(files.damaged, key=lambda key: key[1]):
            if low <= end + 1 and high < _FAR_AWAY:
                end = max(end, TXID(high))
    return end


def newest_sound(client: ReplicaClient, files: Inventory, above: TXID) -> Key | None:
    """The newest file that ends after ``above`` and is what its name says; those that are not are noted as damaged."""
    beyond = [key for key in files.sizes if key[2] > above and key not in files.damaged]
    for key in sorted(beyond, key=lambda key: (key[2], key[1], key[0]), reverse=True):
        if key[2] < _FAR_AWAY and has_its_header(client, key):
            return key
        files.damaged.add(key)
    return None


def has_its_header(client: ReplicaClient, key: Key) -> bool:
    """Whether a file begins with the header of an LTX file of these TXIDs."""
    level, low, high = key
    try:
        header = ltx.Header.parse(client.read_ltx_file(level, TXID(low), TXID(high), size=HEADER_SIZE))
    except (FormatError, LTXFileNotFoundError):
        return False
    return (header.min_txid, header.max_txid) == (low, high)


def damaged_of(client: ReplicaClient, keys: list[Key]) -> list[Key]:
    """Those of these files that do not begin and end as files of their names do, or are gone."""
    directory = native(client)
    if isinstance(directory, _ltxcore.FileClient):
        return directory.damaged_ltx_files(keys)
    return [key for key in keys if not has_its_header(client, key) or not has_its_end(client, key)]


def is_whole_there(client: ReplicaClient, key: Key) -> bool:
    """Whether a file is a whole and sound LTX file of these TXIDs; all of it is read."""
    level, low, high = key
    try:
        with client.open_ltx_file(level, TXID(low), TXID(high)) as file:
            return is_whole(file, low, high)
    except LTXFileNotFoundError:
        return False


def is_whole(file: BinaryIO, low: int, high: int) -> bool:
    """Whether an open file is a whole and sound LTX file of these TXIDs."""
    try:
        decoder = ltx.open(file)
        for _page in decoder:
            pass
        decoder.finish()
    except FormatError:
        return False
    return (decoder.header.min_txid, decoder.header.max_txid) == (low, high)


def has_its_end(client: ReplicaClient, key: Key) -> bool:
    """Whether a file ends with the index of its pages, as far as its client lets it be read from the end."""
    level, low, high = key
    try:
        with client.open_ltx_file(level, TXID(low), TXID(high)) as file:
            if file.seekable():
                ltx.read_page_index(file)
    except (FormatError, LTXFileNotFoundError):
        return False
    return True
