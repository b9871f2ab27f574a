"""The arguments of a restore that are about its cache."""

import os
from pathlib import Path

import pytest

import ltxcore
from ltxcore import _ltxcore
from ltxcore.errors import ConfigError

from tests.unit.memory import MemoryClient


@pytest.mark.parametrize("size", [5, -1, 0, 1 << 63, 1 << 64, "10GiB", 1.5e9, None])
def test_sizes_that_a_cache_cannot_have(tmp_path: Path, size: object) -> None:
    with pytest.raises(ConfigError, match="cache_size must be") as caught:
        ltxcore.restore(
            MemoryClient(),
            tmp_path / "out.db",
            cache=tmp_path / "cache",
            cache_size=size,  # type: ignore[arg-type]  # the point of the test
        )
    assert caught.value.key == "cache_size"
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
def test_a_directory_of_another_user_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    trouble = _ltxcore.Cache(os.fspath(folder), 1 << 20, "0" * 32).trouble()
    assert trouble is not None
    assert "belongs to another user" in trouble
    assert [*folder.iterdir()] == []
    os.chown(folder, 0, 0)
    assert _ltxcore.Cache(os.fspath(folder), 1 << 20, "0" * 32).trouble() is None
    assert (folder / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
