"""The lease of a replica: who gets it, what is written, and what a lost answer means."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ltxcore import DB, FileClient, Replica, ReplicaClient
from ltxcore.clients import _lease
from ltxcore.clients._lease import MARGIN, TTL, Claim, Lease
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.errors import (
    ConfigError,
    FormatError,
    LeaseHeldError,
    LeaseLostError,
    ObjectChangedError,
    ReplicaError,
    ReplicaPermissionError,
)
from ltxcore.stores import Capabilities, Version

from tests.helpers.stores import MemoryStore
from tests.unit.memory import MemoryClient

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = "backups/app/lock.json"


class Clock:
    """The clock of a machine, which the test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Storage(MemoryStore):
    """A storage whose clock is its own, and whose answers can be lost."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.ahead = timedelta(0)
        self.loses = 0
        self.refuses_deletions = False
        self.before_write: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.clock.seconds - 1000) + self.ahead

    def write_version(self, key: str, data: bytes, *, tag: str | None) -> Version:
        before, self.before_write = self.before_write, lambda: None
        before()
        written = super().write_version(key, data, tag=tag)
        if self.loses:
            self.loses -= 1
            raise ReplicaError("the connection was reset")
        return written

    def delete_version(self, key: str, *, tag: str) -> None:
        if self.refuses_deletions:
            raise ReplicaPermissionError("access denied")
        super().delete_version(key, tag=tag)

    def put(self, claim: dict[str, object] | bytes) -> None:
        data = claim if isinstance(claim, bytes) else json.dumps(claim).encode()
        self.objects[KEY] = data, NOON

    @property
    def content(self) -> dict[str, object]:
        found = json.loads(self.objects[KEY][0])
        assert isinstance(found, dict)
        return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(_lease, "now_or_asleep", made)
    return made


@pytest.fixture
def storage(clock: Clock) -> Storage:
    return Storage(clock)


def lease(storage: Storage, owner: str = "here:1") -> Lease:
    return Lease(storage, "backups/app/", "the replica", owner)


def at(seconds: float) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat()


def theirs(seconds: float, generation: int = 7) -> dict[str, object]:
    return {"generation": generation, "expires_at": at(seconds), "owner": "there:2"}


def test_what_is_written(storage: Storage) -> None:
    """Go parses the time with time.RFC3339Nano: a fraction of up to nine digits, and a zone."""
    lease(storage).acquire()
    assert list(storage.objects) == [KEY]
    assert list(storage.content) == ["generation", "expires_at", "owner"]
    assert (storage.content["generation"], storage.content["owner"]) == (1, "here:1")
    text = str(storage.content["expires_at"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z", text)
    assert not text.endswith("0Z")
    assert abs(datetime.fromisoformat(text) - NOON - timedelta(seconds=TTL)) < timedelta(milliseconds=1)


def test_where_it_is_without_a_prefix_and_who_holds_it(storage: Storage) -> None:
    made = Lease(storage, "", "the replica")
    made.acquire()
    assert list(storage.objects) == ["lock.json"]
    host, _, pid = str(json.loads(storage.objects["lock.json"][0])["owner"]).rpartition(":")
    assert host
    assert pid.isdigit()


@pytest.mark.parametrize(
    "text", ["2026-03-01T12:00:10.123456789Z", "2026-03-01T12:00:10Z", "2026-03-01T13:00:10.5+01:00"]
)
def test_times_as_go_writes_them(text: str) -> None:
    claim = Claim.parse(json.dumps({"generation": 3, "expires_at": text, "owner": "a:1"}).encode())
    assert abs(claim.expires_at - NOON - timedelta(seconds=10)) < timedelta(seconds=1)
    assert Claim.parse(claim.format()).owner == "a:1"


def test_one_that_is_held_is_refused(storage: Storage) -> None:
    storage.put(theirs(10))
    before = dict(storage.objects)
    with pytest.raises(LeaseHeldError, match="held by there:2 until 2026-03-01T12:00:10") as raised:
        lease(storage).acquire()
    assert (raised.value.owner, raised.value.expires_at) == ("there:2", NOON + timedelta(seconds=10))
    assert raised.value.hint and "stop that program" in raised.value.hint
    assert storage.objects == before


def test_one_that_has_expired_is_taken(storage: Storage, clock: Clock) -> None:
    storage.put(theirs(10))
    clock.seconds += 10 + MARGIN - 1
    with pytest.raises(LeaseHeldError):
        lease(storage).acquire()
    clock.seconds += 1
    mine = lease(storage)
    mine.acquire()
    assert mine.is_held
    assert (storage.content["generation"], storage.content["owner"]) == (8, "here:1")


def test_the_clock_of_the_storage_counts(storage: Storage) -> None:
    """That of this machine is off by years in this test: it is not 2026-03-01."""
    storage.put(theirs(3600))
    with pytest.raises(LeaseHeldError):
        lease(storage).acquire()
    storage.ahead = timedelta(hours=2)
    lease(storage).acquire()
    expires = datetime.fromisoformat(str(storage.content["expires_at"]))
    assert abs(expires - NOON - timedelta(hours=2, seconds=TTL)) < timedelta(seconds=1)


def test_the_clock_of_this_machine_counts_if_the_storage_does_not_say(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "now", lambda: None)
    lease(storage).acquire()
    expires = datetime.fromisoformat(str(storage.content["expires_at"]))
    assert abs(expires - datetime.now(UTC) - timedelta(seconds=TTL)) < timedelta(seconds=20)
    with pytest.raises(LeaseHeldError):
        lease(storage, "other:1").acquire()


def test_it_is_lost_here_before_it_has_expired_for_others(storage: Storage, clock: Clock) -> None:
    mine, other = lease(storage), lease(storage, "other:1")
    mine.acquire()
    clock.seconds += TTL - MARGIN - 0.5
    assert mine.is_held
    clock.seconds += 0.5
    assert not mine.is_held
    # Litestream has no margin.
    assert Claim.parse(storage.objects[KEY][0]).expires_at > storage.now()
    clock.seconds += 2 * MARGIN - 0.5
    with pytest.raises(LeaseHeldError):
        other.acquire()
    clock.seconds += 1
    other.acquire()
    assert (storage.content["generation"], storage.content["owner"]) == (2, "other:1")
    for _ in range(2):
        with pytest.raises(LeaseLostError, match="taken by other:1") as raised:
            mine.renew()
        assert raised.value.transient is False
        mine = lease(storage)  # one that never had it has lost it as well
        mine._tag = "an old one"
    assert not mine.is_held


def test_renewals(storage: Storage, clock: Clock) -> None:
    mine = lease(storage)
    mine.acquire()
    for _ in range(5):
        clock.seconds += 10
        mine.renew()
        assert mine.is_held
        assert storage.content["generation"] == 1
        left = Claim.parse(storage.objects[KEY][0]).expires_at - storage.now()
        assert abs(left - timedelta(seconds=TTL)) < timedelta(milliseconds=1)


def test_one_that_was_not_renewed_in_time_can_be_renewed_if_nobody_has_taken_it(
    storage: Storage, clock: Clock
) -> None:
    """That its object is unchanged proves that nobody has had it since."""
    mine = lease(storage)
    mine.acquire()
    clock.seconds += 10 * TTL
    assert not mine.is_held
    mine.renew()
    assert mine.is_held


@pytest.mark.parametrize("lost", [1, 2, 5])
def test_answers_that_are_lost(storage: Storage, clock: Clock, lost: int) -> None:
    """The write was made, and so the next one is refused: what is there is ours all the same."""
    mine = lease(storage)
    storage.loses = lost
    for _ in range(lost):
        with pytest.raises(ReplicaError, match="reset"):
            mine.acquire()
        clock.seconds += 1
    mine.acquire()
    assert mine.is_held
    assert storage.content["generation"] == 1
    storage.loses = lost
    for _ in range(lost):
        clock.seconds += 1
        with pytest.raises(ReplicaError, match="reset"):
            mine.renew()
    mine.renew()
    assert mine.is_held
    storage.loses = 1
    with pytest.raises(ReplicaError, match="reset"):
        mine.renew()
    mine.release()
    assert storage.objects == {}


def test_an_answer_that_is_lost_is_no_lease_of_another(storage: Storage, clock: Clock) -> None:
    mine, other = lease(storage), lease(storage, "here:1")
    storage.loses = 1
    with pytest.raises(ReplicaError, match="reset"):
        mine.acquire()
    with pytest.raises(LeaseHeldError):  # of the same name, as in two containers
        other.acquire()
    clock.seconds += TTL + 2 * MARGIN
    other.acquire()
    with pytest.raises(LeaseHeldError):
        mine.acquire()
    mine.release()
    assert storage.content["generation"] == 2


def test_the_one_who_is_faster_gets_it(storage: Storage) -> None:
    mine, other = lease(storage), lease(storage, "other:1")
    storage.before_write = other.acquire
    with pytest.raises(LeaseHeldError, match="other:1"):
        mine.acquire()
    assert other.is_held
    assert not mine.is_held


def test_one_that_changes_all_the_time(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> Version:
        raise ObjectChangedError("another version")

    monkeypatch.setattr(storage, "write_version", refuse)
    with pytest.raises(ReplicaError, match="changes all the time") as raised:
        lease(storage).acquire()
    assert raised.value.transient


def test_giving_it_back(storage: Storage) -> None:
    mine, other = lease(storage), lease(storage, "other:1")
    mine.acquire()
    mine.release()
    assert storage.objects == {}
    assert not mine.is_held
    mine.release()
    other.acquire()
    mine.release()
    assert storage.content["owner"] == "other:1"


def test_one_that_was_taken_is_not_given_back(storage: Storage) -> None:
    mine = lease(storage)
    mine.acquire()
    storage.put(theirs(10))
    mine.release()
    assert storage.content["owner"] == "there:2"


def test_one_that_was_removed_is_lost(storage: Storage) -> None:
    mine = lease(storage)
    mine.acquire()
    storage.objects.clear()
    with pytest.raises(LeaseLostError, match="was removed") as raised:
        mine.renew()
    assert (raised.value.owner, raised.value.transient) == (None, False)
    assert storage.objects == {}


def test_giving_it_back_without_permission_to_delete(storage: Storage) -> None:
    mine = lease(storage)
    mine.acquire()
    storage.refuses_deletions = True
    mine.release()
    assert storage.content["generation"] == 1
    other = lease(storage, "other:1")
    other.acquire()
    assert storage.content["generation"] == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[" * 60_000,
        b"\xff\xfe{",
        b'{"generation":1}',
        b'{"generation":true,"expires_at":"2026-03-01T12:00:00Z","owner":"a:1"}',
        b'{"generation":1,"expires_at":"2026-03-01T12:00:00","owner":"a:1"}',
        b'{"generation":1,"expires_at":"soon","owner":"a:1"}',
        b'{"generation":1,"expires_at":5,"owner":"a:1"}',
        b'{"generation":1,"expires_at":"2026-03-01T12:00:00Z","owner":{}}',
    ],
    ids=[str(number) for number in range(10)],
)
def test_something_else_in_its_place_is_not_replaced(storage: Storage, content: bytes) -> None:
    storage.put(content)
    with pytest.raises(FormatError, match="is no lease") as raised:
        lease(storage).acquire()
    assert raised.value.hint and KEY in raised.value.hint
    assert storage.objects[KEY][0] == content


def test_owners_and_times_that_are_odd(storage: Storage) -> None:
    storage.put({"generation": 1, "expires_at": "9999-12-31T23:59:59Z", "owner": "a\n\x1b[31m" + "x" * 500})
    with pytest.raises(LeaseHeldError) as raised:
        lease(storage).acquire()
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 400
    storage.put({"generation": 1, "expires_at": "0001-01-01T00:00:00Z"})
    lease(storage).acquire()
    assert storage.content["generation"] == 2


@pytest.mark.parametrize("kind", ["directory", "five methods", "no versions"])
def test_a_storage_that_cannot_hold_one_is_refused(kind: str, database: Path, tmp_path: Path) -> None:
    clients: dict[str, ReplicaClient] = {
        "directory": FileClient(tmp_path / "replica"),
        "five methods": MemoryClient(),
        "no versions": ObjectReplicaClient(MemoryStore(Capabilities(creates_if_absent=True))),
    }
    client = clients[kind]
    with pytest.raises(ConfigError, match="cannot have a lease") as raised:
        DB(database, replica=Replica(client, lease=True)).open()
    assert raised.value.key == "lease"
    assert raised.value.hint and "conditional writes" in raised.value.hint
    assert next(iter(Replica(client).files()), None) is None
    with DB(database, replica=client) as db:
        db.wait(timeout=20)
