"""kill -9 of the replicating process under load, again and again, and what must be true after each.

What a finished `wait` promised is in the replica for good; the newest restore is a state the application once had, not
older than the last promise; the chain has no gap; and the restart did not send an image of everything.
"""

import dataclasses
import random
import sys
import time
from typing import Any

from tests.helpers import ltxfile, writer
from tests.helpers.process import Child, ChildError
from tests.helpers.replicators import RestoreRefused
from tests.helpers.site import Site

SLOTS = 20_000


@dataclasses.dataclass(frozen=True)
class Promise:
    """`wait` returned `txid`: it holds `low` commits at least, and `high` at most."""

    txid: int
    low: int
    high: int


@dataclasses.dataclass
class Report:
    kills: int = 0
    promises: int = 0
    full_images: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


class Loop:
    """A writer that never stops, and a replicator that is killed."""

    def __init__(self, site: Site, rng: random.Random, *, rate: float = 1500) -> None:
        self.site, self.rng, self.report = site, rng, Report()
        writer.prepare(site.db, SLOTS)
        argv = [sys.executable, "-m", "tests.helpers.writer", str(site.db), str(SLOTS), str(rate)]
        self.replicator = self.running()
        self.promise = self.barrier()
        self.writer = Child(argv, site.root / "writer.log")

    def running(self) -> Any:
        return self.site.running()

    def newest(self) -> int:
        """What the replica had before a restart."""
        return ltxfile.newest(self.site.replica)

    def barrier(self) -> Promise:
        low = writer.finished(self.site.db)
        txid = int(self.replicator.barrier())
        return Promise(txid, low, writer.started(self.site.db))

    def run(self, times: int) -> Report:
        began = time.monotonic()
        try:
            for _ in range(times):
                self.once()
        finally:
            self.writer.kill()
        self.check("end", lambda: self.at_rest(times))
        self.report.seconds = time.monotonic() - began
        return self.report

    def once(self) -> None:
        """Promises for a random while, a kill at a random moment (also inside a wait), a restart, and the checks."""
        end = time.monotonic() + self.rng.uniform(0.02, 0.5)
        while time.monotonic() < end:
            self.promise = self.barrier()
            self.report.promises += 1
        self.ask_without_waiting()
        self.replicator.kill()
        self.report.kills += 1
        number = self.report.kills
        self.check(f"kill {number}, before the restart", lambda: self.restores(self.promise))
        known = self.newest()
        self.replicator.start()
        self.check(f"kill {number}, restart", lambda: self.after_restart(known))

    def ask_without_waiting(self) -> None:
        """Let the kill also hit a sync in the middle, which our driver can be asked for; Litestream syncs by itself."""
        if hasattr(self.replicator, "ask"):
            self.replicator.running().write_line('{"command": "barrier"}')
        time.sleep(self.rng.uniform(0, 0.02))

    def after_restart(self, known: int) -> None:
        self.promise = self.barrier()
        self.restores(self.promise)
        ltxfile.assert_contiguous(self.site.replica)
        if any(file.holds_every_page for file in ltxfile.after(self.site.replica, known)):
            self.report.full_images += 1

    def restores(self, promise: Promise) -> None:
        """The promised TXID and the newest state."""
        commits = self.commits(txid=promise.txid)
        assert promise.low <= commits <= promise.high, f"{commits} commits at {promise}"
        assert self.commits() >= promise.low, f"the newest restore is older than {promise}"

    def commits(self, **target: Any) -> int:
        output = self.site.restored(**target)
        try:
            return writer.state(output, SLOTS)
        finally:
            output.unlink()

    def at_rest(self, times: int) -> None:
        self.barrier()
        assert self.commits() >= writer.finished(self.site.db)
        self.site.assert_restores()
        self.replicator.stop()
        assert times == self.report.kills

    def check(self, when: str, true: Any) -> None:
        try:
            true()
        except (AssertionError, ChildError, RestoreRefused) as error:
            self.report.problems.append(f"{when}: {(str(error) or repr(error)).splitlines()[0]}")
