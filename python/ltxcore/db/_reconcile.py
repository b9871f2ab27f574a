"""Comparing a replica with the local files: what is missing there is sent again, or covered by a snapshot."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

from ltxcore.db._conflict import Conflicts, end_here, end_there, place_of
from ltxcore.db._ledger import Ledger
from ltxcore.db._soundness import LONG_REST, damaged_of, is_whole, is_whole_there, newest_sound
from ltxcore.errors import Error, FormatError, ReplicaError, RestoreError
from ltxcore.ltx import SNAPSHOT_LEVEL, TXID, format_filename
from ltxcore.replica._inventory import Inventory, Key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ltxcore import _ltxcore
    from ltxcore._process.log import Log
    from ltxcore.db._presence import Presence
    from ltxcore.db._survey import Survey

#: After a loss the replica has to stay the same for so long, in seconds.
_REST = 0.2
#: So many bytes of a restore are read to compare files that were not made here.
_MOST_BYTES = 256 << 20
#: It does not get more time for that, in seconds.
_RESTLESS = 10.0


class Reconciler:
    """Brings the replica to hold what the local files hold.

    Args:
        engine: the native database.
        survey: what is known of the replica.
        path: the database file, for messages.
        presence: whether the database file is there.
        ledger: what is known of the files from before this start.
        log: where it is said what was lost.
    """

    def __init__(
        self,
        engine: _ltxcore.Database,
        survey: Survey,
        path: Path,
        presence: Presence,
        ledger: Ledger,
        log: Log,
    ) -> None:
        self._engine = engine
        self._survey = survey
        self._path = path
        self._presence = presence
        self._ledger = ledger
        self._log = log
        self._conflicts = Conflicts(engine, survey, path, ledger)
        # Files that were found to be of another database, with their sizes, and what was known of the database then.
        self._foreign: tuple[dict[Key, int], object] = ({}, None)
        # Files that the local history goes on from as they are, with their sizes.
        self._agreed: dict[Key, int] = {}
        self._adopted = TXID(0)

    @property
    def conflict(self) -> Error | None:
        """What no retry can end: another writer has continued the same history in the replica."""
        return self._conflicts.final

    def adopt(self, txid: TXID) -> None:
        """What the replica holds at ``txid``, where it ends, has been read, and the local history goes on from that."""
        self._adopted = txid

    def run(
        self,
        local: TXID,
        *,
        sent: TXID,
        baseline: TXID,
        snapshot_first: str | None,
        send: Callable[[TXID], bool],
        heal: Callable[[str], None],
        compare: Callable[[TXID], _ltxcore.ChainComparison | None],
        is_abandoned: Callable[[], bool],
    ) -> bool:
        """List the replica, and deal with what is different.

        Args:
            local: the newest position here.
            sent: up to where the replica has had the local files already.
            baseline: where the replica ended when the database was opened.
            snapshot_first: why the replica needs a snapshot before any of the local files, if it does.
            send: uploads the local file of one TXID, unless it is gone or damaged.
            heal: uploads a snapshot, for the reason given.
            compare: how many pages of the replica at a TXID are not those of the database then, and of how many.
            is_abandoned: whether nobody waits for it any more.

        Returns:
            Whether anything was different.

        Raises:
            BehindReplicaError: the replica continues the history of this database, and we have not written that.
            LTXFileExistsError: the replica has another file under one of our TXIDs.
        """
        if not self._look(is_abandoned):
            return False
        files = self._survey.files
        # Whatever the listing shows of ours was made before: the position may have moved on since it was read.
        above = max(self._engine.pos.txid, baseline)
        mine = {file.max_txid: file.size for file in self._engine.local_files() if file.max_txid <= local}
        self._conflicts.note_position(above, local, sent)
        ahead = newest_sound(self._survey.client, files, above)
        if ahead is not None and files.sound_reach() > above:
            raise self._conflicts.continued(ahead, local, above, mine)
        self._find_damaged(mine)
        if self._survey.client.capabilities.is_local:
            self._look_into_chain()
        self._refuse_other_content(mine)
        why = self._compare_unknown(mine, compare) or snapshot_first
        if why is not None:
            heal(why)
        self._send_missing(mine, sent, send)
        reach, obstacle = files.reach()
        if reach < local and files.would_reach(local):
            heal(f"its files lead to {reach} only: {obstacle or 'nothing else is there'}")
        self._survey.settle(
            self._in_the_way(files) if ahead is None else self._conflicts.behind(ahead, local)
        )
        return True

    def _look(self, is_abandoned: Callable[[], bool]) -> bool:
        """List the replica; whether there is anything to be done about it.

        Where files are lost, they may be lost because somebody is deleting them, and whatever is written meanwhile is in the
        way; or the whole storage is away for a moment. So nothing is done before that is over.
        """
        survey = self._survey
        if not survey.look():
            return False
        deadline = time.monotonic() + _RESTLESS
        while survey.expected.keys() - survey.files.sizes.keys():
            seen = survey.files.sizes
            time.sleep(_REST if seen else LONG_REST)
            if self._presence.is_gone() or is_abandoned():
                return False
            survey.look()
            if survey.files.sizes == seen:
                break
            if time.monotonic() >= deadline:
                raise ReplicaError(f"the files in the replica of {self._path} keep changing", op="list")
        return True

    def _in_the_way(self, files: Inventory) -> Error | None:
        """A file that is damaged keeps every restore from the newest state also where it only lies beyond a hole."""
        reach, obstacle = files.reach()
        beyond = [key for key in files.damaged if key[1] > reach]
        if obstacle is None or isinstance(obstacle, FormatError) or not beyond:
            return obstacle
        level, low, high = min(beyond, key=lambda key: key[1])
        name = format_filename(low, high)
        return FormatError(
            f"the replica of {self._path} holds a file that is no part of its history: level {level}, {name}",
            op="list",
            level=level,
            min_txid=TXID(low),
            max_txid=TXID(high),
            hint=f"delete {place_of(self._survey.client, (level, low, high))} from the replica",
        )

    def _find_damaged(self, mine: dict[int, int]) -> None:
        """LTX files never change: one with another size than it had, or than the local one has, is damaged or not ours."""
        files = self._survey.files
        for key, size in files.sizes.items():
            level, low, high = key
            is_mine = level == 0 and low == high and high in mine
            expected = mine[high] if is_mine else self._survey.expected.get(key, size)
            if size == expected or key in files.damaged:
                continue
            if is_mine:
                self._settle_difference(key, mine)
            elif not is_whole_there(self._survey.client, key):
                files.damaged.add(key)
            elif level == 0:
                raise self._conflicts.forked(key, mine)
            elif level < SNAPSHOT_LEVEL:
                raise self._conflicts.other_file(key)

    def _look_into_chain(self) -> None:
        """What the size of a new file should be nobody knows that did not make it: does it begin and end as it should?"""
        files, client, expected = self._survey.files, self._survey.client, self._survey.expected
        new = [key for key in files.chain() if key not in expected and key not in files.damaged]
        files.damaged.update(damaged_of(client, new))

    def _refuse_other_content(self, mine: dict[int, int]) -> None:
        """Compare files that are here and there by their ends: going on from others would break the chain.

        The newest; or at the first look all of them, where that takes no requests.
        """
        files, client = self._survey.files, self._survey.client
        keys = {(0, txid, txid) for txid in mine} & files.sizes.keys() - files.damaged
        if keys and (self._survey.expected or not client.capabilities.is_local):
            keys = {max(keys)}
        for key in sorted(keys):
            if end_here(self._engine, key[2]) != end_there(self._survey, key):
                self._settle_difference(key, mine)

    def _compare_unknown(
        self, mine: dict[int, int], compare: Callable[[TXID], _ltxcore.ChainComparison | None]
    ) -> str | None:
        """Files that were not made here: are they of this database, or of another replica?

        Returns:
            Why the replica needs a snapshot, if it does.
        """
        files = self._survey.files
        keys = itertools.takewhile(lambda key: key not in files.damaged, files.chain())
        chain = {key: files.sizes[key] for key in keys}
        self._note_adopted(chain)
        has_common = self._has_common(mine)
        if has_common:
            self._agreed = {}
        # Without a common file nothing but their pages shows that files of level 0 are of this database.
        is_joined = has_common or not mine
        unknown, replaced = self._unknown(chain, mine) if is_joined else (list(chain), set[Key]())
        if not unknown or chain == self._agreed:
            self._note_known(chain, unknown)
            return None
        status = self._engine.status()
        verdict = (chain, (status.full_syncs, status.diff_syncs))
        if verdict == self._foreign:
            raise self._conflicts.other_file(unknown[0])
        is_too_large = sum(chain.values()) > _MOST_BYTES
        try:
            found = None if is_too_large else compare(TXID(max(key[2] for key in chain)))
        except RestoreError as error:
            return f"its files make no database: {error}"
        if found is None and replaced:
            return "files in it are not those that were there"
        if found is None:
            is_trusted = is_joined or self._is_expected(chain)
            return None if is_trusted else "nothing proves that its files are of this database"
        if found.differing * 2 > found.compared:
            self._foreign = verdict
            raise self._conflicts.other_file(unknown[0])
        if found.differing:
            return f"{found.differing} of {found.compared} pages there are not those of the database"
        self._agreed = {} if is_joined else chain
        self._note_known(chain, unknown)
        return None

    def _note_known(self, chain: dict[Key, int], unknown: list[Key]) -> None:
        if self._survey.client.capabilities.is_local:
            self._ledger.settle(chain, unknown)

    def _note_adopted(self, chain: dict[Key, int]) -> None:
        """A chain that was read for its page checksums is what the local history goes on from."""
        adopted, self._adopted = self._adopted, TXID(0)
        if chain and adopted == max(key[2] for key in chain):
            self._agreed = chain
            if not self._survey.client.capabilities.is_local:
                # One request, so that a later conflict can be proved although nothing was uploaded from here yet.
                newest = max(chain, key=lambda key: key[2])
                self._ledger.settle({newest: chain[newest]}, [newest])

    def _has_common(self, mine: dict[int, int]) -> bool:
        """Whether a local file is in the replica, where it was found to be the same."""
        files = self._survey.files
        return bool({(0, txid, txid) for txid in mine} & files.sizes.keys() - files.damaged)

    def _unknown(self, chain: dict[Key, int], mine: dict[int, int]) -> tuple[list[Key], set[Key]]:
        """Files that are not known to be of this history, and those of them that are others than were there before.

        Only if a restore would read nothing but sound files. Those of level 0 that are here as well were compared.
        """
        files, expected = self._survey.files, self._survey.expected
        if not self._survey.client.capabilities.is_local or len(chain) < len(files.chain()):
            return [], set()
        new = {key: chain[key] for key in chain if key not in expected and (key[0] > 0 or key[2] not in mine)}
        known, replaced = self._ledger.check(new)
        return [key for key in new if key not in known], replaced

    def _is_expected(self, chain: dict[Key, int]) -> bool:
        """Whether these files were there before, and end where all did: others may have merged and deleted some."""
        expected = self._survey.expected
        is_known = all(expected.get(key) == size for key, size in chain.items())
        return is_known and max(key[2] for key in chain) == max(key[2] for key in expected)

    def _settle_difference(self, key: Key, mine: dict[int, int]) -> None:
        """A file is not the local one of its name: which of them is a whole LTX file?"""
        if not self._is_whole_here(key[2]):
            return
        if is_whole_there(self._survey.client, key):
            raise self._conflicts.forked(key, mine)
        self._survey.files.damaged.add(key)

    def _send_missing(self, mine: dict[int, int], sent: TXID, send: Callable[[TXID], bool]) -> None:
        """Send the local files that the replica does not have, and say so if it has had them."""
        files = self._survey.files
        # A snapshot may be ahead of the files that it holds.
        had = max(
            [sent, *(key[2] for key in files.sizes if key[0] < SNAPSHOT_LEVEL and key not in files.damaged)]
        )
        # A damaged file is replaced even if others have its transaction.
        damaged = {TXID(txid) for txid in mine if (0, txid, txid) in files.damaged}
        missing = sorted(damaged.union(files.missing(mine)))
        lost = [txid for txid in missing if txid <= had]
        if lost:
            names = [format_filename(txid, txid) for txid in (lost[0], lost[-1])]
            if len(lost) == 1:
                self._log.warning("replica of %s lost %s, sending it again", self._path, names[0])
            else:
                message = "replica of %s lost %d files, %s to %s, sending them again"
                self._log.warning(message, self._path, len(lost), *names)
        for txid in missing:
            send(txid)

    def _is_whole_here(self, txid: int) -> bool:
        try:
            with open(self._engine.local_path(txid), "rb") as file:
                return is_whole(file, txid, txid)
        except FileNotFoundError:
            return False
