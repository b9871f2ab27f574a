"""What every act is made of: it writes itself down, so that a failure comes with a program that leads there."""

import contextlib
import dataclasses
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any


class Fault(AssertionError):
    """The promise was broken."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a world is born with."""

    page_size: int = 4096
    auto_vacuum: str = "NONE"
    autocheckpoint: int = 1000
    asks_for_wal: bool = True  # the application itself, each time that it connects
    sync_interval: float = 0.0
    monitor_interval: float = 0.02
    l0_retention: float = 300.0
    min_checkpoint_page_n: int = 1000
    clock: bool = False  # the replicator's time of day can be moved
    layout: str = "ltx"  # of the replica

    def __repr__(self) -> str:
        """Only what is not usual."""
        given = ((field.name, getattr(self, field.name), field.default) for field in dataclasses.fields(self))
        return f"Setting({', '.join(f'{name}={value!r}' for name, value, usual in given if value != usual)})"


#: The name of an act, and what it was called with.
Call = tuple[str, tuple[Any, ...]]


@dataclasses.dataclass(frozen=True)
class Broken:
    """What went wrong, and everything that had been done until then."""

    problem: str
    setting: Setting
    calls: tuple[Call, ...]

    @property
    def script(self) -> str:
        """The same as a program."""
        calls = [f"    w.{name}({', '.join(map(repr, arguments))})" for name, arguments in self.calls]
        head = [
            "from tests.helpers.acts_operator import world",
            "from tests.helpers.acts_base import Setting",
            "",
        ]
        return "\n".join([*head, f"with world({self.setting!r}) as w:", *calls])


@dataclasses.dataclass
class Tally:
    """What all worlds of a run did together."""

    worlds: int = 0
    acts: Counter[str] = dataclasses.field(default_factory=Counter)
    seconds: Counter[str] = dataclasses.field(default_factory=Counter)
    kept: int = 0  # promises that a restore has shown to be true
    errors: int = 0  # answered while something had been disturbed
    not_bytes: int = 0  # restores with the same content, but not the same bytes
    slowest: float = 0.0  # from an act to the first promise after it
    broken: list["Broken"] = dataclasses.field(default_factory=list)


TALLY = Tally()


def act(when: Callable[[Any], bool] = lambda _world: True) -> Callable[..., Any]:
    """Writes the call down and plays it, if `when` says that it is possible now."""

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def played(world: "Recorded", *arguments: Any) -> Any:
            if world.playing:
                return method(world, *arguments) if when(world) else None
            world.script.append((method.__name__, arguments))
            if not when(world):
                return None
            with world.played(method.__name__):
                return method(world, *arguments)

        played.when = when  # type: ignore[attr-defined]
        return played

    return decorate


class Recorded:
    """Keeps the script."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.script: list[Call] = []
        self.playing = self.failed = False

    def log(self) -> str:
        """What the processes said, for a failure's message."""
        return ""

    @contextlib.contextmanager
    def played(self, name: str) -> Iterator[None]:
        """Whatever goes wrong inside comes with the script that leads there."""
        began = time.monotonic()
        self.playing = True
        try:
            yield
        except Exception as error:
            self.failed = True
            broken = Broken((str(error) or repr(error)).splitlines()[0], self.setting, tuple(self.script))
            TALLY.broken.append(broken)
            error.add_note(broken.script)
            error.add_note(self.log())
            raise
        finally:
            self.playing = False
            TALLY.acts[name] += 1
            TALLY.seconds[name] += time.monotonic() - began
