"""A hypothesis machine that plays random acts in a world of its own; `machine` makes one of all acts, or of some."""

import dataclasses
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.helpers import acts_model
from tests.helpers.acts_base import Setting
from tests.helpers.acts_operator import Operator
from tests.helpers.acts_processes import FAKETIME

numbers = st.integers(0, 200)
picks = st.integers(0, 5)
modes = st.sampled_from(("PASSIVE", "FULL", "RESTART", "TRUNCATE"))
pauses = st.sampled_from((0.0, 0.02, 0.2))
#: Until every connection to the old file has let go, a wal-index that stays tells the next one the size of the old database: so
#: it is in SQLite itself, beside any other connection. To start an application takes longer than that.
starts = st.sampled_from((0.2, 0.5))
hows = st.sampled_from(("cp", "mv"))
forms = st.sampled_from(("delete", "wal"))
sizes = st.sampled_from((0, 100, 600))

settings_of_worlds = st.builds(
    Setting,
    page_size=st.sampled_from((4096, 1024, 512)),
    auto_vacuum=st.sampled_from(("NONE", "NONE", "FULL", "INCREMENTAL")),
    autocheckpoint=st.sampled_from((1000, 0, 20)),
    asks_for_wal=st.booleans(),
    sync_interval=st.sampled_from((0.0, 0.0, 3600.0)),
    monitor_interval=st.sampled_from((0.01, 0.05)),
    l0_retention=st.sampled_from((300.0, 300.0, 0.0)),
    min_checkpoint_page_n=st.sampled_from((1000, 50)),
    clock=st.sampled_from((False, False, False, bool(FAKETIME))),
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """An act, what it is called with, and how often it is a choice."""

    act: str
    arguments: tuple[st.SearchStrategy[Any], ...] = ()
    weight: int = 1


RULES = (
    Rule("commit", (st.sampled_from(sorted(acts_model.KINDS)), numbers), 3),
    Rule("commit", (st.sampled_from(("touch", "insert")), numbers), 3),
    Rule("begin", (st.sampled_from(("many", "update", "blob")), numbers)),
    Rule("finish_transaction", (st.sampled_from(("COMMIT", "COMMIT", "ROLLBACK")),)),
    Rule("checkpoint", (modes,), 2),
    Rule("vacuum"),
    Rule("repage", (st.sampled_from((512, 1024, 4096)),)),
    Rule("read", (st.booleans(),)),
    Rule("close_app"),
    Rule("kill_app"),
    Rule("start", weight=4),
    Rule("wait", weight=4),
    Rule("sync"),
    Rule("close"),
    Rule(
        "kill",
        (
            st.sampled_from(("", "wait", "sync", "snapshot", "compact", "close")),
            st.sampled_from((0.0, 0.002, 0.01)),
        ),
    ),
    Rule("snapshot"),
    Rule("compact", (st.just(1),)),
    Rule("checkpoint_replicator", (modes,)),
    Rule("restore"),
    Rule("rest", (pauses,)),
    Rule("save", weight=2),
    Rule("put_backup", (picks, hows, st.sampled_from(("both", "wal")), forms, pauses)),
    Rule("put_backup_over_idle", (picks, hows, st.sampled_from(("none", "shm")), forms, starts)),
    Rule("put_backup_only", (picks, hows, forms, starts)),
    Rule("remove_sidecars", (st.sampled_from(("both", "wal", "shm")), pauses)),
    Rule("remove_shm_under_app", (pauses,)),
    Rule("put_back_volume", (picks, st.booleans()), 2),
    Rule("put_back_pair", (picks, st.sampled_from(("wal first", "database first")), pauses)),
    Rule("begin_anew", (pauses,)),
    Rule("remove_meta", (pauses,)),
    Rule("put_back_meta", (picks, st.booleans(), pauses), 2),
    Rule("lose_local_file", (picks, pauses)),
    Rule("cut_local_file", (picks, sizes, pauses)),
    Rule("lose_replica_file", (picks, pauses)),
    Rule("cut_replica_file", (picks, sizes, pauses)),
    Rule("empty_replica", (st.booleans(), pauses)),
    Rule("put_back_replica", (picks, pauses)),
    Rule("add_stray_file", (st.sampled_from((0, 1, 1, 7)), st.sampled_from((0, 300)), pauses)),
    Rule("fork", (st.sampled_from(("sleep", "exit", "use")),)),
    Rule("set_clock", (st.sampled_from(("+0", "+1d", "-1d", "-3600", "+400")),)),
    Rule("litestream", (st.booleans(), numbers, modes), 3),
)
ACTS = frozenset(each.act for each in RULES)
#: What can be done only to a replica that holds LTX files.
OF_LTX = frozenset({"compact", "add_stray_file", "litestream"})
#: What every world has; of the other acts each has a few.
ALWAYS = frozenset({"commit", "checkpoint", "start", "wait", "kill", "close", "save"})


class Machine(RuleBasedStateMachine):
    """One world; `machine` adds the rules, and says which acts there are."""

    wanted: frozenset[str] = ACTS
    layout = "ltx"

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="ltx-")
        self.world: Operator | None = None
        self.chosen: frozenset[str] = frozenset()

    @initialize(
        chosen=st.frozensets(st.integers(0, 99), min_size=2, max_size=9),
        setting=settings_of_worlds,
        rows=st.integers(0, 6),
        starts=st.booleans(),
    )
    def begin(self, chosen: frozenset[int], setting: Setting, rows: int, starts: bool) -> None:
        others = sorted(self.wanted - ALWAYS) or [""]
        self.chosen = (ALWAYS & self.wanted) | {others[n % len(others)] for n in chosen}
        setting = dataclasses.replace(setting, layout=self.layout)
        self.world = Operator(Path(self.directory.name), setting)
        for n in range(rows):
            self.world.commit("many", 20 + n)
        if starts:
            self.world.start()

    def teardown(self) -> None:
        try:
            if self.world is not None and not self.world.failed:
                self.world.finish()
        finally:
            if self.world is not None:
                self.world.end()
            self.directory.cleanup()


def machine(only: Collection[str] = (), without: Collection[str] = (), layout: str = "ltx") -> type[Machine]:
    """A machine with all acts, or with some; `ALWAYS` is among them unless it is named in `without`."""
    unknown = {*only, *without} - ACTS
    assert not unknown, f"no such acts: {sorted(unknown)}"
    wanted = ((frozenset(only) or ACTS) | ALWAYS) - set(without)
    if layout != "ltx":
        wanted -= OF_LTX
    rules = [_rule(each) for each in RULES if each.act in wanted for _ in range(each.weight)]
    return type(
        "OperatorActs",
        (Machine,),
        {"wanted": wanted, "layout": layout} | {f"rule_{n}": each for n, each in enumerate(rules)},
    )


def _rule(each: Rule) -> Callable[..., Any]:
    # All have one name, which keeps hypothesis from switching off some of them by itself: it might be all commits.
    def play(self: Machine, arguments: tuple[Any, ...]) -> None:
        getattr(self.world, each.act)(*arguments)

    def possible(self: Machine) -> bool:
        if self.world is None or each.act not in self.chosen:
            return False
        return bool(getattr(Operator, each.act).when(self.world))

    return precondition(possible)(rule(arguments=st.tuples(*each.arguments))(play))
