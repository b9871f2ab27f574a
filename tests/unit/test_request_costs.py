"""How requests are counted, and what they are said to cost."""

from collections import Counter
from pathlib import Path

import pytest

from ltxcore import DB
from ltxcore.replica._costs import RequestMeter, RequestPrices, price, request_costs

from tests.helpers.stores import CountingStore
from tests.unit.databases import insert
from tests.unit.test_request_limit import Clock


def test_prices_are_those_of_s3() -> None:
    assert (
        price({"PutObject": 1000}) == price({"ListObjectsV2": 1000}) == price({"UploadPart": 1000}) == 0.005
    )
    assert price({"GetObject": 1000}) == price({"HeadObject": 1000}) == 0.0004
    assert price({"DeleteObjects": 1000, "DeleteObject": 7, "AbortMultipartUpload": 1}) == 0
    assert price({"PutObject": 2000, "GetObject": 10_000}) == pytest.approx(0.014)
    assert price({"PutObject": 1000, "GetObject": 1000}, RequestPrices(writes=1, reads=2)) == 3
    assert price({}) == 0


def test_a_day_and_a_month_at_one_rate() -> None:
    costs = request_costs({"PutObject": 100}, {"PutObject": 60}, 3600)
    assert (costs.requests, costs.per_hour) == ({"PutObject": 100}, 60)
    assert costs.per_day == pytest.approx(24 * 60 * 0.005 / 1000)
    assert costs.per_month == pytest.approx(30 * 24 * 60 * 0.005 / 1000)
    early = request_costs({"PutObject": 5}, {"PutObject": 5}, 59)
    assert (early.per_hour, early.per_day, early.per_month) == (None, None, None)


class Metered:
    def __init__(self) -> None:
        self.clock, self.sent = Clock(), Counter[str](PutObject=7)
        self.meter = RequestMeter(lambda: self.sent, self.clock)

    def send(self, number: int, *, after: float) -> None:
        self.clock.now += after
        self.sent["PutObject"] += number
        self.meter.note()

    def per_hour(self) -> float | None:
        costs = self.meter.costs()
        assert costs is not None
        return costs.per_hour


def test_the_rate_is_that_of_the_last_hour() -> None:
    metered = Metered()
    metered.send(10, after=1)
    assert metered.per_hour() is None
    metered.clock.now += 599
    assert metered.per_hour() == 60
    for _ in range(240):
        metered.send(1, after=30)
    # Two hours later what came before is forgotten.
    assert metered.per_hour() == pytest.approx(120, rel=0.03)
    costs = metered.meter.costs()
    assert costs is not None
    assert costs.requests == {"PutObject": 250}, "what the client had sent before does not count"


@pytest.mark.parametrize("gap", [1, 59, 61, 1000])
def test_who_is_idle_for_an_hour_has_no_rate(gap: float) -> None:
    metered = Metered()
    for _ in range(7):
        metered.send(3, after=gap)
    metered.clock.now += 3601
    assert metered.per_hour() == 0


def test_what_is_remembered_does_not_grow() -> None:
    metered = Metered()
    for _ in range(50_000):
        metered.send(1, after=1)
    assert len(metered.meter._samples) < 70


def test_who_does_not_count_has_no_costs(tmp_path: Path) -> None:
    meter = RequestMeter(lambda: None)
    meter.note()
    assert meter.costs() is None


def test_a_database_knows_its_requests(database: Path) -> None:
    store = CountingStore()
    with DB(database, replica=store) as db:
        insert(database, 1)
        db.wait(timeout=20)
        status = db.status().replica
        assert status is not None
        costs = status.requests
        assert costs is not None
        assert costs.requests == dict(store.sent)
        assert costs.requests["PutObject"] >= 1
