"""How files join to a history, by names alone, against a few sets and loops: overlaps, holes, short files, stray snapshots."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NoReturn

import pytest

import ltxcore
from ltxcore import TXID, FileInfo, ReplicaClient, _ltxcore
from ltxcore.errors import DivergedError, FormatError, RestoreError, TXIDNotAvailableError
from ltxcore.replica._inventory import MIN_FILE_SIZE

from tests.unit.memory import EPOCH

TOP = 9


class Names(ReplicaClient):
    """Lists files that nobody can read."""

    def __init__(self, files: list[FileInfo]) -> None:
        self.files = files

    def ltx_files(self, level: int, *, seek: Any = 0, use_metadata: bool = False) -> Iterator[FileInfo]:
        return (file for file in self.files if file.level == level and file.min_txid >= seek)

    def _refuse(self, *_args: object, **_options: object) -> NoReturn:
        raise AssertionError("only names are looked at")

    open_ltx_file = write_ltx_file = delete_ltx_files = delete_all = _refuse


def files(pick: random.Random) -> list[FileInfo]:
    """A replica, in any order."""
    made = {}
    top = pick.choice([3, 5, TOP - 1])
    for _ in range(pick.randint(1, 9)):
        level, low = pick.choice([0, 0, 0, 1, 1, 2, 9]), pick.randint(1, top)
        high = low if level == 0 and pick.random() < 0.8 else min(top, low + pick.randint(0, 4))
        if level == 9 and pick.random() < 0.8:
            low = 1
        size = MIN_FILE_SIZE - (pick.random() < 0.1)
        when = EPOCH + timedelta(seconds=pick.choice([high, high, pick.randint(0, TOP)]))
        made[level, low, high] = FileInfo(level, TXID(low), TXID(high), size, when)
    return pick.sample([*made.values()], len(made))


def leads(file: FileInfo, reached: int) -> bool:
    return file.min_txid <= reached + 1 and file.max_txid > reached


class Model:
    def __init__(self, held: list[FileInfo]) -> None:
        self.held = held
        sound = [file for file in held if file.size >= MIN_FILE_SIZE]
        self.increments = [file for file in sound if file.level < 9]
        self.usable = self.increments + [file for file in sound if file.level == 9 and file.min_txid == 1]
        self.times: dict[int, datetime] = {}
        for end in range(1, TOP + 1):
            lower = (0, *self.times)
            at_end = [file for file in self.usable if file.max_txid == end]
            times = [file.created_at for file in at_end if any(leads(file, reached) for reached in lower)]
            if times:
                self.times[end] = min(times)

    def check_plan(self, plan: ltxcore.RestorePlan, wanted: int) -> None:
        reached = 0
        for file in plan.files:
            assert file in self.usable
            assert leads(file, reached)
            assert file.level < 9 or reached == 0
            reached = file.max_txid
        assert reached == wanted == plan.txid

    def is_refused_rightly(self, error: Exception, reached: int, beyond: list[FileInfo]) -> bool:
        """A plan that ends early needs a reason: nothing to begin with, or files beyond that it does not come to."""
        return isinstance(error, RestoreError | FormatError) and (not reached or bool(beyond))


@pytest.fixture(params=range(0, 400, 50))
def seeds(request: pytest.FixtureRequest) -> range:
    return range(request.param, request.param + 50)


def test_names_lead_where_they_say(seeds: range) -> None:
    for seed in seeds:
        check_names(files(random.Random(seed)))


def check_names(held: list[FileInfo]) -> None:
    model, client = Model(held), Names(held)
    rows = [(file.level, file.min_txid, file.max_txid, file.size, 0) for file in held]
    newest = max(model.times, default=0)

    assert {int(point.txid): point.created_at for point in ltxcore.restore_points(client)} == model.times
    assert _ltxcore.reach(rows, []).txid == newest
    covered = {t for file in model.increments for t in range(file.min_txid, file.max_txid + 1)}
    asked = range(1, TOP + 1)
    assert _ltxcore.missing_txids(rows, [*asked]) == [txid for txid in asked if txid not in covered]

    for txid in asked:
        try:
            plan = ltxcore.restore_plan(client, txid=txid)
        except (RestoreError, FormatError) as error:
            assert txid not in model.times
            if isinstance(error, TXIDNotAvailableError):
                assert (error.available or 0) == max((each for each in model.times if each < txid), default=0)
        else:
            model.check_plan(plan, txid)

    for when in (None, *(EPOCH + timedelta(seconds=second) for second in range(TOP + 2))):
        before = [txid for txid, time in model.times.items() if when is None or time < when]
        reached = max(before, default=0)
        beyond = [file for file in held if file.max_txid > reached and (not when or file.created_at < when)]
        try:
            plan = ltxcore.restore_plan(client, timestamp=when)
        except (RestoreError, FormatError) as error:
            assert model.is_refused_rightly(error, reached, beyond)
        else:
            model.check_plan(plan, reached)


def test_a_follower_goes_on_wherever_a_file_leads_on(seeds: range) -> None:
    """One that stood inside a wide file of level 0 was told for ever that there is nothing new."""
    for seed in seeds:
        check_following(files(random.Random(seed)))


def check_following(held: list[FileInfo]) -> None:
    model, client = Model(held), Names(held)
    for position in range(TOP + 1):
        try:
            found = _ltxcore.following(client, position, thorough=True)
        except DivergedError:
            found = []
        reached = position
        for row in found:
            file = next(file for file in held if (file.level, file.min_txid, file.max_txid) == row[:3])
            assert leads(file, reached)
            reached = file.max_txid
        if any(leads(file, position) for file in model.usable):
            assert reached > position
