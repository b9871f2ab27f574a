"""A machine that does to a blob store whatever can be done to one, and to `blob_model.Model` the same."""

import contextlib
import dataclasses
import io
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ltxcore.blob_store import BlobStore, BlobWriter, Evicted, Options
from ltxcore.blob_store._sql import transaction
from ltxcore.blob_store._writer import space
from ltxcore.errors import BlobStoreError, StoreClosedError

from tests.helpers.blob_model import Model

#: The last but one is not ASCII, and `_` and `%` are what SQL's LIKE would take for something else.
LETTERS = "a/%_\u00e9A"
PREFIXES = ("a/", "\u00e9%", "_")
names = st.one_of(st.text(LETTERS, min_size=1, max_size=2), st.sampled_from(["a/0", "\u00e9%0", "_0"]))
prefixes = st.text(LETTERS, min_size=1, max_size=2)
payloads = st.one_of(st.binary(max_size=12), st.binary(min_size=13, max_size=90))
capacities = st.sampled_from([None, 30, 80, 150, 300])
picks = st.integers(0, 99)
settings = st.fixed_dictionaries(
    {
        "chunk_size": st.sampled_from([16, 7, 64]),
        "batch_max_bytes": st.sampled_from([32, 16, 200]),
        "touch": st.sampled_from(["lazy", "exact", "off"]),
        "journal_mode": st.sampled_from([None, "wal", "delete"]),
        "policy": st.sampled_from([None, "lru", "fifo", "lfu"]),
        "durability": st.sampled_from(["cache", "normal"]),
    }
)
batch_actions = st.one_of(
    st.tuples(st.just("put"), names, payloads),
    st.tuples(st.just("delete"), names),
    st.tuples(st.just("rename"), names, names),
    st.tuples(st.just("compose"), names, st.sampled_from(PREFIXES)),
    st.tuples(st.just("delete_prefix"), prefixes),
)


@dataclasses.dataclass
class Tally:
    """What all machines of a run did together, for the acceptance table."""

    machines: int = 0
    steps: int = 0
    refused: int = 0
    evicted: int = 0
    crashes: int = 0


TALLY = Tally()


class BrokenSourceError(Exception):
    """What a source raises that breaks off."""


class Source:
    """Yields a few bytes at a time, and may raise at its end."""

    def __init__(self, data: bytes, *, breaks: bool) -> None:
        self.file, self.breaks = io.BytesIO(data), breaks

    def read(self, size: int = -1) -> bytes:
        piece = self.file.read(min(size, 5))
        if not piece and self.breaks:
            raise BrokenSourceError
        return piece


@dataclasses.dataclass
class Writing:
    """A blob that is being written over several rules."""

    file: BlobWriter
    name: str
    is_new: bool
    data: bytearray = dataclasses.field(default_factory=bytearray)


def outcome(call: Callable[[], object]) -> object:
    """What it returns, or the type of what it raises."""
    try:
        return call()
    except (BlobStoreError, ValueError, BrokenSourceError) as error:
        return type(error)


