"""Two replicators of two copies of one database, with one replica in a bucket: whatever they do, one of them ends.

A seed decides what they begin with, and what each of them does in which round. They are processes of their own, and are asked
at the same time, so that their requests meet in the server.
"""

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ltxcore
from ltxcore.clients.s3 import S3Client

from tests.helpers.app import App, digest, reference_digest, row_count
from tests.helpers.process import ChildError, Talker

CONFLICT = {"LTXFileExistsError", "BehindReplicaError"}
#: How the copy of the database came to be. All but the first share a history in the replica.
BEGINNINGS = ("before any upload", "clone", "clone without local files", "restored")
#: What one of them does in a round.
ACTS = ("nothing", "write", "barrier", "barrier", "barrier", "snapshot", "compact")
MOST_ROUNDS, MOST_OPENS = 30, 5
#: How long one answer may take, in seconds: answers that are lost make it long.
PATIENCE = 90.0


class Rival:
    """One database, its application, and the process that replicates it."""

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir(parents=True)
        self.folder, self.url = folder, url
        self.path = folder / "app.db"
        self.talker = Talker("tests.helpers.driver", folder / "log")
        self.app: App | None = None
        #: What has ended it.
        self.defeat: ChildError | None = None

    @property
    def meta(self) -> Path:
        return self.folder / ".app.db-litestream"

    def begin(self, command: str) -> None:
        arguments: dict[str, Any] = {}
        if command == "open":
            arguments = {"path": str(self.path), "url": self.url, "options": {"monitor_interval": 0.02}}
            arguments["of_replica"] = {"sync_interval": 0.02}
        elif command == "compact":
            arguments = {"level": 1}
        self.talker.begin(command, **arguments)

    def end(self, command: str, *, may_fail: bool) -> Any:
        """The answer, or None after a conflict, which is noted; or after an error of the storage that may be."""
        try:
            return self.talker.end(command, PATIENCE)
        except ChildError as error:
            if CONFLICT.intersection(error.kinds):
                self.defeat = error
            elif not (may_fail and "ReplicaError" in error.kinds):
                raise
            return None

    def ask(self, command: str, *, may_fail: bool = False) -> Any:
        self.begin(command)
        return self.end(command, may_fail=may_fail)

    def is_open(self) -> bool:
        try:
            self.talker.ask("ended", timeout=PATIENCE)
        except ChildError as error:
            if "IndexError" in error.kinds:
                return False
            raise
        return True

    def write(self, rows: int) -> None:
        if self.app is None:
            self.app = App(self.path)
        self.app.insert(rows)

    def local_file(self, txid: int) -> bytes | None:
        path = self.meta / "ltx/0" / ltxcore.ltx.format_filename(txid, txid)
        return path.read_bytes() if path.exists() else None

    def close(self) -> None:
        if self.app is not None:
            self.app.close()


