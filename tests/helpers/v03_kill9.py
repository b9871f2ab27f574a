"""kill -9 of a process that replicates in the v0.3 layout, again and again, and what must be true after each.

What a finished `wait` promised is in a restore, by us and by the real programs; each restore is a state that the application
had; no segment is missing or glued to another WAL; and the generation goes on.
"""

import random
from pathlib import Path
from typing import Any

from ltxcore import legacy

from tests.helpers import kill9, litestream, litestream03, writer
from tests.helpers.kill9 import SLOTS, Promise
from tests.helpers.site import Site

#: How often the replica gets a snapshot, in seconds.
SNAPSHOT_INTERVAL = 0.7


class Loop(kill9.Loop):
    """The same, with a replica in the v0.3 layout; full images are new generations."""

    kind = "ltxcore-v0.3"

    def __init__(self, site: Site, rng: random.Random, *, rate: float = 1500) -> None:
        super().__init__(site, rng, rate=rate)
        self.first = self.generation()

    def running(self) -> Any:
        made = self.site.replicator(kind=self.kind)
        made.of_replica = {"sync_interval": 0.0, "snapshot_interval": SNAPSHOT_INTERVAL}
        made.start()
        return made

    def generation(self) -> str:
        return legacy.generations(self.site.replica)[-1].generation

    def newest(self) -> Any:
        return None

    def after_restart(self, _known: Any) -> None:
        self.promise = self.barrier()
        self.restores(self.promise)
        assert_contiguous(self.site.replica)
        if self.generation() != self.first:
            self.first = self.generation()
            self.report.full_images += 1

    def restores(self, promise: Promise) -> None:
        """By us, and in turn by the real programs."""
        for restore in (self.by_us, self.rng.choice((self.by_03, self.by_05))):
            output = self.site.output()
            restore(output)
            commits = writer.state(output, SLOTS)
            output.unlink()
            assert commits >= promise.low, f"{commits} commits of {promise} by {restore.__name__}"
            # Its bytes are written one by one, so one look may see half of a change.
            most = max(writer.started(self.site.db) for _ in range(3))
            assert commits <= most, f"{commits} commits by {restore.__name__}, of {most} that were begun"

    def by_us(self, output: Path) -> None:
        legacy.restore(self.site.replica, output)

    def by_03(self, output: Path) -> None:
        if litestream03.program() is None:
            self.by_us(output)
        else:
            litestream03.restore(self.site.replica, output)

    def by_05(self, output: Path) -> None:
        if litestream.program() is None:
            self.by_us(output)
        else:
            litestream.restore(self.site.replica, output)

    def at_rest(self, times: int) -> None:
        self.barrier()
        for restore in (self.by_us, self.by_03, self.by_05):
            output = self.site.output()
            restore(output)
            assert output.read_bytes() == self.site.reference().read_bytes(), restore.__name__
            output.unlink()
        self.every_time()
        self.replicator.stop()
        assert times == self.report.kills

    def every_time(self) -> None:
        """Up to each of some segments, the state is one that the application had, and never an older one than before."""
        (*_, last) = legacy.generations(self.site.replica)
        times = sorted(each.created_at for each in last.segments)
        before = 0
        for at in sorted(self.rng.sample(times, min(len(times), 8))):
            output = self.site.output()
            legacy.restore(self.site.replica, output, timestamp=at)
            commits = writer.state(output, SLOTS)
            output.unlink()
            assert commits >= before, f"{commits} commits at {at}, {before} before"
            before = commits


def assert_contiguous(replica: Path) -> None:
    """Every snapshot leads to the end of its generation: each WAL begins at its start, and none is left out."""
    for generation in legacy.generations(replica):
        assert generation.snapshots, f"{generation.generation} has no snapshot"
        first, last = generation.snapshots[0].index, generation.snapshots[-1].index
        indexes = [each.index for each in generation.segments if each.index >= first]
        starts = [each.index for each in generation.segments if each.offset == 0]
        # The newest snapshot may have nothing after it yet.
        wanted = list(range(first, max([*indexes, last - 1, first - 1]) + 1))
        assert starts == wanted, f"{generation.generation}: {starts}, not {wanted}"
