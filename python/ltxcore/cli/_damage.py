"""How commands show what is wrong with a history of Litestream 0.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltxcore.cli._output import counted, format_time, note

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ltxcore.legacy import Damage


def note_damages(damages: Iterable[Damage], what: str) -> None:
    """Say which files are damaged or missing, and what of the states that need them: ``what``."""
    for each in damages:
        states = ""
        if each.first is not None and each.last is not None:
            times = f"{format_time(each.first)} to {format_time(each.last)}"
            states = f"; {counted(each.states, 'state')} {what}, from {times}"
        note(f"{each.path}: {each.reason}{states}")


def damage_row(each: Damage) -> dict[str, Any]:
    """One damage as JSON."""
    return {
        "path": each.path,
        "reason": each.reason,
        "states": each.states,
        "first": None if each.first is None else format_time(each.first),
        "last": None if each.last is None else format_time(each.last),
    }
