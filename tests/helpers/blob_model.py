"""What a blob store has to hold: a dictionary, the order in which blobs go, and nothing else.

Every operation raises what the store has to raise; a transaction makes all of its changes or none, and evicts at its end.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

from ltxcore.errors import (
    BlobExistsError,
    BlobNameError,
    BlobNotFoundError,
    BlobTooLargeError,
    ChunkGapError,
    SizeMismatchError,
)


@dataclasses.dataclass(frozen=True)
class Blob:
    """`used` and `written` are moments of the model's clock; a rename changes neither."""

    data: bytes
    used: int
    written: int
    hits: int = 0


class Model:
    """The blobs that are committed, and the uses that are only noted yet."""

    def __init__(self) -> None:
        self.blobs: dict[str, Blob] = {}
        self.capacity: int | None = None
        self.policy = "lru"
        #: Uses that the next transaction writes first, the latest last.
        self.noted: dict[str, int] = {}
        self.evicted: list[tuple[str, int]] = []
        self.clock = 0

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    @property
    def total(self) -> int:
        return sum(len(blob.data) for blob in self.blobs.values())

    def key(self, blob: Blob) -> tuple[int, int]:
        """Whatever has the least goes first."""
        return {"lru": (0, blob.used), "fifo": (0, blob.written), "lfu": (blob.hits, blob.used)}[self.policy]

    def order(self) -> list[tuple[str, int, int]]:
        """Names, sizes and hits in the order in which the blobs would go."""
        ordered = sorted(self.blobs.items(), key=lambda entry: self.key(entry[1]))
        return [(name, len(blob.data), blob.hits) for name, blob in ordered]

    # --- transactions ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        begun, before, capacity = self.clock, self.blobs.copy(), self.capacity
        try:
            yield
        except Exception:
            self.blobs, self.capacity = before, capacity
            raise
        self.evict(begun)

    def evict(self, begun: int) -> None:
        """The fewest first ones, so that the rest fits. Under `lfu` what was just written comes after all others."""
        if self.capacity is None:
            return
        names = [name for name, _, _ in self.order()]
        if self.policy == "lfu":
            names.sort(key=lambda name: self.blobs[name].written > begun)
        while self.total > self.capacity:
            name = names.pop(0)
            self.evicted.append((name, len(self.blobs.pop(name).data)))

    def write_uses(self) -> None:
        """Make the uses last that were noted; those of blobs that are gone are nothing."""
        for name, hits in self.noted.items():
            moment = self.tick()
            if name in self.blobs:
                blob = self.blobs[name]
                self.blobs[name] = dataclasses.replace(blob, used=moment, hits=blob.hits + hits)
        self.noted.clear()

    def note(self, name: str) -> None:
        self.noted[name] = self.noted.pop(name, 0) + 1

    # --- what may be done in one -------------------------------------------------------------------------------------

    def find(self, name: str) -> bytes:
        if name not in self.blobs:
            raise BlobNotFoundError
        return self.blobs[name].data

    def refuse_existing(self, name: str) -> None:
        if name in self.blobs:
            raise BlobExistsError

    def refuse_large(self, size: int) -> None:
        if self.capacity is not None and size > self.capacity:
            raise BlobTooLargeError

    def put(self, name: str, data: bytes) -> None:
        self.refuse_large(len(data))
        self.blobs[name] = Blob(data, self.tick(), self.clock)

    def put_new(self, name: str, data: bytes) -> None:
        """What a writer that must not replace does at its end."""
        self.refuse_large(len(data))
        self.refuse_existing(name)
        self.put(name, data)

    def put_sized(self, name: str, data: bytes, size: int) -> None:
        self.refuse_large(size)
        if len(data) != size:
            raise SizeMismatchError
        self.put(name, data)

    def write_at(self, name: str, offset: int, data: bytes) -> None:
        old = self.find(name)
        if offset + len(data) > len(old):
            raise ValueError
        new = old[:offset] + data + old[offset + len(data) :]
        self.blobs[name] = dataclasses.replace(self.blobs[name], data=new, used=self.tick())

    def delete(self, name: str, missing_ok: bool) -> None:
        if self.blobs.pop(name, None) is None and not missing_ok:
            raise BlobNotFoundError

    def rename(self, source: str, target: str, overwrite: bool) -> None:
        self.find(source)
        if source == target:
            return
        if not overwrite:
            self.refuse_existing(target)
        self.blobs[target] = self.blobs.pop(source)

    def below(self, prefix: str) -> list[str]:
        return sorted(name for name in self.blobs if name.startswith(prefix))

    def delete_prefix(self, prefix: str) -> int:
        names = self.below(prefix)
        for name in names:
            del self.blobs[name]
        return len(names)

    def rename_prefix(self, old: str, new: str) -> int:
        moves = {name: new + name[len(old) :] for name in self.below(old)}
        if "" in moves.values():
            raise BlobNameError
        if old != new:
            for target in moves.values():
                if target not in moves:
                    self.refuse_existing(target)
        moved = {target: self.blobs[name] for name, target in moves.items()}
        for name in moves:
            del self.blobs[name]
        self.blobs |= moved
        return len(moves)

    def chunks(self, prefix: str, size: int | None) -> list[str]:
        """Names that go on from one another, which is proved."""
        offsets: dict[int, str] = {}
        for name in self.below(prefix):
            text = name[len(prefix) :]
            if not (text.isascii() and text.isdecimal() and text == str(int(text))):
                raise BlobNameError
            offsets[int(text)] = name
        end = 0
        for offset in sorted(offsets):
            if offset != end:
                raise ChunkGapError
            end += len(self.blobs[offsets[offset]].data)
        if not offsets or (size is not None and end < size):
            raise ChunkGapError
        if size is not None and end > size:
            raise SizeMismatchError
        return [offsets[offset] for offset in sorted(offsets)]

    def compose(self, target: str, prefix: str, size: int | None, delete: bool) -> int:
        names = self.chunks(prefix, size)
        data = b"".join(self.blobs[name].data for name in names)
        self.refuse_large(len(data))
        if target in names:
            raise BlobExistsError
        if delete:
            for name in names:
                del self.blobs[name]
        self.put(target, data)
        return len(data)

    def set_capacity(self, capacity: int | None) -> None:
        self.capacity = capacity
