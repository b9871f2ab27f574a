"""Folders for processes that drop their privileges and for web servers, and short pauses between requests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ltxcore.clients import _located


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that anybody may enter and write to, as pytest's own are not."""
    outer = Path(tempfile.mkdtemp(prefix="ltxcore-"))
    outer.chmod(0o755)
    (inner := outer / "data").mkdir()
    inner.chmod(0o777)
    yield inner
    for path in (inner, *inner.iterdir()):
        path.chmod(0o700)
    shutil.rmtree(outer)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are repeated at once, and what is said once a process is said once a test."""
    monkeypatch.setattr(_located, "_said", set())
    for module in ("_transfer", "objects"):
        monkeypatch.setattr(f"ltxcore.clients.{module}.PAUSES", (0.02,) * 3)


@pytest.fixture
def root() -> Iterator[Path]:
    """The folder of a web server: not below one that other users may not enter, as nginx runs as one."""
    folder = Path(tempfile.mkdtemp(prefix="ltxcore-web-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
