"""Folders for processes that drop their privileges."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


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
