"""A backup of the real Litestream 0.3.13 in a directory or a bucket, and all who can restore it: we, itself, and 0.5.17."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ltxcore
from ltxcore import config, legacy

from tests.helpers import litestream, litestream03
from tests.helpers.app import digest
from tests.helpers.process import until
from tests.helpers.s3_servers import S3Server
from tests.helpers.site import Site


class Place:
    """A backup of 0.3.13 and everybody who can restore it."""

    def __init__(self, site: Site, server: S3Server | None = None) -> None:
        self.site = site
        #: How exactly the storage knows when an object was stored, in milliseconds.
        self.tick = 1 if server is None else 1000
        self.replica: Any = site.replica
        self.source: Any = f"file://{site.replica}"
        self._read_by_05 = [self.source]
        self._written_by_05 = [str(site.db), self.source]
        if server is not None:
            bucket = server.make_bucket(f"v03-{os.getpid()}-{time.monotonic_ns()}")
            self.replica = litestream03.s3_replica(server, bucket, "backups/app")
            path = site.root / "litestream.yml"
            path.write_text(json.dumps({"dbs": [{"path": str(site.db), "replica": self.replica}]}))
            found = config.load(path)
            self.source = found.client(found.find(site.db))
            self._written_by_05 = ["-config", str(path)]
            self._read_by_05 = [*self._written_by_05, str(site.db)]
        self.replicator = litestream03.Replicator(site.db, self.replica)
        site.started.append(self.replicator)

    def by_us(self, **target: Any) -> Path:
        output = self.site.output()
        if "timestamp" in target:
            target["timestamp"] = text(target["timestamp"])
        legacy.restore(self.source, output, **target)
        return output

    def by_03(self, **target: Any) -> Path:
        if "timestamp" in target:
            target["timestamp"] = text(target["timestamp"])
        return litestream03.restore(self.replicator.config, self.site.output(), **target)

    def by_05(self, **target: Any) -> Path:
        output = self.site.output()
        options = ["-timestamp", text(target["timestamp"])] if "timestamp" in target else []
        litestream.call("restore", "-o", str(output), *options, *self._read_by_05)
        return output

    def agree(self, **target: Any) -> Path:
        """Restore by us and by both of them; ours."""
        ours = self.by_us(**target)
        same(ours, self.by_03(**target), f"0.3.13: {target}")
        if target.keys() <= {"timestamp"}:
            same(ours, self.by_05(**target), f"0.5.17: {target}")
        return ours

    def chosen(self, **target: Any) -> Path:
        """By `ltxcore.restore`, which is not told of the layout, and by 0.5.17."""
        output = self.by_ltxcore(**target)
        same(output, self.by_05(**target), f"0.5.17: {target}")
        return output

    def by_ltxcore(self, **target: Any) -> Path:
        """By `ltxcore.restore` alone."""
        output = self.site.output()
        options = {"timestamp": text(target["timestamp"])} if target else {}
        ltxcore.restore(self.source, output, **options)
        return output

    def moment(self) -> int:
        """A time, in milliseconds, up to which everything is stored that was stored before this call."""
        stored = self.tick * (now() // self.tick)
        until(lambda: now() >= stored + 2 * self.tick, what="the clock")
        return stored + self.tick

    def upgraded(self, *options: str) -> None:
        """0.5.17 replicates what there is, to the same place."""
        litestream.call("replicate", "-once", *options, *self._written_by_05)

    def generations(self) -> list[str]:
        return [row["generation"] for row in litestream03.generations(self.replicator.config)]


def now() -> int:
    return time.time_ns() // 1_000_000


def text(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def same(ours: Path, theirs: Path, what: str) -> None:
    assert digest(ours) == digest(theirs), what
