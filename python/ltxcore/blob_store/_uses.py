"""Which blobs were read, until that is written down."""

from __future__ import annotations


class Uses:
    """Names, and how often each was read; the latest last."""

    def __init__(self) -> None:
        self.noted: dict[str, int] = {}

    def take(self) -> dict[str, int]:
        """All of them, once."""
        taken, self.noted = self.noted, {}
        return taken

    def give_back(self, uses: dict[str, int]) -> None:
        """As if they had never been taken."""
        for name, hits in list(self.noted.items()):
            uses[name] = uses.pop(name, 0) + hits
        self.noted = uses
