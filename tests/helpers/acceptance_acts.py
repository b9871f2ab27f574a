"""The long acceptance run of operators' acts, and how a sequence that shows a fault is made shorter."""

import argparse
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.helpers import acts_base, acts_machine, acts_world, profiles
from tests.helpers.acts_base import TALLY, Broken, Call
from tests.helpers.acts_operator import world
from tests.helpers.acts_processes import Pool
from tests.helpers.tables import table

#: Worlds with the same seed, and acts in each.
WORLDS, STEPS = 20, 40
#: How long a sequence that does not heal is waited for while it is made shorter, in seconds.
SHORT_HEAL = 6.0


def run(arguments: argparse.Namespace) -> bool:
    """Random acts until there are enough of them; each seed ends with the first fault that it finds."""
    profiles.register()
    found: dict[str, Broken] = {}
    began, seed = time.monotonic(), arguments.seed
    try:
        while sum(TALLY.acts.values()) < arguments.steps:
            broken = one_seed(seed, names(arguments.only), names(arguments.without), arguments.layout)
            if broken is not None and kind(broken.problem) not in found:
                shorter = shortened(broken, arguments.shorten)
                found[kind(broken.problem)] = shorter
                print(f"seed {seed}: {broken.problem}\n{shorter.script}\n", flush=True)
            seed += 1
    finally:
        Pool.end()
    show(time.monotonic() - began, list(found.values()))
    return not found


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def one_seed(seed: int, only: list[str], without: list[str], layout: str = "ltx") -> Broken | None:
    """The first fault of some worlds; hypothesis plays that one again, which need not end the same way."""
    import hypothesis
    from hypothesis.stateful import run_state_machine_as_test

    limits = hypothesis.settings(
        max_examples=WORLDS,
        stateful_step_count=STEPS,
        derandomize=False,
        database=None,
        phases=[hypothesis.Phase.generate],
    )
    TALLY.broken.clear()
    try:
        run_state_machine_as_test(
            hypothesis.seed(seed)(acts_machine.machine(only, without, layout)), settings=limits
        )
    except Exception:
        if not TALLY.broken:
            raise  # a fault of the machine itself
    return TALLY.broken[0] if TALLY.broken else None


def kind(problem: str) -> str:
    """The same for faults that differ in numbers only."""
    return re.sub(r"ltx-\w+|[0-9a-f]{16}|\d+", "#", problem)[:60]


def shortened(broken: Broken, seconds: int) -> Broken:
    """Leaves out whatever is not needed for the same fault, as long as there is time."""
    deadline, healing = time.monotonic() + seconds, acts_world.HEAL
    acts_world.HEAL = SHORT_HEAL
    try:
        size = len(broken.calls) // 2
        while size and time.monotonic() < deadline:
            for calls in shorter_by(broken.calls, size):
                again = played(broken.setting, calls) if time.monotonic() < deadline else None
                if again is not None and kind(again.problem)[:20] == kind(broken.problem)[:20]:
                    broken = again
                    break
            else:
                size //= 2
    finally:
        acts_world.HEAL = healing
    return broken


def shorter_by(calls: tuple[Call, ...], size: int) -> Iterator[tuple[Call, ...]]:
    for at in range(len(calls) - size, -1, -size):
        yield calls[:at] + calls[at + size :]


def played(setting: acts_base.Setting, calls: tuple[Call, ...]) -> Broken | None:
    """What becomes of a sequence."""
    TALLY.broken.clear()
    try:
        with world(setting) as made:
            for name, arguments in calls:
                getattr(made, name)(*arguments)
    except Exception:
        if not TALLY.broken:
            raise
        return TALLY.broken[0]
    return None


def show(seconds: float, found: list[Broken]) -> None:
    rows = [
        (name, count, f"{1000 * TALLY.seconds[name] / count:.1f}")
        for name, count in sorted(TALLY.acts.items())
    ]
    table(("act", "times", "ms each"), rows)
    print()
    head = (
        "worlds",
        "acts",
        "promises kept",
        "errors answered",
        "other bytes",
        "slowest s",
        "faults",
        "seconds",
    )
    row = (
        TALLY.worlds,
        sum(TALLY.acts.values()),
        TALLY.kept,
        TALLY.errors,
        TALLY.not_bytes,
        f"{TALLY.slowest:.1f}",
        len(found),
        f"{seconds:.0f}",
    )
    table(head, [row])


Option = tuple[str, int | str]
COMMANDS: dict[str, tuple[Callable[[Any], bool], *tuple[Option, ...]]] = {
    "operator-acts": (
        run,
        ("--steps", 10_000),
        ("--only", ""),
        ("--without", ""),
        ("--shorten", 60),
        ("--layout", "ltx"),
    ),
}
