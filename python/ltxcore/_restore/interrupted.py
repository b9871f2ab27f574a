"""What a restore that did not finish keeps for the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltxcore._ltxcore import partial_path
from ltxcore.errors import Error

if TYPE_CHECKING:
    from pathlib import Path


class Interrupted:
    """A context that tells whoever handles the error of a restore what was kept for the next one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = 0

    def note(self, kept: int) -> None:
        """So many bytes are kept."""
        self._kept = kept

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: object
    ) -> None:
        if error is None or not self._kept:
            return
        partial = partial_path(self._path)
        hint = (
            f"run the same restore again to continue: {self._kept / 1e6:.0f} MB are kept in {partial}; to start over, "
            f"remove it and {partial.name}.state"
        )
        if isinstance(error, Error):
            error.hint = hint if error.hint is None else f"{error.hint}; then {hint}"
        error.add_note(f"hint: {hint}")
