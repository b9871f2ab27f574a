"""What all exceptions of ltxcore have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ltxcore.ltx import TXID


class Error(Exception):
    """Base of everything that ltxcore raises on its own account.

    Attributes, each ``None`` where it does not apply:

    * ``op``: what was being done, one word (``"open"``, ``"write"``, ``"restore"``).
    * ``path``: the file or database concerned.
    * ``level``, ``min_txid``, ``max_txid``: the LTX file concerned.
    * ``hint``: what can be done about it. It is shown below the traceback as a note.
    * ``transient``: whether the same request may succeed when it is made again. ``None``: not known; the class decides.
    """

    __module__ = "ltxcore.errors"

    #: A subclass may set it for all of its errors.
    transient: bool | None = None

    def __init__(
        self,
        message: str = "",
        *,
        op: str | None = None,
        path: str | None = None,
        level: int | None = None,
        min_txid: TXID | None = None,
        max_txid: TXID | None = None,
        hint: str | None = None,
        transient: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.op = op
        self.path = path
        self.level = level
        self.min_txid = min_txid
        self.max_txid = max_txid
        self.hint = hint
        if transient is not None:
            self.transient = transient
        if hint is not None:
            self.add_note(f"hint: {hint}")
