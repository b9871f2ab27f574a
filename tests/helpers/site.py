"""A directory with a database, its replica, and the processes that a test starts there."""

import filecmp
from pathlib import Path
from typing import Any

from tests.helpers import replicators
from tests.helpers.app import App, digest, reference


class Site:
    """Everything of one test; `end` stops what it started."""

    def __init__(self, root: Path) -> None:
        self.root, self.db, self.replica, self.scratch = root, root / "db", root / "replica", root / "scratch"
        self.started: list[Any] = []
        self.outputs = 0

    def replicator(self, *, kind: str = replicators.SUBJECT, **options: Any) -> Any:
        """A replicator of this database, not running yet."""
        made = replicators.replicator(self.db, options.pop("replica", self.replica), kind=kind, **options)
        self.started.append(made)
        return made

    def running(self, **options: Any) -> Any:
        made = self.replicator(**options)
        made.start()
        return made

    def app(self, **options: Any) -> App:
        return App(self.db, **options)

    def output(self) -> Path:
        """A path where nothing is yet."""
        self.outputs += 1
        return self.root / f"restored-{self.outputs}"

    def restored(
        self, *, kind: str = replicators.SUBJECT, replica: Path | None = None, **target: Any
    ) -> Path:
        output = self.output()
        replicators.restore(replica or self.replica, output, kind=kind, **target)
        return output

    def reference(self) -> Path:
        """What the database is now, by plain SQLite."""
        return reference(self.db, self.scratch)

    def digest(self) -> str:
        return digest(self.reference())

    def assert_restores(self, *, kind: str = replicators.SUBJECT, **target: Any) -> None:
        """The replica restores to exactly what the database is now."""
        assert_same(self.restored(kind=kind, **target), self.reference())

    def end(self) -> None:
        for made in self.started:
            made.end()


def assert_same(restored: Path, expected: Path) -> None:
    """Byte for byte, with a message that says where."""
    if filecmp.cmp(restored, expected, shallow=False):
        return
    sizes = restored.stat().st_size, expected.stat().st_size
    different = [number + 1 for number, same in enumerate(pages_equal(restored, expected)) if not same]
    raise AssertionError(
        f"{restored.name}: {sizes[0]} bytes, expected {sizes[1]}; 4 KiB blocks {different[:20]} differ"
    )


def pages_equal(left: Path, right: Path, size: int = 4096) -> list[bool]:
    with left.open("rb") as one, right.open("rb") as other:
        return [
            a == b for a, b in zip(iter(lambda: one.read(size), b""), iter(lambda: other.read(size), b""))
        ]
