"""The arguments of a restore that are about its cache."""

from pathlib import Path

import pytest

import ltxcore
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
