"""One replicating process behind one interface: ours, driven exactly, and the real Litestream.

The scenario tests run against ours. `LTXCORE_TEST_SUBJECT=litestream` runs the same scripts against Litestream, which shows
that a scenario can fail: where Litestream loses data, the test has to say so.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tests.helpers import litestream
from tests.helpers.process import Child, ChildError, Talker, until

SUBJECT = os.environ.get("LTXCORE_TEST_SUBJECT", "ltxcore")


class Replicator(Protocol):
    """A process that replicates `db` into the directory `replica`."""

    db: Path
    replica: Path
    process: Child | None

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def end(self) -> None: ...
    def barrier(self, timeout: float = 30.0) -> int: ...


class Base:
    """What both kinds share: where things are, and signals."""

    def __init__(self, db: Path, replica: Path, **options: Any) -> None:
        self.db, self.replica, self.options = db, replica, options
        self.process: Child | None = None
        self.log = replica.with_name(replica.name + ".log")

    @property
    def meta(self) -> Path:
        return self.db.with_name(f".{self.db.name}-litestream")

    def running(self) -> Child:
        assert self.process is not None, "the replicator is not running"
        return self.process

    def stop(self) -> None:
        """SIGTERM: one last sync, then a clean end."""
        status = self.running().terminate()
        self.running().close_pipes()
        if status != 0:
            raise ChildError(f"status {status} after SIGTERM\n{self.running().tail()}")

    def kill(self) -> None:
        if self.process is not None and self.process.alive():
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()

    def end(self) -> None:
        """Leave nothing running, whatever state a failed test left."""
        self.kill()

    def pause(self) -> None:
        self.running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.running().send_signal(signal.SIGCONT)


class LtxcoreReplicator(Base):
    """Our `DB` in a driver process, which may outlive one opening of it."""

    layout = "ltx"
    of_replica: Mapping[str, Any] = {}

    def start(self) -> None:
        if self.process is None or not self.process.alive():
            self.process = Talker("tests.helpers.driver", self.log)
        self.ask(
            "open",
            path=str(self.db),
            url=f"file://{self.replica}",
            options={"monitor_interval": 0.05} | self.options,
            of_replica=dict(self.of_replica),
            layout=self.layout,
        )

    def ask(self, command: str, *, timeout: float = 60.0, **arguments: Any) -> Any:
        talker = self.running()
        assert isinstance(talker, Talker)
        return talker.ask(command, timeout=timeout, **arguments)

    def close(self) -> None:
        """`DB.close()`, keeping the process for the next `start`."""
        self.ask("close")

    def barrier(self, timeout: float = 30.0) -> int:
        return int(self.ask("barrier", timeout=timeout + 10, within=timeout))


class LegacyReplicator(LtxcoreReplicator):
    """The same, with a replica in the layout of Litestream 0.3."""

    layout = "v0.3"
    of_replica: Mapping[str, Any] = {"sync_interval": 0.05}


class LitestreamReplicator(Base):
    """`litestream replicate` with a control socket."""

    def __init__(self, db: Path, replica: Path, **options: Any) -> None:
        super().__init__(db, replica, **options)
        # Not beside the database: a socket's path may only have about a hundred characters.
        self.scratch = Path(tempfile.mkdtemp(prefix="ls-"))
        self.socket = self.scratch / "s"

    def start(self) -> None:
        config = self.scratch / "litestream.json"
        litestream.write_config(config, self.socket, self.db, self.replica, "50ms")
        self.socket.unlink(missing_ok=True)
        self.process = litestream.daemon(config, self.log)
        until(self.socket.exists, what="control socket of litestream")

    def close(self) -> None:
        self.stop()

    def end(self) -> None:
        super().end()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def barrier(self, timeout: float = 30.0) -> int:
        if not self.running().alive():
            raise ChildError(f"litestream has ended\n{self.running().tail()}")
        return litestream.sync(self.socket, self.db, timeout)


KINDS: dict[str, type[LtxcoreReplicator] | type[LitestreamReplicator]] = {
    "ltxcore": LtxcoreReplicator,
    "ltxcore-v0.3": LegacyReplicator,
    "litestream": LitestreamReplicator,
}


def replicator(db: Path, replica: Path, *, kind: str = SUBJECT, **options: Any) -> Any:
    """The replicator under test (or the one that is asked for), not started yet."""
    return KINDS[kind](db, replica, **options)


class RestoreRefused(AssertionError):
    """A restore failed; `kinds` are the names of the exception's classes."""

    def __init__(self, message: str, kinds: tuple[str, ...]) -> None:
        super().__init__(message)
        self.kinds = kinds


def restore(replica: Path, output: Path, *, kind: str = SUBJECT, **target: Any) -> None:
    """Restore with ours or Litestream's; anything but success is `RestoreRefused`."""
    if kind == "litestream":
        try:
            litestream.restore(replica, output, **target)
        except ChildError as error:
            raise RestoreRefused(str(error), error.kinds) from error
        return
    import ltxcore  # only here: the scripts also run where only Litestream is installed

    if "txid" in target:
        target["txid"] = ltxcore.ltx.TXID(target["txid"])
    try:
        ltxcore.restore(f"file://{replica}", output, **target)
    except ltxcore.errors.Error as error:
        raise RestoreRefused(str(error), tuple(c.__name__ for c in type(error).__mro__)) from error
