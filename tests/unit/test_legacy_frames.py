"""LZ4 frames of v0.3 replicas beside liblz4 in Python (`lz4` of PyPI)."""

import itertools
from pathlib import Path
from typing import Any

import lz4.frame
import pytest

from ltxcore import legacy
from ltxcore.errors import FormatError

from tests.helpers.v03_history import History
from tests.unit.legacy_histories import content

#: What Litestream's frames begin with: independent blocks of 4 MiB, a checksum of the content, no size of it.
BEGINNING = bytes.fromhex("04224d186470b9")
OPTIONS: list[dict[str, Any]] = [
    {
        "block_size": size,
        "block_linked": linked,
        "content_checksum": checksum,
        "block_checksum": block_checksum,
    }
    for size, linked, checksum, block_checksum in itertools.product(
        (lz4.frame.BLOCKSIZE_MAX64KB, lz4.frame.BLOCKSIZE_MAX4MB), *[(False, True)] * 3
    )
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A replica whose objects have several blocks, some of which LZ4 cannot make smaller; and its newest state."""
    folder = tmp_path_factory.mktemp("frames")
    with History(folder / "db", folder / "replica") as history:
        execute = history.connection.execute
        execute("CREATE TABLE t (a)")
        execute("INSERT INTO t VALUES (randomblob(200000)), (zeroblob(4500000))")
        history.snapshot()
        for size in (10, 200_000):
            execute("INSERT INTO t VALUES (randomblob(?)), (zeroblob(?))", (size, 25 * size))
            history.segment()
        return folder / "replica", content(history)


def repacked(source: Path, target: Path, **options: Any) -> Path:
    """The replica with all of its objects in other frames of the same content."""
    for path in source.rglob("*.lz4"):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(lz4.frame.compress(lz4.frame.decompress(path.read_bytes()), **options))
    return target


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda options: "-".join(str(int(x)) for x in options.values())
)
def test_any_frame_is_read(made: tuple[Path, bytes], tmp_path: Path, options: dict[str, Any]) -> None:
    """Blocks of any size, linked or not, with and without checksums and a size: the content is the same."""
    replica, newest = made
    source = repacked(replica, tmp_path / "replica", store_size=options["block_linked"], **options)
    legacy.restore(source, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == newest


@pytest.mark.parametrize("what", ["twice", "cut", "nothing", "junk"])
@pytest.mark.parametrize("kind", ["snapshots", "wal"])
def test_what_is_not_one_frame_is_refused(
    made: tuple[Path, bytes], tmp_path: Path, kind: str, what: str
) -> None:
    """Two frames, the start of one, none, and something else; the error names the file."""
    source = repacked(made[0], tmp_path / "replica")
    path = max(source.rglob(f"{kind}/*.lz4"))
    whole = path.read_bytes()
    path.write_bytes({"twice": whole * 2, "cut": whole[:-5], "nothing": b"", "junk": b"x" * 5000}[what])
    with pytest.raises(FormatError, match=path.name):
        legacy.restore(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
