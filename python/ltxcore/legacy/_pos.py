"""A place in a v0.3 history."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ltxcore.errors import FormatError

#: The highest index that a WAL can have.
MAX_INDEX = 0x7FFF_FFFF
_GENERATION = re.compile(r"[0-9a-f]{16}")
_POS = re.compile(r"([0-9a-f]{16})/([0-9a-f]{8}):(0|[1-9][0-9]{0,19})")
_ZERO = "<>"


@dataclass(frozen=True, slots=True, order=True)
class Pos:
    """A place in the WAL files of a generation. Places of one generation are ordered; of two, the order means nothing.

    * ``generation``: 16 lower-case hexadecimal digits, or empty.
    * ``index``: the number of the WAL file, 0 to 0x7FFFFFFF.
    * ``offset``: bytes from its start.

    ``str()`` gives ``generation/index:offset``, the index in 8 hexadecimal and the offset in decimal digits, as Litestream 0.3
    prints it. ``Pos()`` is the position of no history, and is false.
    """

    generation: str = ""
    index: int = 0
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.generation}/{self.index:08x}:{self.offset}" if self else _ZERO

    def __bool__(self) -> bool:
        return bool(self.generation or self.index or self.offset)

    @classmethod
    def parse(cls, text: str) -> Pos:
        """The position that ``str()`` has made this text of.

        Raises:
            FormatError: it is no such text.
        """
        if text == _ZERO:
            return cls()
        found = _POS.fullmatch(text)
        index = int(found[2], 16) if found else 0
        if found is None or index > MAX_INDEX or int(found[3]) >= 1 << 64:
            raise FormatError(
                f"not a position: {text[:80]!r}", hint="a position is like 0123456789abcdef/0000001f:4152"
            )
        return cls(found[1], index, int(found[3]))

    def truncated(self) -> Pos:
        """The start of the WAL file that it is in."""
        return replace(self, offset=0)


def check_generation(generation: str) -> str:
    """The generation itself.

    Raises:
        FormatError: it is not one.
    """
    if _GENERATION.fullmatch(generation) is None:
        raise FormatError(
            f"not a generation: {generation[:80]!r}", hint="a generation is 16 lower-case hexadecimal digits"
        )
    return generation
