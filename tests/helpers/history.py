"""A machine that works on a database, syncs now and then, and remembers; any remembered TXID must restore to what was."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.helpers import ltxfile, replicators, workload
from tests.helpers.app import digest
from tests.helpers.process import Child
from tests.helpers.site import Site


@dataclasses.dataclass
class Tally:
    """What all machines of a run did together, for the acceptance table."""

    histories: int = 0
    transactions: int = 0
    restores: int = 0


TALLY = Tally()


class Drivers:
    """Driver processes outlive a history: starting an interpreter takes longer than most histories do."""

    idle: list[Child] = []

    @classmethod
    def lend(cls, replicator: Any) -> None:
        if replicators.SUBJECT == "ltxcore":
            replicator.process = cls.idle.pop() if cls.idle else None

    @classmethod
    def take_back(cls, replicator: Any) -> None:
        if replicators.SUBJECT == "ltxcore" and replicator.process.alive():
            cls.idle.append(replicator.process)
            replicator.process = None

    @classmethod
    def end(cls) -> None:
        while cls.idle:
            cls.idle.pop().kill()


class History(RuleBasedStateMachine):
    """Every rule is one thing that an application, or a power switch, may do."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="ltx-")
        self.site = Site(Path(self.directory.name))
        self.states: dict[int, str] = {}
        self.away = False
        TALLY.histories += 1

    @initialize(setting=workload.settings)
    def begin(self, setting: workload.Setting) -> None:
        self.app = setting.app(self.site.db)
        self.replicator = self.made_replicator()
        Drivers.lend(self.replicator)
        self.replicator.start()

    def made_replicator(self) -> Any:
        return self.site.replicator()

    @rule(step=workload.steps)
    def work(self, step: workload.Step) -> None:
        workload.play(self.app, step)

    @precondition(lambda self: not self.away)
    @rule()
    def sync(self) -> None:
        txid = self.barrier()
        known = self.states.setdefault(txid, self.site.digest())
        assert known == self.site.digest(), f"TXID {txid} was said to hold two different states"

    def barrier(self) -> int:
        """All is in the replica; what names the state there."""
        return int(self.replicator.barrier())

    @precondition(lambda self: not self.away)
    @rule(how=st.sampled_from(("close", "kill", "stop")))
    def leave(self, how: str) -> None:
        """The replicator goes; the application works on."""
        getattr(self.replicator, how)()
        self.away = True

    @precondition(lambda self: self.away)
    @rule()
    def come_back(self) -> None:
        self.replicator.start()
        self.away = False

    @precondition(lambda self: not self.away)
    @rule(
        how=st.sampled_from(("close", "kill", "stop")),
        before=st.integers(0, 60),
        modes=st.lists(st.sampled_from(workload.MODES), max_size=2),
        after=st.integers(0, 20),
    )
    def gap(self, how: str, before: int, modes: list[str], after: int) -> None:
        """A short absence in one rule: the single steps seldom fall into the order that matters."""
        self.sync()
        getattr(self.replicator, how)()
        self.app.insert(before)
        for mode in modes:
            self.app.checkpoint(mode)
        self.app.insert(after)
        self.replicator.start()
        self.sync()

    @precondition(lambda self: self.states)
    @rule(pick=st.integers(0, 1000))
    def restore(self, pick: int) -> None:
        """A number, not a TXID, is drawn: how many there are depends on the moments at which the replicator looked."""
        self.check(sorted(self.states)[pick % len(self.states)])

    def check(self, txid: int) -> None:
        output = self.site.restored(txid=txid)
        assert digest(output) == self.states[txid], f"TXID {txid}"
        output.unlink()
        TALLY.restores += 1

    def teardown(self) -> None:
        """The end of every history: all that was remembered, and the newest state."""
        try:
            if hasattr(self, "replicator"):
                self.finish()
        finally:
            if hasattr(self, "app"):
                self.app.close()
            self.site.end()
            self.directory.cleanup()

    def finish(self) -> None:
        if self.away:
            self.come_back()
        self.sync()
        for txid in self.states:
            self.check(txid)
        TALLY.transactions += self.check_replica()
        self.replicator.close()
        Drivers.take_back(self.replicator)

    def check_replica(self) -> int:
        """The newest state, and the files; how many transactions there are."""
        self.site.assert_restores()
        ltxfile.assert_contiguous(self.site.replica)
        return ltxfile.newest(self.site.replica)
