"""The replicators that `acts_compare` compares: ours, and any version of Litestream, behind one interface."""

import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.helpers import litestream, replicators
from tests.helpers.process import Child, ChildError, Talker, until

QUICK = 0.05
#: A replicator that cannot bring the last changes into the replica may try for long; then it is killed.
STOP_SECONDS = 8.0


@dataclasses.dataclass(frozen=True)
class Options:
    """How a replicator is started. `under` is a command that runs it; `merges` lets it compact every second."""

    sync_interval: float = QUICK
    under: Sequence[str] = ()
    merges: bool = False


class Subject(Protocol):
    """A process that replicates `db` to the directory `replica`."""

    log: Path
    options: Options

    def start(self) -> None: ...
    def settle(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def end(self) -> None: ...
    def is_running(self) -> bool: ...
    def sync(self, timeout: float) -> int: ...
    def local_sync(self) -> None: ...
    def merge(self) -> None: ...
    def restore(self, output: Path, **target: Any) -> None: ...
    def complaints(self, text: str) -> list[str]: ...


class Base:
    def __init__(self, db: Path, replica: Path, options: Options) -> None:
        self.db, self.replica, self.options = db, replica, options
        self.log = replica.with_name("replicator.log")
        self.process: Child | None = None

    def running(self) -> Child:
        if self.process is None or not self.process.alive():
            raise ChildError("the replicator is not running")
        return self.process

    def is_running(self) -> bool:
        return self.process is not None and self.process.alive()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process = None

    def end(self) -> None:
        self.kill()

    def settle(self) -> None:
        """Wait for what is only done after a first start."""


class Ltxcore(Base):
    """Ours: a `DB` in a process of its own, driven by line commands."""

    def start(self) -> None:
        self.kill()
        self.process = talker = Talker.__new__(Talker)
        argv = [*self.options.under, sys.executable, "-m", "tests.helpers.acts_driver"]
        Child.__init__(talker, argv, self.log, talk=True)
        self.ask(
            "open",
            path=str(self.db),
            replica=f"file://{self.replica}",
            sync_interval=self.options.sync_interval,
            options={"monitor_interval": QUICK},
        )

    def ask(self, command: str, *, timeout: float = 30.0, **arguments: Any) -> Any:
        talker = self.running()
        assert isinstance(talker, Talker)
        return talker.ask(command, timeout=timeout, **arguments)

    def stop(self) -> None:
        self.ask("close")
        self.kill()

    def sync(self, timeout: float) -> int:
        return int(self.ask("barrier", timeout=timeout + 10, within=timeout))

    def local_sync(self) -> None:
        self.ask("sync")

    def merge(self) -> None:
        self.ask("compact", level=1)

    def restore(self, output: Path, **target: Any) -> None:
        replicators.restore(self.replica, output, kind="ltxcore", **target)

    def complaints(self, text: str) -> list[str]:
        """Python prints warnings and errors to stderr, and nothing else."""
        return [line for line in text.splitlines() if line.strip()]


class Litestream(Base):
    """`litestream replicate` with a control socket."""

    def __init__(self, program: Path, db: Path, replica: Path, options: Options) -> None:
        super().__init__(db, replica, options)
        self.program = program
        # Not beside the database: a socket's path may only have about a hundred characters.
        self.scratch = Path(tempfile.mkdtemp(prefix="ls-"))
        self.socket = self.scratch / "s"

    def start(self) -> None:
        self.kill()
        config = self.scratch / "litestream.json"
        config.write_text(json.dumps(self._config()))
        self.socket.unlink(missing_ok=True)
        argv = [*self.options.under, str(self.program), "replicate", "-config", str(config)]
        self.process = Child(argv, self.log)
        until(lambda: self.socket.exists() or not self.is_running(), what="control socket of litestream")
        self.running()

    def settle(self) -> None:
        """It makes a snapshot about a second after its start, and the next one a day later: acts come after the first."""
        until(lambda: any(self.replica.glob("ltx/9/*.ltx")), timeout=6, what="first snapshot")

    def _config(self) -> dict[str, Any]:
        interval = f"{self.options.sync_interval * 1000:.0f}ms"
        replica = {"type": "file", "path": str(self.replica), "sync-interval": interval}
        db = {"path": str(self.db), "monitor-interval": f"{QUICK * 1000:.0f}ms", "replica": replica}
        return {
            "socket": {"enabled": True, "path": str(self.socket)},
            "levels": [{"interval": "1s" if self.options.merges else "1h"}],
            "dbs": [db],
        }

    def stop(self) -> None:
        process = self.running()
        self.process = None
        status = process.terminate(STOP_SECONDS)
        if status != 0:
            raise ChildError(f"status {status} after SIGTERM: {process.tail(300)}")

    def end(self) -> None:
        super().end()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def sync(self, timeout: float) -> int:
        seconds = str(max(1, int(timeout)))
        told = self._call("-wait", "-json", "-timeout", seconds, timeout=timeout + 10)
        return int(json.loads(told)["replica_txid"])

    def _call(self, *argv: str, timeout: float) -> str:
        self.running()
        try:
            done = litestream.run(
                str(self.program), "sync", *argv, "-socket", str(self.socket), str(self.db), timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise ChildError(f"litestream sync did not end within {timeout} s") from None
        if done.returncode != 0:
            raise ChildError(f"litestream sync: {done.stderr.strip()[-300:]}")
        return done.stdout

    def local_sync(self) -> None:
        self._call(timeout=20)

    def merge(self) -> None:
        """It merges on its own."""

    def restore(self, output: Path, **target: Any) -> None:
        wanted = []
        if "txid" in target:
            wanted = ["-txid", f"{target['txid']:016x}"]
        elif "timestamp" in target:
            wanted = ["-timestamp", target["timestamp"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")]
        done = litestream.run(
            str(self.program), "restore", "-o", str(output), *wanted, f"file://{self.replica}", timeout=20
        )
        if done.returncode != 0:
            raise replicators.RestoreRefused(done.stderr.strip()[-300:], ("LitestreamError",))

    def complaints(self, text: str) -> list[str]:
        return [line for line in text.splitlines() if "level=WARN" in line or "level=ERROR" in line]


def subject(kind: str, program: Path, db: Path, replica: Path, options: Options) -> Subject:
    """The replicator of this kind, not started yet."""
    if kind == "litestream":
        return Litestream(program, db, replica, options)
    return Ltxcore(db, replica, options)
