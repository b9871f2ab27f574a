"""Backups that the real Litestream 0.3.13 writes, restored by us, by itself and by 0.5.17: the same bytes.

Litestream is the measure and not the source: where the application checkpoints at the wrong moment it loses rows, and then they
are not in the backup. Where it lost nothing, the source is compared as well, but for Litestream's own tables, as it writes to
them.
"""

import dataclasses
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, note, settings

from ltxcore.errors import RestoreError

from tests.helpers import litestream03, workload, writer
from tests.helpers.app import reference
from tests.helpers.litestream03 import content
from tests.helpers.process import Child, ChildError, ended
from tests.helpers.profiles import marks, sized
from tests.helpers.s3_servers import S3Server
from tests.helpers.site import Site
from tests.helpers.v03_place import Place, same
from tests.helpers.workload import Setting, Step

pytestmark = [
    pytest.mark.interop,
    pytest.mark.litestream03,
    pytest.mark.process,
    *marks(180, 3600),
]


@dataclasses.dataclass
class Run:
    """One database and what it held at some moments."""

    place: Place
    app: Any
    setting: Setting
    moments: dict[int, str] = dataclasses.field(default_factory=dict)
    can_lose: bool = False

    @property
    def site(self) -> Site:
        return self.place.site

    def sync(self) -> None:
        self.place.replicator.barrier()
        before = self.place.moment()
        self.moments[before] = content(reference(self.site.db, self.site.scratch))

    def begin(self) -> None:
        """Start Litestream, which may begin a generation. Times tell generations apart, so no two begin at the same one."""
        self.place.moment()
        self.place.replicator.start()
        self.place.replicator.barrier()

    def restart(self, how: int) -> None:
        """Litestream is killed or asked to stop; the application works, checkpoints and is restarted meanwhile."""
        self.place.replicator.kill() if how % 2 else self.place.replicator.stop()
        if how % 3:
            self.app.insert(how % 30)
            self.app.checkpoint(workload.MODES[how % 4])
            self.app.reopen()
            self.app.insert(how % 5 + 1)
        self.begin()

    def forget(self) -> None:
        """Its meta directory is removed, so it begins another generation."""
        self.place.replicator.stop()
        shutil.rmtree(self.place.replicator.meta, ignore_errors=True)  # it may have had no time to make it
        self.begin()

    def replace(self, how: int) -> None:
        """Another database takes the place of this one."""
        self.place.replicator.stop()
        self.app.close()
        for path in (self.app.path, self.app.wal, self.app.shm):
            path.unlink(missing_ok=True)
        self.app = self.setting.app(self.site.db)
        self.app.insert(how % 50)
        self.begin()

    def play(self, step: Step) -> None:
        special = {
            "sync": self.sync,
            "restart": lambda: self.restart(step.n),
            "forget": self.forget,
            "replace": lambda: self.replace(step.n),
        }
        self.can_lose = self.can_lose or step.kind in ("checkpoint", "reopen", "restart")
        if step.kind in special:
            special[step.kind]()
        else:
            workload.play(self.app, step)

    def finish(self) -> None:
        self.sync()
        # Otherwise 0.3.13 would refuse the last moment as one that is after its newest object.
        self.app.insert(1)
        self.place.replicator.barrier()
        self.place.replicator.stop()

    def check(self) -> None:
        """The newest state, every moment, and of each generation the newest state and up to three WAL indexes."""
        self.place.agree()
        for moment, expected in self.moments.items():
            try:
                restored = self.place.agree(timestamp=moment)
            except ChildError as error:
                # Between two generations: they have no state for that, though nothing was newer then.
                assert re.search("no matching backups found|timestamp does not exist", str(error))
                restored = self.place.by_us(timestamp=moment)
            assert self.can_lose or content(restored) == expected, f"the source at {moment}"
        for generation in self.place.generations():
            self.place.agree(generation=generation)
            indexes = sorted({int(row["index"]) for row in self.segments(generation)})
            for index in {*indexes[:1], *indexes[len(indexes) // 2 :][:1], *indexes[-1:]}:
                self.place.agree(generation=generation, index=index)

    def segments(self, generation: str) -> list[dict[str, str]]:
        return litestream03.wal(self.place.replicator.config, generation)


def played(site: Site, setting: Setting, events: list[Step], server: S3Server | None = None) -> Run:
    place = Place(site, server)
    run = Run(place, setting.app(site.db), setting)
    try:
        place.replicator.start()
        for event in events:
            run.play(event)
        run.finish()
    finally:
        run.app.close()
    run.check()
    return run


@settings(max_examples=sized(4, 200))
@given(workload.settings, workload.events("sync", "restart", "forget", "replace"))
def test_any_history(setting: Setting, events: list[Step]) -> None:
    """Random work, restarts of everybody, several generations."""
    note(f"{setting} {events}")
    with tempfile.TemporaryDirectory(prefix="ltx-") as directory:
        site = Site(Path(directory))
        try:
            played(site, setting, events)
        finally:
            site.end()


WORK = [
    Step("insert", 30),
    Step("blob", 700),
    Step("sync"),
    Step("update", 3),
    Step("schema", 5),
    Step("sync"),
    Step("forget"),
    Step("insert_many", 400),
    Step("delete", 2),
    Step("vacuum"),
    Step("sync"),
    Step("version", 7),
    Step("rolled_back", 50),
    Step("insert", 11),
]


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_a_history_without_loss(site: Site, page_size: int) -> None:
    """Nobody but Litestream checkpoints, so every moment must also be what the source was; two generations."""
    run = played(site, Setting(page_size=page_size, autocheckpoint=0), WORK)
    assert not run.can_lose
    assert len(run.place.generations()) == 2


def test_a_replaced_database(site: Site) -> None:
    """Another file under the same name, of another page size, and the old states can still be had."""
    run = played(site, Setting(autocheckpoint=0), [*WORK[:3], Step("replace", 40), *WORK[3:6]])
    first, *_ = run.moments
    assert content(run.place.by_us(timestamp=first)) == run.moments[first]


def test_from_s3(site: Site, seaweedfs: S3Server) -> None:
    """The same objects in a bucket, whose times are whole seconds."""
    run = played(site, Setting(autocheckpoint=0), [*WORK[:6], Step("forget"), *WORK[9:11]], seaweedfs)
    assert len(run.place.generations()) == 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(sized(6, 20)))
def test_from_s3_any_history(site: Site, seaweedfs: S3Server, seed: int) -> None:
    """As `test_any_history`, from a bucket."""
    rng = random.Random(seed)
    kinds = [*workload.KINDS, "sync", "sync", "restart", "forget", "replace"]
    events = [
        Step(rng.choice(kinds), rng.randrange(2000), rng.choice(workload.MODES))
        for _ in range(rng.randint(4, 14))
    ]
    setting = Setting(
        rng.choice(workload.PAGE_SIZES), rng.choice(workload.AUTO_VACUUM), rng.choice((0, 20, 1000))
    )
    played(site, setting, events, seaweedfs)


@contextmanager
def writing(site: Site, rate: float = 500) -> Iterator[Child]:
    """An application that commits all the time, in a process of its own."""
    argv = [sys.executable, "-m", "tests.helpers.writer", str(site.db), str(SLOTS), str(rate)]
    with ended(child := Child(argv, site.root / "writer.log")):
        yield child


SLOTS = 500


@pytest.mark.parametrize("kills", [sized(4, 40)])
def test_kill_9_of_both(site: Site, kills: int) -> None:
    """The application and Litestream are killed in turns and together: our restore is always a prefix of the commits."""
    rng = random.Random(kills)
    writer.prepare(site.db, SLOTS)
    place = Place(site)
    done = 0
    for number in range(kills):
        with writing(site) as application:
            place.replicator.start()
            place.replicator.barrier()
            promised = writer.finished(site.db)
            time.sleep(rng.uniform(0, 0.3))
            if number % 3 != 1:
                application.kill()
            place.replicator.kill()
            restored = place.agree()
            found = writer.state(restored, SLOTS)
            assert done <= found
            assert found <= writer.started(site.db)
            done = found
    assert promised > 0


def test_a_time_without_a_state(site: Site) -> None:
    """Before the first snapshot all three refuse; after the newest object we alone have the newest state."""
    place = Place(site)
    early = place.moment()
    with site.app(autocheckpoint=0) as app:
        app.insert(5)
        place.replicator.start()
        place.replicator.barrier()
        place.replicator.stop()
    late = place.moment() + 3_600_000
    for moment, kind in ((early, RestoreError), (late, None)):
        for theirs in (place.by_03, place.by_05):
            with pytest.raises(ChildError):
                theirs(timestamp=moment)
        if kind is not None:
            with pytest.raises(kind):
                place.by_us(timestamp=moment)
        else:
            same(place.by_us(timestamp=moment), place.by_03(), "the newest state")
