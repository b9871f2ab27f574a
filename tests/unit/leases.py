"""A storage whose requests for a lease can fail or hang, and a clock that can be moved."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta

from ltxcore.stores import Version

from tests.helpers.stores import MemoryStore

KEY = "app/lock.json"


class Storage(MemoryStore):
    """A storage whose requests for the lease can fail or hang, and are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.requests = 0

    def _request(self) -> None:
        self.requests += 1
        assert self.goes_on.wait(60)
        if self.failure is not None:
            raise self.failure

    def read_version(self, key: str) -> Version:
        if not self._lock.locked():
            self._request()
        return super().read_version(key)

    def write_version(self, key: str, data: bytes, *, tag: str | None) -> Version:
        self._request()
        return super().write_version(key, data, tag=tag)

    def delete_version(self, key: str, *, tag: str) -> None:
        self._request()
        super().delete_version(key, tag=tag)

    def put(self, owner: str = "there:2", seconds: float = 3600) -> None:
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        content = {"generation": 7, "expires_at": until.isoformat(), "owner": owner}
        self.objects[KEY] = json.dumps(content).encode(), until

    @property
    def files(self) -> list[str]:
        return sorted(key for key in self.objects if key.endswith(".ltx"))

    @property
    def owner(self) -> str | None:
        return str(json.loads(self.objects[KEY][0])["owner"]) if KEY in self.objects else None


class Clock:
    """A clock that the test can move on, as if the machine had been asleep."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead
