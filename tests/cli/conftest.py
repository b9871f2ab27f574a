"""What the tests of the command line share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ltxcore.blob_store import BlobStore
from ltxcore.cli import app

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run a command in this process."""
    return lambda *argv: CliRunner().invoke(app, [str(arg) for arg in argv], prog_name="ltxcore")


class Command:
    """Runs the real program, in processes of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *argv: object) -> "subprocess.Popen[str]":
        line = [sys.executable, "-m", "ltxcore", *map(str, argv)]
        pipes: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        process = subprocess.Popen(
            line, cwd=self.folder, text=True, env=dict(os.environ, COLUMNS="100"), **pipes
        )
        self.started.append(process)
        return process

    def __call__(self, *argv: object, code: int = 0) -> str:
        """Run to the end; what it printed."""
        process = self.start(*argv)
        out, err = process.communicate(timeout=25)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        return out

    def json(self, *argv: object, code: int = 0) -> Any:
        return json.loads(self(*argv, "--json", code=code))

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def ltxcore(tmp_path: Path):
    """The real program, run in the test's own directory."""
    command = Command(tmp_path)
    try:
        yield command
    finally:
        command.end()


@pytest.fixture
def blob(tmp_path, monkeypatch):
    """Run a command of the group in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)

    def run(*argv, code=0, data=None):
        done = CliRunner().invoke(
            app, ["blob", *map(str, argv)], prog_name="ltxcore", input=data, catch_exceptions=False
        )
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.fixture
def store(tmp_path):
    """A store of three blobs, closed."""
    path = tmp_path / "s.db"
    with BlobStore(path) as blobs:
        blobs.put("a/1", b"one")
        blobs.put("a/2", bytes(range(256)) * 10, tags={"kind": "table"})
        blobs.put("b", b"")
    return path
