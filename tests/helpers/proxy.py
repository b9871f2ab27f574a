"""A proxy between an S3 client and a server: it counts requests, breaks them by rule, and is as slow as a real link.

    with Proxy(tmp_path / "proxy.log", server.url, latency=0.03, rate=100e6) as proxy:
        proxy.fault("lose", operation="PutObject", path=r"ltx/0/", skip=2)
        client = server.client(endpoint_url=proxy.url)
        ...
        assert proxy.traffic().by_operation == {"PutObject": 3}

It is a reverse proxy in a process of its own, so it takes no time from Python here. Bodies pass in large blocks, and nothing
reads them. The `Host` header stays what it is, the proxy's address, which is what a client signed.
"""

import contextlib
import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.helpers.process import Talker, ended
from tests.helpers.proxy_server import Record

__all__ = ["Proxy", "Record", "Traffic"]


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Requests, and bytes of their bodies."""

    requests: int
    by_operation: Counter[str]
    by_method: Counter[str]
    sent: int
    received: int


class Proxy:
    """One listening port in front of one server.

    `latency` is in seconds, once for each answer. `rate` is in bytes a second, for all connections together, each way.
    Both can be changed while it runs.
    """

    def __init__(self, log: Path, url: str, *, latency: float = 0.0, rate: float | None = None) -> None:
        upstream = urlsplit(url)
        self._stack = contextlib.ExitStack()
        self._talker = Talker("tests.helpers.proxy_server", log)
        self._stack.enter_context(ended(self._talker))
        try:
            self.port: int = self._ask(
                "listen", upstream=[upstream.hostname, upstream.port], latency=latency, rate=rate
            )
        except BaseException:
            self.close()
            raise

    def _ask(self, command: str, **arguments: Any) -> Any:
        return self._talker.ask(command, **arguments)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._talker.pid

    def link(self, *, latency: float = 0.0, rate: float | None = None) -> None:
        """Change the link; what is on its way keeps its old speed until the next block."""
        self._ask("link", latency=latency, rate=rate)

    def fault(self, fault: str, **rule: Any) -> None:
        """Add a rule: see `proxy_rules.Rule` for its fields, and the list above it for the faults."""
        self._ask("fault", fault=fault, **rule)

    def respond(self, status: int, code: str, **rule: Any) -> None:
        """Add a rule that answers with an S3 error, such as 503 and SlowDown, or 403 and ExpiredToken."""
        self.fault("respond", status=status, code=code, **rule)

    def redirect(self, location: str, **rule: Any) -> None:
        """Add a rule that answers with 307 and this place."""
        self.respond(307, "TemporaryRedirect", headers=[["Location", location]], **rule)

    def calm(self) -> None:
        """Forget all rules."""
        self._ask("calm")

    def requests(self, prefix: str = "") -> list[Record]:
        """Every request since the start or `forget`, in the order of arrival, whose path begins with `/` and the prefix."""
        records = [Record(**fields) for fields in self._ask("requests")]
        return [record for record in records if record.target.startswith(f"/{prefix}")]

    def traffic(self, prefix: str = "") -> Traffic:
        """The same, counted."""
        records = self.requests(prefix)
        return Traffic(
            len(records),
            Counter(record.operation for record in records),
            Counter(record.method for record in records),
            sum(record.sent for record in records),
            sum(record.received for record in records),
        )

    def forget(self) -> None:
        """Forget all requests and connections until now; rules go on counting."""
        self._ask("forget")

    def connections(self) -> dict[str, int]:
        """How many connections of clients are open, and how many there have been since the start or `forget`."""
        return dict(self._ask("connections"))

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
