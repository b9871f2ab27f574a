"""The machine of `history` with a replica in the v0.3 layout, in which a state is named by the time of its newest object."""

import random
from datetime import datetime
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from ltxcore import legacy
from ltxcore._process.times import from_millis, to_millis

from tests.helpers import history, litestream, litestream03
from tests.helpers.app import digest
from tests.helpers.site import assert_same
from tests.helpers.v03_kill9 import assert_contiguous


class History(history.History):
    """Restores to each remembered time, and by the real programs."""

    def made_replicator(self) -> Any:
        made = self.site.replicator(kind="ltxcore-v0.3")
        made.of_replica = {"sync_interval": 0.0}
        return made

    def barrier(self) -> int:
        self.replicator.barrier()
        # Names of directories are listed to the millisecond.
        return to_millis(self.newest())

    def newest(self) -> datetime:
        return legacy.generations(self.site.replica)[-1].updated_at

    @precondition(lambda self: not self.away)
    @rule()
    def snapshot(self) -> None:
        self.replicator.ask("snapshot")

    @precondition(lambda self: not self.away)
    @rule(interval=st.sampled_from((None, 0.01, 0.1)))
    def other_interval(self, interval: float | None) -> None:
        """Snapshots come by themselves from now on, or no more."""
        self.replicator.close()
        self.replicator.of_replica = {"sync_interval": 0.0, "snapshot_interval": interval}
        self.replicator.start()

    def check(self, txid: int) -> None:
        output = self.site.output()
        legacy.restore(self.site.replica, output, timestamp=from_millis(txid))
        assert digest(output) == self.states[txid], f"at {from_millis(txid)}"
        output.unlink()
        history.TALLY.restores += 1

    def check_replica(self) -> int:
        assert_contiguous(self.site.replica)
        reference = self.site.reference()
        for restore in self.programs():
            output = self.site.output()
            restore(self.site.replica, output)
            assert_same(output, reference)
            output.unlink()
        generations = legacy.generations(self.site.replica)
        for generation in generations:
            self.check_index(generation)
        return sum(len(each.segments) for each in generations)

    def programs(self) -> list[Any]:
        """Those that are installed."""
        real = [each.restore for each in (litestream03, litestream) if each.program() is not None]
        return [legacy.restore, *real]

    def check_index(self, generation: legacy.GenerationInfo) -> None:
        """Up to any index, the real 0.3.13 restores what we do."""
        index = random.choice(generation.segments).index if generation.segments else None
        if index is None or litestream03.program() is None:
            return
        outputs = [self.site.output(), self.site.output()]
        legacy.restore(self.site.replica, outputs[0], generation=generation.generation, index=index)
        litestream03.restore(self.site.replica, outputs[1], generation=generation.generation, index=index)
        assert_same(*outputs)
