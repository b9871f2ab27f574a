"""The code in README.md, docs/ and examples/: found, and run as a reader would.

The convention for a page:

* Blocks marked ``python``, ``console`` and ``sh`` run, in order, in one empty directory. Python blocks share their names.
* ``console`` shows commands behind ``$ `` and what they print. Each line shown must be printed, in this order; numbers, TXIDs
  and times may differ, and other lines may be printed between. ``^C`` is sent when the lines before it were printed.
* ``/var/backups`` and ``/srv`` stand for that directory, and ``2026-03-01T12:00:00Z`` for the present.
* What cannot run (installing, other machines, files of configuration) is marked otherwise: ``text``, ``yaml``, ``ini``.
* A comment ``<!-- python`` or ``<!-- sh`` runs too: it makes what a reader has already.

Usage, in an empty directory: python -m tests.helpers.documents run PAGE
Usage: python -m tests.helpers.documents extract DIRECTORY, for type checkers
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<fence>\w*)[^\n]*\n(?P<text>.*?)^ *```$|^<!-- (?P<hidden>python|sh)\n(?P<setup>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)
_NUMBER = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\b[0-9a-f]{16}\b|\d[\d.,]*")
#: How long a command may take, and how long its shown lines may take to appear, in seconds.
PATIENCE = 20.0


@dataclass(frozen=True)
class Block:
    """One block of a page, and the line of the page that it begins at."""

    kind: str
    line: int
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """Every block of a page, those that do not run too."""
    whole = page.read_text("ascii")
    for found in _BLOCK.finditer(whole):
        text = found["text"] if found["hidden"] is None else found["setup"]
        indent = found["indent"] or ""
        yield Block(
            kind=found["hidden"] or found["fence"],
            line=whole.count("\n", 0, found.start()) + 2,
            text="".join(line.removeprefix(indent) for line in text.splitlines(keepends=True)),
        )


def module(page: Path) -> str:
    """The Python blocks of a page as one module, each at its own line, for a type checker."""
    lines: list[str] = []
    for block in blocks(page):
        if block.kind == "python":
            lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
    return "\n".join(lines) + "\n"


def shape(line: str) -> str:
    """A line without what differs from run to run: numbers, the plural after one, and blanks that align columns."""
    return re.sub(r"\b0 (\w+?)s?\b", r"0 \1", " ".join(_NUMBER.sub("0", line).split()))


class Reader:
    """Runs the blocks of one page in the current directory."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.folder = Path.cwd()
        self.names: dict[str, object] = {"__name__": "__main__"}
        self._program_directory()

    def _program_directory(self) -> None:
        """Let the shell find `ltxcore` and `python` of this interpreter."""
        bin_ = self.folder / ".bin"
        bin_.mkdir()
        for name, arguments in (("ltxcore", "-m ltxcore "), ("python", "")):
            program = bin_ / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
            program.chmod(0o755)
        os.environ["PATH"] = f"{bin_}{os.pathsep}{os.environ['PATH']}"

    def here(self, text: str) -> str:
        """The text, with this directory and this moment in place of those of the page."""
        text = text.replace("/var/backups", f"{self.folder}/backups").replace("/srv", str(self.folder))
        return text.replace("2026-03-01T12:00:00Z", datetime.now(UTC).isoformat())

    def read(self) -> None:
        """Run every block that runs."""
        for block in blocks(self.page):
            if block.kind == "python":
                code = "\n" * (block.line - 1) + self.here(block.text)
                exec(compile(code, str(self.page), "exec"), self.names)
            elif block.kind == "sh":
                subprocess.run(["sh", "-euc", self.here(block.text)], check=True, timeout=PATIENCE)
            elif block.kind == "console":
                self._console(block)

    def _console(self, block: Block) -> None:
        for session in re.split(r"^\$ ", self.here(block.text), flags=re.MULTILINE)[1:]:
            line, *shown = session.replace("\\\n", "").splitlines()
            with Shell(line) as shell:
                for each in shown:
                    if each == "^C":
                        shell.interrupt()
                    else:
                        shell.expect(each)
                shell.end()


class Shell:
    """One command line, and what it prints."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.printed = 0  # lines that were expected and found
        self.log = open("console.log", "w+b")  # noqa: SIM115 - closed by __exit__
        self.process = subprocess.Popen(
            ["sh", "-c", line if re.search(r"[|&;<>]", line) else f"exec {line}"],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )

    def __enter__(self) -> "Shell":
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def lines(self) -> list[str]:
        """What was printed so far."""
        return Path(self.log.name).read_text("utf-8", "replace").splitlines()

    def expect(self, line: str) -> None:
        """Wait until a line is printed."""
        wanted, deadline = shape(line), time.monotonic() + PATIENCE
        while True:
            has_ended = self.process.poll() is not None
            lines = self.lines()
            for number in range(self.printed, len(lines)):
                if shape(lines[number]) == wanted:
                    self.printed = number + 1
                    return
            if has_ended or time.monotonic() > deadline:
                raise SystemExit(f"$ {self.line}\nnot printed: {line}\nbut:\n" + "\n".join(lines))
            time.sleep(0.02)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> None:
        """Wait for the end, which must be a success."""
        code = self.process.wait(PATIENCE)
        if code != 0:
            raise SystemExit(f"$ {self.line}\nexit code {code}\n" + "\n".join(self.lines()))


def extract(folder: Path) -> None:
    """Write one module for each page with Python code."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("page_*.py"):
        old.unlink()
    for page in PAGES:
        if module(page).strip():
            name = "_".join(page.relative_to(ROOT).with_suffix("").parts).replace("-", "_").lower()
            (folder / f"page_{name}.py").write_text(module(page))


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    if what == "run":
        Reader(where).read()
    else:
        extract(where)
