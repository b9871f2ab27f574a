"""Files of another history in a replica: how they are reported, and which of them end the replication.

Most can go away again: a replica may be swapped and come back, a stray file may be deleted. But if the replica has files that
are ours, and after them a sound file of another writer, then both have continued the same state. LTX files never change, so no
retry can help. See "Conflicts" in ``docs/design.md``.
"""

from __future__ import annotations

import bisect
import contextlib
import os
from typing import TYPE_CHECKING

from ltxcore.db._soundness import is_whole_there
from ltxcore.errors import BehindReplicaError, LTXFileExistsError
from ltxcore.ltx import HEADER_SIZE, SNAPSHOT_LEVEL, TRAILER_SIZE, TXID, Header, format_filename

if TYPE_CHECKING:
    from pathlib import Path

    from ltxcore import _ltxcore
    from ltxcore.clients import ReplicaClient
    from ltxcore.db._ledger import Ledger
    from ltxcore.db._survey import Survey
    from ltxcore.errors import Error
    from ltxcore.replica._inventory import Key

_ONE_WRITER = (
    "only one process may write to a replica: stop the other one, then use an empty destination here, "
    "or restore the database from the replica; then start again"
)


class Conflicts:
    """The errors about files of other writers, and the first one that is final.

    Args:
        engine: the native database.
        survey: what is known of the replica.
        path: the database file, for messages.
        ledger: which files are known to be ours.
    """

    def __init__(self, engine: _ltxcore.Database, survey: Survey, path: Path, ledger: Ledger) -> None:
        #: The conflict that no retry can end, once there is one.
        self.final: Error | None = None
        self._engine = engine
        self._survey = survey
        self._path = os.fspath(path)
        self._ledger = ledger
        # No TXID above it was ever here, or in the replica when the database was opened.
        self._highest = 0

    def note_position(self, *txids: int) -> None:
        """These TXIDs are ours. The local history may be rolled back below them while it is in use."""
        self._highest = max(self._highest, *txids)

    def behind(self, ahead: Key, local: TXID, why: str = "", hint: str | None = None) -> BehindReplicaError:
        """The error about a file that ends after the local history."""
        return BehindReplicaError(
            f"the replica of {self._path} holds {_name(ahead)}, but the local history ends at {local}{why}",
            op="upload",
            path=self._path,
            level=ahead[0],
            min_txid=TXID(ahead[1]),
            max_txid=TXID(ahead[2]),
            hint=hint or "another process may be writing to the same destination",
        )

    def other_file(self, key: Key, why: str = "", hint: str | None = None) -> LTXFileExistsError:
        """The error about a file that is not the one of ours with this name."""
        level, low, high = key
        return LTXFileExistsError(
            f"the replica of {self._path} has a file of another history: level {level}, {_name(key)}{why}",
            op="upload",
            path=self._path,
            level=level,
            min_txid=TXID(low),
            max_txid=TXID(high),
            hint=hint
            or f"use an empty destination, or delete {place_of(self._survey.client, key)} if it does not belong there",
        )

    def continued(self, ahead: Key, local: TXID, above: TXID, mine: dict[int, int]) -> BehindReplicaError:
        """The error about files that continue what the replica has up to ``above``, where the local history ends.

        Final if one of them follows a file of ours, and no transaction of ours was ever so new.
        """
        for key in self._next_of_others(above):
            common = self._newest_common(key[1] - 1, mine)
            if common is not None and is_whole_there(self._survey.client, key) and not self._is_ours(key):
                both = f"both have TXID {TXID(common[2])}"
                why = f"; {both}, but that file, {self._there(key)}, was not written from here"
                self.final = error = self.behind(key, local, why, _ONE_WRITER)
                return error
        return self.behind(ahead, local)

    def forked(self, key: Key, mine: dict[int, int]) -> LTXFileExistsError:
        """The error about a whole file of level 0 in the place of one of ours.

        Final if a file before it is the same here and there, and we did not write this one ourselves, in an earlier history.
        """
        common = self._newest_common(key[1] - 1, mine)
        if common is None or self._is_ours(key):
            return self.other_file(key)
        both = f"both have TXID {TXID(common[2])}"
        why = f"; {both}, but the file in the replica is {self._there(key)}, and the local one {self._here(key[2])}"
        self.final = error = self.other_file(key, why, _ONE_WRITER)
        return error

    def _newest_common(self, last: int, mine: dict[int, int]) -> Key | None:
        """A file that ends at TXID ``last`` or before and is the very file that we have, or have uploaded.

        After the first file that differs none is the same, so few are read.
        """
        files, marks = self._survey.files, self._ledger.marks()
        known = [
            key
            for key, size in files.sizes.items()
            if key[2] <= last
            and key not in files.damaged
            and (_is_of(key, size, mine) or (key in marks and marks[key].size == size))
        ]
        known.sort(key=lambda key: (key[2], key[0]))
        found = bisect.bisect_left(known, True, key=lambda key: not self._is_same(key, mine))
        return known[found - 1] if found else None

    def _is_same(self, key: Key, mine: dict[int, int]) -> bool:
        size = self._survey.files.sizes[key]
        with contextlib.suppress(FileNotFoundError):
            if _is_of(key, size, mine):
                return end_here(self._engine, key[2]) == end_there(self._survey, key)
        return self._is_ours(key)

    def _is_ours(self, key: Key) -> bool:
        known, _others = self._ledger.check({key: self._survey.files.sizes[key]})
        return bool(known)

    def _next_of_others(self, above: int) -> list[Key]:
        """The files that follow TXID ``above`` and hold transactions that were never here; at most a few of each level.

        A snapshot proves nothing: it has no place in a history but its end.
        """
        files, highest = self._survey.files, max(above, self._highest)
        newer = [
            key
            for key in files.sizes
            if key[0] < SNAPSHOT_LEVEL
            and key[1] <= above + 1
            and key[2] > highest
            and key not in files.damaged
        ]
        return sorted(newer, key=lambda key: (key[1], key[0]))

    def _there(self, key: Key) -> str:
        level, low, high = key
        header = self._survey.client.read_ltx_file(level, TXID(low), TXID(high), size=HEADER_SIZE)
        return _described(header, end_there(self._survey, key))

    def _here(self, txid: int) -> str:
        try:
            with open(self._engine.local_path(TXID(txid)), "rb") as file:
                header = file.read(HEADER_SIZE)
            return _described(header, end_here(self._engine, txid))
        except FileNotFoundError:
            return "was another one, deleted after its upload"


