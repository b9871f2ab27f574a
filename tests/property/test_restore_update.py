"""A copy that is updated now and then is what a plain restore makes, whatever happened to the replica in between.

Transactions of any pages, databases that shrink and grow, merges into three levels, snapshots, files that are deleted because
they were merged or replaced by a snapshot, and other histories under the same names. Nothing has a checksum of the whole
database. An update reads no more than the shortest way from a file that it may begin at, if nothing was taken back.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

import ltxcore
from ltxcore import Replica
from ltxcore._restore.position import Mark, Sidecars
from ltxcore.errors import RestoreError

from tests.helpers.process import until
from tests.helpers.profiles import marks, sized
from tests.helpers.replicas import Source, content
from tests.unit.memory import Key, MemoryClient, ltx_file, page

pytestmark = marks(120, 3600)

MOST = 12
#: What a file costs beyond its bytes, where ways are compared.
PER_FILE = 32 << 10
pgnos = st.integers(1, MOST)


class Updates(RuleBasedStateMachine):
    """One replica, and copies of it that were brought up to date at different times."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="ltx-")
        self.place = Path(self.directory.name)
        self.client = MemoryClient()
        self.states: dict[int, list[bytes]] = {}
        self.written = 0
        # A history is a number; each copy knows which one it was of.
        self.history = 0
        self.of: dict[str, int] = {}
        self.kept: list[tuple[dict[Key, bytes], dict[int, list[bytes]]]] = []
        self._commit(dict.fromkeys(range(1, 9)), 8)
        self.merge_all({1})

    def teardown(self) -> None:
        self.directory.cleanup()

    @property
    def txid(self) -> int:
        return max(self.states)

    def _commit(self, pages: dict[int, None], commit: int) -> None:
        self.written += 1
        old, txid = self.states[self.txid] if self.states else [], len(self.states) + 1
        # Who grows a database writes all of its new pages, and who changes its size writes the first one.
        grown = dict.fromkeys(range(len(old) + 1, commit + 1))
        resized = {1: None} if commit != len(old) else {}
        written = sorted(pgno for pgno in pages | grown | resized if pgno <= commit)
        content = {pgno: page(self.written % 251) for pgno in written}
        state = old[:commit] + [b""] * (commit - len(old))
        for pgno, body in content.items():
            state[pgno - 1] = body
        self.states[txid] = state
        self.client.files[0, txid, txid] = ltx_file(content, commit=commit, min_txid=txid)

    @rule(pages=st.sets(pgnos, min_size=1, max_size=4))
    def change(self, pages: set[int]) -> None:
        commit = len(self.states[self.txid])
        self._commit(dict.fromkeys(sorted(pgno for pgno in pages if pgno <= commit) or [1]), commit)

    @rule(pages=st.sets(pgnos, max_size=2), commit=pgnos)
    def resize(self, pages: set[int], commit: int) -> None:
        self._commit(dict.fromkeys(sorted(pages)), commit)

    @rule(level=st.integers(1, 3))
    def merge(self, level: int) -> None:
        Replica(self.client).compact(level)

    @rule(pages=st.sets(pgnos, min_size=1, max_size=4))
    def merge_all(self, pages: set[int]) -> None:
        """What a backup then has is still there when another history has begun."""
        self.change(pages)
        self.merge(1)
        self.keep()

    @rule()
    def delete_merged(self) -> None:
        """Of level 0, as time goes by; the newest file stays."""
        merged = max((last for level, _, last in self.client.files if level == 1), default=0)
        self._delete(lambda key: key[0] == 0 and key[2] <= merged and key[2] < self.txid)

    @rule()
    def snapshot(self) -> None:
        pages = dict(enumerate(self.states[self.txid], start=1))
        self.client.files[9, 1, self.txid] = ltx_file(
            pages, commit=len(pages), min_txid=1, max_txid=self.txid
        )

    @rule()
    def delete_replaced(self) -> None:
        """What ends before the newest snapshot, and older snapshots."""
        kept = max((last for level, _, last in self.client.files if level == 9), default=0)
        self._delete(lambda key: key[2] <= kept and key != (9, 1, kept) and key != (0, self.txid, self.txid))

    @rule()
    def keep(self) -> None:
        self.kept.append((dict(self.client.files), dict(self.states)))

    @rule(
        back=st.sampled_from([0, 0, 0, 1, 2]),
        changes=st.lists(st.sets(pgnos, min_size=1, max_size=4), max_size=4),
    )
    def another_history(self, back: int, changes: list[set[int]]) -> None:
        """The operator goes back to a backup of database and replica; what follows has names that were there before."""
        files, states = self.kept[-1 - back % len(self.kept)]
        self.client.files, self.states = dict(files), dict(states)
        self.history += 1
        for pages in changes:
            self.change(pages)

    @rule()
    def update_to_the_newest(self) -> None:
        self.update("a", 0, 4)

    @rule(
        name=st.sampled_from("ab"),
        back=st.sampled_from([0, 0, 1, 3]),
        parallelism=st.sampled_from([1, 4]),
    )
    def update(self, name: str, back: int, parallelism: int) -> None:
        wanted = max(1, self.txid - back)
        target = None if wanted == self.txid else wanted
        whole, copy = self.place / "whole.db", self.place / name
        try:
            ltxcore.restore(self.client, whole, overwrite=True, txid=target)
            plan = ltxcore.restore_plan(self.client, txid=target)
        except RestoreError:
            return
        shortest = self._shortest(copy, wanted)
        result = ltxcore.restore(self.client, copy, update=True, txid=target, parallelism=parallelism)
        assert copy.read_bytes() == whole.read_bytes() == b"".join(self.states[wanted])
        assert result.pos.txid == wanted
        if result.updated:
            event("updated")
            assert result.bytes_read < plan.size
        if self.of.get(name) == self.history and shortest is not None and shortest < plan.size:
            event("had to be updated")
            assert result.updated and result.bytes_read == shortest
        self.of[name] = self.history

    @invariant()
    def nothing_is_left(self) -> None:
        names = {path.name.removesuffix("-ltxcore").removesuffix("-txid") for path in self.place.iterdir()}
        assert names <= {"a", "b", "whole.db"}

    def _delete(self, is_old: Callable[[Key], bool]) -> None:
        for key in [key for key in self.client.files if is_old(key)]:
            del self.client.files[key]

    def _shortest(self, copy: Path, wanted: int) -> int | None:
        """Bytes of the cheapest way to a transaction, from the newest file of those that the copy stands on."""
        known = Sidecars(copy).read()
        if known is None or known.mark is None or known.txid > wanted:
            return None
        there = [mark for mark in (*known.witnesses, known.mark) if self._is_there(mark)]
        if not there:
            return None
        ways: dict[int, tuple[int, int]] = {there[-1].max_txid: (0, 0)}
        for _, first, last in sorted(self.client.files, key=lambda key: (key[2], key[1])):
            for reached in [txid for txid in ways if first <= txid + 1 and txid < last <= wanted]:
                for level in range(10):
                    if (level, first, last) not in self.client.files:
                        continue
                    size = len(self.client.files[level, first, last])
                    cost, read = ways[reached]
                    way = cost + size + PER_FILE, read + size
                    ways[last] = min(ways.get(last, way), way)
        return ways[wanted][1] if wanted in ways else None

    def _is_there(self, mark: Mark) -> bool:
        data = self.client.files.get((mark.level, mark.min_txid, mark.max_txid), b"")
        return len(data) == mark.size and int.from_bytes(data[-8:], "big") == mark.checksum