class Match:
    """What one seed decides, from the beginning to the end."""

    def __init__(
        self, folder: Path, url: str, client: S3Client, seed: int, lose: Callable[[], None] | None
    ) -> None:
        self.random = random.Random(seed)
        # What has answers lost from the moment on when both begin.
        self.lose, self.loses = lose, lose is not None
        self.folder, self.client = folder, client
        self.beginning = BEGINNINGS[seed % len(BEGINNINGS)]
        self.first, self.second = self.both = Rival(folder / "first", url), Rival(folder / "second", url)
        self.base = 0

    def play(self) -> tuple[Rival, Rival]:
        """The winner and the loser."""
        self._prepare()
        if self.lose is not None:
            self.lose()
        self._open()
        for _ in range(MOST_ROUNDS):
            if any(rival.defeat for rival in self.both):
                break
            self._round([self.random.choice(ACTS) for _ in self.both])
        else:
            self._together(["barrier", "barrier"])
        losers = [rival for rival in self.both if rival.defeat]
        assert losers, f"neither has ended: {self.beginning}"
        assert len(losers) == 1, f"both have ended: {[str(rival.defeat) for rival in losers]}"
        (loser,) = losers
        return (self.second if loser is self.first else self.first), loser

    def _prepare(self) -> None:
        """Both databases, closed, and what both hold in the replica."""
        first, second = self.both
        first.write(self.random.randint(1, 20))
        first.close()
        first.app = None
        if self.beginning != "before any upload":
            first.ask("open")
            self.base = first.ask("barrier")
            first.ask("close")
        if self.beginning == "restored":
            ltxcore.restore(self.client, second.path)
        else:
            shutil.copy(first.path, second.path)
        if self.beginning == "clone":
            shutil.copytree(first.meta, second.meta)

    def _open(self) -> None:
        """Both at once, or one a moment after the other."""
        order = list(self.both)
        self.random.shuffle(order)
        for rival in order:
            rival.begin("open")
            time.sleep(self.random.choice((0, 0, 0.05, 0.5)))
        for rival in order:
            rival.end("open", may_fail=self.loses)
        for rival in order:
            for _ in range(MOST_OPENS):
                if rival.defeat or rival.is_open():
                    break
                # All attempts of its first upload have lost their answers.
                rival.ask("open", may_fail=True)

    def _round(self, acts: list[str]) -> None:
        for rival, act in zip(self.both, acts, strict=True):
            if act != "nothing":
                rival.write(self.random.randint(1, 5))
        self._together(acts)
        time.sleep(self.random.choice((0, 0, 0.02, 0.2)))

    def _together(self, acts: list[str]) -> None:
        asked = [
            (rival, act)
            for rival, act in zip(self.both, acts, strict=True)
            if act not in ("nothing", "write") and not rival.defeat
        ]
        self.random.shuffle(asked)
        for rival, act in asked:
            rival.begin(act)
            time.sleep(self.random.choice((0, 0, 0.005)))
        for rival, act in asked:
            rival.end(act, may_fail=self.loses or act == "compact")

    def check(self, winner: Rival, loser: Rival) -> None:
        """Exactly one has won each TXID, the loser has ended for good, and the replica is what the winner has."""
        self._assert_ended(loser)
        files = self._files_of(winner, loser)
        self._assert_restores(winner)
        winner.write(3)
        loser.write(3)
        txid = winner.ask("barrier")
        assert winner.ask("ended")[0] is False
        winner.ask("snapshot")
        again = self._files_of(winner, loser)
        assert again.items() >= files.items()
        assert max(again) >= txid
        self._assert_restores(winner)
        self._assert_ended(loser)

    def _assert_ended(self, loser: Rival) -> None:
        """It says so by itself; an open that failed has ended anyway.

        Where both began with an empty replica, no file is common to both. Then it uploads nothing, but does not end: the
        replica may have been swapped, and come back.
        """
        assert loser.defeat is not None
        is_final = self.beginning != BEGINNINGS[0]

        def has_ended() -> bool:
            if not loser.is_open():
                return True
            ended, kinds, _message = loser.talker.ask("ended", timeout=PATIENCE)
            return (ended or not is_final) and bool(CONFLICT.intersection(kinds))

        until(has_ended, time.monotonic() + PATIENCE)

    def _files_of(self, winner: Rival, loser: Rival) -> dict[int, bytes]:
        """The files of level 0 that came after the beginning: the winner's, from its first one on.

        Before that there may be files of the loser: a winner that was opened a moment later continues after them.
        """
        found = {}
        for file in self.client.ltx_files(0, seek=ltxcore.TXID(self.base + 1)):
            txid = int(file.max_txid)
            found[txid] = self.client.read_ltx_file(0, file.min_txid, file.max_txid)
            is_winners = winner.local_file(txid) is not None
            expected = (winner if is_winners else loser).local_file(txid)
            assert found[txid] == expected, f"{file.name} is neither's"
            assert is_winners or not any(winner.local_file(each) for each in found), (
                f"{file.name} is the loser's"
            )
        return found

    def _assert_restores(self, winner: Rival) -> None:
        output = self.folder / "restored.db"
        ltxcore.restore(self.client, output, overwrite=True)
        row_count(output)
        assert digest(output) == reference_digest(winner.path, self.folder / "scratch")

    def end(self) -> None:
        for rival in self.both:
            rival.close()
            rival.talker.kill()


def until(condition: Callable[[], bool], deadline: float) -> None:
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