def place_of(client: ReplicaClient, key: Key) -> str:
    """Where a file is below the replica, as far as the client says."""
    folders = client.level_folders
    return f"{_name(key)} of level {key[0]}" if folders is None else f"{folders[key[0]]}/{_name(key)}"


def end_there(survey: Survey, key: Key) -> bytes:
    """The trailer of a file in the replica."""
    level, low, high = key
    at = max(survey.files.sizes[key] - TRAILER_SIZE, 0)
    return survey.client.read_ltx_file(level, TXID(low), TXID(high), offset=at, size=TRAILER_SIZE)


def end_here(engine: _ltxcore.Database, txid: int) -> bytes:
    """The trailer of a local file.

    Raises:
        FileNotFoundError: there is none.
    """
    with open(engine.local_path(TXID(txid)), "rb") as file:
        file.seek(max(os.fstat(file.fileno()).st_size - TRAILER_SIZE, 0))
        return file.read()


def _is_of(key: Key, size: int, mine: dict[int, int]) -> bool:
    """Whether a local file has this name and size."""
    return key[0] == 0 and key[1] == key[2] and mine.get(key[2]) == size


def _described(header: bytes, trailer: bytes) -> str:
    """What tells a file from another one of its name."""
    at = Header.parse(header).timestamp.isoformat(timespec="milliseconds")
    return f"of {at} with checksum {trailer[-8:].hex()}"


def _name(key: Key) -> str:
    return format_filename(key[1], key[2])