class SQLiteUpdates(RuleBasedStateMachine):
    """The same with databases that SQLite writes, in files, and with followers and journal modes."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="ltx-")
        self.place = Path(self.directory.name)
        self.source = Source(self.place)
        self.source.move(8)
        self.copy = self.place / "copy.db"
        self.kept: list[tuple[Path, int, list[bytes]]] = []
        self.merge(1)
        self.keep()

    def teardown(self) -> None:
        self.directory.cleanup()

    @rule(rows=st.integers(1, 6))
    def move(self, rows: int) -> None:
        self.source.move(rows)

    @rule(ids=st.sets(st.integers(3, 20), min_size=1, max_size=3), with_page_1=st.booleans())
    def touch(self, ids: set[int], with_page_1: bool) -> None:
        """Few pages. Transactions in WAL mode need not have the first one."""
        for number in sorted(ids):
            self.source.sql(f"UPDATE account SET body = randomblob(300) WHERE id = {number}")
        is_changed = self.source.path.read_bytes()[:512] != self.source.pages[0]
        self.source.commit(without_page_1=is_changed and not with_page_1)

    @rule()
    def shrink(self) -> None:
        self.source.shrink()

    @rule(level=st.integers(1, 3))
    def merge(self, level: int) -> None:
        Replica(self.source.client).compact(level)

    @rule()
    def delete_merged(self) -> None:
        merged = max((file.max_txid for file in self.source.client.ltx_files(1)), default=0)
        old = [file for file in self.source.client.ltx_files(0) if file.max_txid <= merged]
        self.source.client.delete_ltx_files([file for file in old if file.max_txid < self.source.txid])

    @rule()
    def keep(self) -> None:
        kept = self.place / f"kept-{len(self.kept)}"
        shutil.copytree(self.source.replica, kept)
        shutil.copy(self.source.path, kept / "source.db")
        self.kept.append((kept, self.source.txid, self.source.pages))

    @rule(back=st.sampled_from([0, 0, 1]), ids=st.sets(st.integers(3, 20), min_size=1, max_size=3))
    def another_history(self, back: int, ids: set[int]) -> None:
        kept, self.source.txid, self.source.pages = self.kept[-1 - back % len(self.kept)]
        shutil.rmtree(self.source.replica)
        shutil.copytree(kept / "ltx", self.source.replica / "ltx")
        shutil.copy(kept / "source.db", self.source.path)
        self.touch(ids, with_page_1=True)

    @rule(mode=st.sampled_from(["keep", "keep", "delete"]))
    def update(self, mode: Literal["keep", "delete"]) -> None:
        whole = self.place / "whole.db"
        ltxcore.restore(self.source.replica, whole, overwrite=True, journal_mode=mode)
        result = ltxcore.restore(self.source.replica, self.copy, update=True, journal_mode=mode)
        event(f"updated: {result.updated}")
        assert self.copy.read_bytes() == whole.read_bytes()
        shutil.copy(self.copy, whole)
        assert content(whole) == content(self.source.path)

    @rule()
    def follow(self) -> None:
        """For a moment; a copy of another history is replaced."""
        options: dict[str, Any] = {"on_divergence": "restore", "interval": 0.02}
        with ltxcore.follow(self.source.replica, self.copy, **options) as followed:
            followed.wait(self.source.txid, timeout=20)
            # It may be at that transaction of the other history still.
            until(lambda: content(self.copy) == content(self.source.path), what="the content of the replica")


def test_a_copy_is_what_a_restore_makes() -> None:
    limits = settings(max_examples=sized(60, 4000), stateful_step_count=40)
    run_state_machine_as_test(Updates, settings=limits)


def test_a_copy_has_what_sqlite_wrote() -> None:
    limits = settings(max_examples=sized(12, 600), stateful_step_count=25)
    run_state_machine_as_test(SQLiteUpdates, settings=limits)
