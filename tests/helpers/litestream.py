"""The real Litestream, 0.5.17 or 0.5.18, when it is installed: its daemon, its restore, and where its program is."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.helpers.process import Child, ChildError, environment

VERSIONS = ("0.5.17", "0.5.18")


@functools.cache
def program() -> str | None:
    """Path of the `litestream` program, or None: LTXCORE_LITESTREAM, this interpreter's environment, then PATH."""
    beside = Path(sys.executable).with_name("litestream")
    for candidate in (os.environ.get("LTXCORE_LITESTREAM"), str(beside), shutil.which("litestream")):
        if candidate and os.access(candidate, os.X_OK) and _version(candidate) in VERSIONS:
            return candidate
    return None


def version() -> tuple[int, ...]:
    """The version of that program, as numbers."""
    return tuple(map(int, _version(str(program())).split(".")))


def _version(candidate: str) -> str:
    """What it says; one that was built by `go install` puts a `v` in front."""
    return run(candidate, "version").stdout.strip().removeprefix("v")


def run(*argv: str, timeout: float = 120.0) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout, env=environment(), check=False
    )


def call(*argv: str, timeout: float = 120.0) -> str:
    """Run `litestream ...`; its stdout, or an error with what it said."""
    done = run(str(program()), *argv, timeout=timeout)
    if done.returncode != 0:
        raise ChildError(f"litestream {argv[0]}: {done.stderr.strip()[-600:]}", kinds=("LitestreamError",))
    return done.stdout


def restore(replica: Path, output: Path, *, txid: int | None = None, timestamp: str | None = None) -> None:
    target = ["-txid", f"{txid:016x}"] if txid is not None else []
    target += ["-timestamp", timestamp] if timestamp is not None else []
    call("restore", "-o", str(output), *target, f"file://{replica}")


def write_config(path: Path, socket: Path, db: Path, replica: Path, interval: str) -> None:
    # JSON is YAML, and needs no quoting rules of its own.
    config = {
        "socket": {"enabled": True, "path": str(socket)},
        "levels": [{"interval": "1h"}],
        "dbs": [
            {
                "path": str(db),
                "monitor-interval": interval,
                "replica": {"type": "file", "path": str(replica), "sync-interval": interval},
            }
        ],
    }
    path.write_text(json.dumps(config))


def daemon(config: Path, log: Path) -> Child:
    return Child([str(program()), "replicate", "-config", str(config)], log)


def sync(socket: Path, db: Path, timeout: float) -> int:
    """`litestream sync -wait`: the TXID that is in the replica afterwards."""
    argv = ("sync", "-wait", "-json", "-timeout", str(max(1, int(timeout))), "-socket", str(socket), str(db))
    return int(json.loads(call(*argv, timeout=timeout + 10))["replica_txid"])
