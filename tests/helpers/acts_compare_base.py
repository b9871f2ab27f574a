"""What an act of `acts_compare` is, and the list of them in the order of their modules."""

import dataclasses
from collections.abc import Callable

from tests.helpers.acts_place import Place
from tests.helpers.acts_subjects import Options

#: Most acts leave the judgement to the caller. Some ask a question of their own, and return the answer.
Do = Callable[[Place], str | None]


@dataclasses.dataclass(frozen=True)
class Act:
    name: str
    do: Do
    options: Options
    layout: str = ""
    #: False if the act leaves no file that could be looked at.
    source_remains: bool = True


ACTS: list[Act] = []


def act(
    name: str, *, layout: str = "", source_remains: bool = True, options: Options | None = None
) -> Callable[[Do], Do]:
    def keep(do: Do) -> Do:
        ACTS.append(Act(name, do, options or Options(), layout, source_remains))
        return do

    return keep