class Machine(RuleBasedStateMachine):
    """The rules are in `blob_rules`; here is how both sides are kept and compared."""

    def __init__(self) -> None:
        super().__init__()
        self.room = tempfile.TemporaryDirectory(prefix="ltx-")
        self.model = Model()
        self.now = 1_700_000_000_000
        self.copies = 0
        self.readers: list[tuple[Any, bytes]] = []
        self.writers: list[Writing] = []
        self.patches = contextlib.ExitStack()
        self.patches.enter_context(mock.patch.object(transaction, "now_ms", self.now_ms))
        # So that chunks of a few bytes are taken over as well as written anew, and evictions of a few blobs have steps.
        self.patches.enter_context(mock.patch.object(transaction, "SHORT_PART", 4))
        self.patches.enter_context(mock.patch.object(space, "STEP", 2))
        TALLY.machines += 1

    def now_ms(self) -> int:
        return self.now

    @initialize(setting=settings, capacity=capacities)
    def begin(self, setting: dict[str, Any], capacity: int | None) -> None:
        self.path = Path(self.room.name) / "db"
        self.setting = setting
        self.enter(setting, capacity)

    def enter(self, setting: dict[str, Any], capacity: Any) -> None:
        """Open the store; a lower capacity or another policy takes effect at once."""
        self.gone: list[tuple[str, int]] = []
        self.known = len(self.model.evicted)
        options = Options(touch_interval=3600, busy_timeout=5, **setting)
        self.store = BlobStore(self.path, capacity=capacity, options=options, on_evict=self.on_evict)
        self.witness = BlobStore(self.path, readonly=True)
        with self.model.transaction():
            self.model.policy = setting["policy"] or self.model.policy
            if capacity != "keep":
                self.model.set_capacity(capacity)

    def on_evict(self, blob: Evicted) -> None:
        self.gone.append((blob.name, blob.size))

    def leave(self) -> None:
        """Close the store. What is open is closed with it, and what was evicted has been said."""
        self.witness.close()
        self.store.close()
        assert self.gone == self.model.evicted[self.known :]
        for reader, _ in self.readers:
            assert outcome(lambda raw=reader.raw: raw.read(1)) is StoreClosedError
            reader.close()
        for writing in self.writers:
            writing.file.abort()
        self.readers.clear()
        self.writers.clear()

    # --- both sides --------------------------------------------------------------------------------------------------

    def write(self, call: Callable[[], object], effect: Callable[..., object], *arguments: object) -> object:
        """Do it to both; it comes to the same."""
        before = self.store.stats().batches
        found = outcome(call)
        if self.store.stats().batches > before:
            self.model.write_uses()
        expected = outcome(lambda: self.effect_of(effect, *arguments))
        assert found == expected, f"{effect.__name__}{arguments}: {found}, expected {expected}"
        TALLY.refused += isinstance(expected, type)
        return found

    def effect_of(self, effect: Callable[..., object], *arguments: object) -> object:
        with self.model.transaction():
            return effect(*arguments)

    def read(self, call: Callable[[], object], expected: Callable[[], object], *used: str) -> None:
        """Do it to the store, and note the use if it worked."""
        found, wanted = outcome(call), outcome(expected)
        assert found == wanted, f"{found}, expected {wanted}"
        if not isinstance(found, type) and found is not None and self.setting["touch"] != "off":
            for name in used:
                self.model.note(name)

    def existing(self, pick: int) -> str:
        """A name that is there, but for one in ten."""
        there = sorted(self.model.blobs)
        return there[pick // 10 % len(there)] if there and pick % 10 else "nothing"

    # --- what is always so -------------------------------------------------------------------------------------------

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "store"):
            return
        TALLY.steps += 1
        if self.setting["touch"] == "exact" and self.model.noted:
            self.store.flush()
            self.model.write_uses()
        model = self.model
        blobs = {name: self.witness[name] for name in self.witness}
        assert blobs == {name: blob.data for name, blob in model.blobs.items()}
        rows, order = self.rows(), model.order()
        assert rows == order, f"{rows}, expected {order}"
        usage = self.store.usage()
        assert (usage.payload_bytes, usage.items, usage.capacity) == (
            model.total,
            len(model.blobs),
            model.capacity,
        )
        assert model.capacity is None or usage.payload_bytes <= model.capacity
        assert self.writers or usage.staged_bytes == 0
        assert self.store.stats().evictions == len(model.evicted) - self.known
        for reader, data in self.readers:
            reader.raw.seek(0)
            assert reader.raw.readall() == data

    def rows(self) -> list[tuple[str, int, int]]:
        """Names, sizes and hits in the order in which they would go, with the uses that no row knows of yet."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as c:
            rows = c.execute("SELECT name, size, hits, tick, id FROM item").fetchall()
        placed = self.store._engine.writer.uses.placed
        now = []
        for name, size, hits, tick, item in rows:
            moment, more = placed.get(name, (0, 0))
            key = {"lru": (0, max(tick, moment)), "fifo": (0, item), "lfu": (hits + more, max(tick, moment))}
            now.append((key[self.model.policy], (name, size, hits + more)))
        return [found for _, found in sorted(now)]

    # --- the end of a store ------------------------------------------------------------------------------------------

    @rule(setting=settings, capacity=st.one_of(st.just("keep"), capacities))
    def reopen(self, setting: dict[str, Any], capacity: Any) -> None:
        self.leave()
        self.model.write_uses()
        self.setting = setting
        self.enter(setting, capacity)

    @rule()
    def crash(self) -> None:
        """The files as they are now become another store; uses that were not written yet are forgotten."""
        self.copies += 1
        copy = self.path.with_name(f"copy-{self.copies}")
        for suffix in ("", "-wal"):
            if (source := Path(f"{self.path}{suffix}")).exists():
                # Opening and closing the file here would take SQLite's locks away.
                subprocess.run(["cp", source, f"{copy}{suffix}"], check=True)
        self.leave()
        self.path = copy
        with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as c:
            # The owner of what was being written lives on here; another start time makes it one that is gone.
            fields = [(row[0], row[1].split("\t")) for row in c.execute("SELECT id, owner FROM stage")]
            owners = [("\t".join([pid, "0", *rest]), item) for item, (pid, _, *rest) in fields]
            c.executemany("UPDATE stage SET owner = ? WHERE id = ?", owners)
        self.model.noted.clear()
        self.enter(self.setting, "keep")
        self.forget_uses()
        TALLY.crashes += 1

    def forget_uses(self) -> None:
        """What was read and when is as the file says: uses that no row knew of are gone, and nothing else."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as c:
            rows = c.execute("SELECT name, hits FROM item ORDER BY tick").fetchall()
        assert {name for name, _ in rows} == set(self.model.blobs)
        for name, hits in rows:
            blob = self.model.blobs[name]
            assert hits <= blob.hits
            self.model.blobs[name] = dataclasses.replace(blob, used=self.model.tick(), hits=hits)

    @precondition(lambda self: self.now > 0)
    @rule(step=st.sampled_from([-3_600_000, -1, 1, 60_000]))
    def turn_clock(self, step: int) -> None:
        self.now += step

    def teardown(self) -> None:
        try:
            if hasattr(self, "store"):
                self.finish()
        finally:
            self.patches.close()
            self.room.cleanup()

    def finish(self) -> None:
        for reader, _ in self.readers:
            reader.close()
        self.readers.clear()
        try:
            assert self.store.check().problems == ()
        finally:
            self.leave()
        with contextlib.closing(sqlite3.connect(self.path)) as c:
            assert c.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert c.execute("SELECT count(*) FROM stage").fetchone() == (0,)
        assert not os.path.exists(f"{self.path}-wal") or os.path.getsize(f"{self.path}-wal") == 0
        TALLY.evicted += len(self.model.evicted)
