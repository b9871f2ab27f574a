"""How many requests a replica in S3 takes: an idle database, one commit a minute, one a second; counted at a proxy.

What is done once an hour or once a day, by either program, is seen only if it falls into the time of the measurement.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from benches import datasets, tools
from benches.site import Site, say
from benches.table import Row
from ltxcore.replica._costs import price

from tests.helpers.litestream import run
from tests.helpers.proxy import Proxy
from tests.helpers.s3_servers import S3Server, SeaweedFS

#: Seconds between two commits.
LOADS: dict[str, float | None] = {"idle": None, "one commit a minute": 60.0, "one commit a second": 1.0}
#: How much longer is counted than other groups of rows take, since some of what is counted is rare.
LENGTH = 20
DAY, MONTH = 86_400.0, 30
OURS = "ltxcore"


@dataclass
class Subject:
    """One program at one load, with a database and a bucket of its own."""

    program: str
    path: str
    load: str
    folder: Path
    bucket: str

    @property
    def db(self) -> Path:
        """The database."""
        return self.folder / "app.db"

    def line(self, server: S3Server, endpoint: str) -> list[str]:
        """The command that replicates, with the intervals that it has by default."""
        if self.program == OURS:
            options = f"endpoint={quote(endpoint, safe='')}&region={server.region}"
            return [self.path, "replicate", str(self.db), f"s3://{self.bucket}/app?{options}"]
        replica = {
            "type": "s3",
            "bucket": self.bucket,
            "path": "app",
            "endpoint": endpoint,
            "region": server.region,
            "access-key-id": server.access_key,
            "secret-access-key": server.secret_key,
        }
        config = self.folder / "litestream.yml"
        config.write_text(json.dumps({"dbs": [{"path": str(self.db), "replica": replica}]}))
        return [self.path, "replicate", "-config", str(config)]


def requests(site: Site) -> list[Row]:
    """All programs at all loads at once: what is counted does not depend on speed."""
    directory, seconds = site.directory(), site.sizes.seconds * LENGTH
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(SeaweedFS())
        proxy = stack.enter_context(Proxy(directory / "proxy.log", server.url))
        subjects = [
            started(
                stack,
                Subject(name, path, load, directory / f"{name}-{number}", f"requests-{at}-{number}"),
                server,
                proxy,
            )
            for at, (name, path) in enumerate(programs().items())
            for number, load in enumerate(LOADS)
        ]
        write(subjects, seconds / 2)
        proxy.forget()
        say(f"counting requests for {seconds:g} s")
        passed = write(subjects, seconds)
        counts = {
            (subject.program, subject.load): proxy.traffic(f"{subject.bucket}/").by_operation
            + proxy.traffic(f"{subject.bucket}?").by_operation
            for subject in subjects
        }
    for (name, load), count in counts.items():
        site.note(f"{name}, {load}, {passed:.0f} s: {operations(count)}")
    return rows(counts, passed)


def programs() -> dict[str, str]:
    """Names and paths; the other Litestream only if somebody names one."""
    found = {OURS: tools.program(OURS), tools.litestream_version(): tools.program("litestream")}
    other = os.environ.get("LTXCORE_LITESTREAM")
    if other:
        found[run(other, "version").stdout.strip().removeprefix("v")] = other
    return found


def started(stack: contextlib.ExitStack, subject: Subject, server: S3Server, proxy: Proxy) -> Subject:
    """Replicate from now on, until the stack ends."""
    subject.folder.mkdir()
    server.make_bucket(subject.bucket)
    datasets.empty_database(subject.db)
    os.environ |= {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    log = subject.folder / "log"
    process = stack.enter_context(tools.running(subject.line(server, proxy.url), log))
    deadline = time.monotonic() + 60
    while not proxy.traffic(f"{subject.bucket}/").by_operation["PutObject"]:
        if process.poll() is not None or time.monotonic() > deadline:
            raise tools.BenchError(f"{subject.program} does not replicate: {tools.tail(log)}")
        time.sleep(0.2)
    return subject


def write(subjects: list[Subject], seconds: float) -> float:
    """Commit to every database as often as its load says; how long that took."""
    began = time.monotonic()
    due = {index: began for index, subject in enumerate(subjects) if LOADS[subject.load] is not None}
    with contextlib.ExitStack() as stack:
        connections = {
            index: stack.enter_context(
                contextlib.closing(sqlite3.connect(subjects[index].db, isolation_level=None))
            )
            for index in due
        }
        while (now := time.monotonic()) < began + seconds:
            for index in [index for index, at in due.items() if at <= now]:
                connections[index].execute("PRAGMA busy_timeout = 5000")
                connections[index].execute(datasets.INSERT, ("token", "note"))
                due[index] += LOADS[subjects[index].load] or 0.0
            time.sleep(min(0.05, max(0.0, began + seconds - time.monotonic())))
    return time.monotonic() - began


def rows(counts: dict[tuple[str, str], Counter[str]], seconds: float) -> list[Row]:
    """Requests and their price: a line for each load and each other program."""
    made = []
    for load in LOADS:
        ours = counts[OURS, load]
        for name in {name: None for name, _ in counts if name != OURS}:
            theirs = counts[name, load]
            samples = {f"{OURS} {key}": [float(value)] for key, value in ours.items()}
            samples |= {f"{name} {key}": [float(value)] for key, value in theirs.items()}
            made += [
                Row(
                    f"requests, {load}, against {name}",
                    "/day",
                    sum(ours.values()) / seconds * DAY,
                    sum(theirs.values()) / seconds * DAY,
                    samples=samples,
                ),
                Row(
                    "  at prices of S3 Standard",
                    "$/month",
                    price(ours) / seconds * DAY * MONTH,
                    price(theirs) / seconds * DAY * MONTH,
                ),
            ]
    return made


def operations(count: Counter[str]) -> str:
    """Which requests there were."""
    return ", ".join(f"{number} {name}" for name, number in count.most_common()) or "none"
