"""Real Litestream and we, on the same files: each restores what the other wrote, each goes on where the other stopped.

Random work with everything that moves pages: schema changes, VACUUM, page sizes, auto_vacuum, the application's checkpoints,
rollbacks of spilled transactions, restarts. Compared are bytes, against a copy that plain SQLite checkpointed.
"""

import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, note, settings

from tests.helpers import ltxfile, workload
from tests.helpers.app import App, digest
from tests.helpers.profiles import marks, sized
from tests.helpers.site import Site
from tests.helpers.workload import Setting, Step

pytestmark = [pytest.mark.interop, pytest.mark.process, *marks(180, 3600)]

BOTH = ("ltxcore", "litestream")


@dataclasses.dataclass
class Run:
    """One database, one replica, one writer of replicas at a time, and what each synced TXID held."""

    site: Site
    app: App
    kind: str
    states: dict[int, str] = dataclasses.field(default_factory=dict)
    litestream_lost: bool = False

    def begin(self) -> None:
        self.replicator = self.site.running(kind=self.kind)

    def sync(self) -> None:
        """What the TXID must restore to: the source, or what Litestream itself makes of a TXID that it wrote."""
        txid = int(self.replicator.barrier())
        self.states[txid] = self.site.digest()
        if self.kind == "litestream":
            own = digest(self.site.restored(kind="litestream", txid=txid))
            self.litestream_lost = self.litestream_lost or own != self.states[txid]
            self.states[txid] = own

    def restart(self, how: int) -> None:
        """Killed or asked to stop; two times of three the application works and checkpoints meanwhile."""
        self.replicator.kill() if how % 2 else self.replicator.stop()
        if how % 3:
            self.app.insert(how % 30)
            self.app.checkpoint(workload.MODES[how % 4])
            self.app.insert(how % 5 + 1)
        self.replicator.start()

    def hand_over(self) -> None:
        """The other one takes the same meta directory and replica.

        The application waits for it: what it wrote between the two, and checkpointed, Litestream would never read.
        What Litestream has lost in its own turn, the successor cannot know of either.
        """
        self.sync()
        assume(not self.litestream_lost)
        self.replicator.stop()
        self.kind = BOTH[1 - BOTH.index(self.kind)]
        self.begin()
        self.replicator.barrier()

    def play(self, step: Step) -> None:
        special = {"sync": self.sync, "restart": lambda: self.restart(step.n), "hand_over": self.hand_over}
        if step.kind in special:
            special[step.kind]()
        else:
            workload.play(self.app, step)

    def finish(self) -> None:
        self.sync()
        self.replicator.stop()

    def check(self, reader: str) -> None:
        """The newest state and up to five others, by the given program."""
        txids = sorted(self.states)
        for txid in {*txids[:: max(1, len(txids) // 4)], txids[-1]}:
            assert digest(self.site.restored(kind=reader, txid=txid)) == self.states[txid], f"TXID {txid}"
        assert digest(self.site.restored(kind=reader)) == self.states[txids[-1]], "the newest state"


def played(kind: str, setting: Setting, events: list[Step], *readers: str) -> None:
    note(f"{kind}: {setting} {events}")
    with tempfile.TemporaryDirectory(prefix="ltx-") as directory:
        site = Site(Path(directory))
        try:
            with setting.app(site.db) as app:
                run = Run(site, app, kind)
                run.begin()
                for event in events:
                    run.play(event)
                run.finish()
            ltxfile.assert_contiguous(site.replica)
            for reader in readers:
                run.check(reader)
        finally:
            site.end()


@settings(max_examples=sized(8, 300))
@given(workload.settings, workload.events("sync", "restart"))
def test_litestream_restores_ours(setting: Setting, events: list[Step]) -> None:
    """`litestream restore` of our replica, at the newest and at sampled TXIDs, is byte for byte the source."""
    played("ltxcore", setting, events, "litestream", "ltxcore")


@settings(max_examples=sized(8, 300))
@given(workload.settings, workload.events("sync"))
def test_we_restore_litestreams(setting: Setting, events: list[Step]) -> None:
    """`ltxcore.restore` of Litestream's replica gives the bytes that Litestream's own restore gives.

    Not those of the source: when the application checkpoints at the wrong moment, Litestream loses rows even while it runs
    (it holds read-lock slot 0, so the next commit restarts the WAL before it has looked), and then nobody can restore them.
    """
    played("litestream", setting, events, "ltxcore", "litestream")


@settings(max_examples=sized(6, 150))
@given(workload.settings, workload.events("sync", "hand_over"))
def test_each_goes_on_where_the_other_stopped(setting: Setting, events: list[Step]) -> None:
    """Turns on one meta directory and one replica; no gap, and both restore every state at the end.

    The application does not checkpoint: while Litestream is at work after somebody else was, it misses frames when the WAL is
    begun anew.
    """
    setting = dataclasses.replace(setting, autocheckpoint=0)
    events = [event for event in events if event.kind != "checkpoint"]
    played("ltxcore", setting, [*events, Step("hand_over"), Step("insert", 5)], "litestream", "ltxcore")


@pytest.mark.parametrize("first", BOTH)
def test_taking_over_sends_no_full_image(site: Site, first: str) -> None:
    """The WAL was not touched between the two, so the successor's first file holds what changed and no more.

    Where we have rested, the WAL is in the database and the application begins it anew; Litestream then sends every page.
    """
    replicator = site.replicator(kind=first)
    with site.app(autocheckpoint=0) as app:
        app.insert(300, size=3000)
        replicator.start()
        app.insert(1)
        replicator.barrier()
        replicator.stop()
        known = ltxfile.newest(site.replica)
        successor = site.running(kind=BOTH[1 - BOTH.index(first)])
        app.insert(3)
        successor.barrier()
        sent = ltxfile.after(site.replica, known)
        assert sent
        if first == "litestream":
            assert not any(file.holds_every_page for file in sent)
        for reader in BOTH:
            site.assert_restores(kind=reader)


@pytest.mark.parametrize("first", BOTH)
def test_taking_over_without_the_meta_directory(site: Site, first: str) -> None:
    """The successor has only the replica: it goes on above the highest TXID there, with a file that holds every page."""
    replicator = site.replicator(kind=first)
    with site.app() as app:
        app.insert(300, size=300)
        replicator.start()
        known, before = replicator.barrier(), site.digest()
        replicator.stop()
        for path in sorted(replicator.meta.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        app.insert(20)
        successor = site.running(kind=BOTH[1 - BOTH.index(first)])
        assert successor.barrier() > known
        for reader in BOTH:
            site.assert_restores(kind=reader)
            assert digest(site.restored(kind=reader, txid=known)) == before
    ltxfile.assert_contiguous(site.replica)


def test_litestream_restores_our_compacted_levels(site: Site) -> None:
    """L1, L2 and a snapshot of ours, and L0 gone: Litestream restores what is left, also after a VACUUM that shrank it."""
    replicator = site.running(kind="ltxcore")
    with site.app() as app:
        for number in range(12):
            app.insert(30, size=500)
            if number == 7:
                app.execute("DELETE FROM entry WHERE id > 50")
                app.execute("VACUUM")
            replicator.barrier()
            if number % 3 == 2:
                assert replicator.ask("compact", level=1)
            if number == 8:
                assert replicator.ask("compact", level=2)
        for reader in BOTH:
            site.assert_restores(kind=reader)
        for path in ltxfile.names(site.replica, 0)[:-1]:
            path.unlink()
        for reader in BOTH:
            site.assert_restores(kind=reader)
        replicator.ask("snapshot")
        for level in (0, 1, 2):
            for path in ltxfile.names(site.replica, level):
                path.unlink()
        for reader in BOTH:
            site.assert_restores(kind=reader)


def test_litestream_restores_a_changed_page_size(site: Site) -> None:
    """The page size changed while we were stopped: Litestream restores the newest state of our replica all the same."""
    replicator = site.running(kind="ltxcore")
    with site.app() as app:
        app.insert(200)
        replicator.barrier()
        replicator.stop()
        app.execute("PRAGMA journal_mode = delete")
        app.execute("PRAGMA page_size = 8192")
        app.execute("VACUUM")
        app.execute("PRAGMA journal_mode = wal")
        app.insert(40)
        replicator.start()
        replicator.barrier()
        for reader in BOTH:
            site.assert_restores(kind=reader)


def test_once_on_the_command_line(site: Site) -> None:
    """`ltxcore replicate DB URL --once` and `ltxcore restore URL -o OUT`, and Litestream's restore beside it."""
    command = [sys.executable, "-m", "ltxcore"]
    with site.app() as app:
        app.insert(100)
        for _ in range(3):
            app.insert(10)
            subprocess.run(
                [*command, "replicate", site.db, f"file://{site.replica}", "--once"], check=True, timeout=30
            )
        expected = site.digest()
    output = site.output()
    subprocess.run([*command, "restore", f"file://{site.replica}", "-o", output], check=True, timeout=30)
    assert digest(output) == expected == digest(site.restored(kind="litestream"))
