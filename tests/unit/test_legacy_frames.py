"""LZ4 frames of v0.3 replicas beside liblz4 in Python (`lz4` of PyPI)."""

import itertools
import os
from pathlib import Path
from typing import Any

import lz4.frame
import pytest

from ltxcore import _ltxcore, legacy, ltx
from ltxcore.errors import FormatError

from tests.helpers.v03_history import EPOCH, History
from tests.helpers.vectors import VECTORS
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


def test_histories_of_the_tests_are_like_those_of_litestream(made: tuple[Path, bytes]) -> None:
    """So that what is true of theirs is true of Litestream's."""
    for folder in (made[0], VECTORS / "v03"):
        paths = list(folder.rglob("*.lz4"))
        assert paths
        for path in paths:
            assert path.read_bytes().startswith(BEGINNING)
            lz4.frame.decompress(path.read_bytes())


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


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_our_frames_are_read(tmp_path: Path, page_size: int) -> None:
    """Snapshots and segments of ours, of several blocks: liblz4 finds Litestream's options, and the content."""
    pages = [
        os.urandom(page_size) if pgno % 3 else bytes(page_size) for pgno in range(9_000_000 // page_size)
    ]
    header = ltx.Header(page_size=page_size, commit=len(pages), min_txid=1, max_txid=1, timestamp=EPOCH)
    with (tmp_path / "ltx").open("wb") as file:
        encoder = ltx.Encoder(file, header)
        for pgno, page in enumerate(pages, 1):
            encoder.write(pgno, page)
        encoder.finish()
    _ltxcore.legacy_snapshot(tmp_path / "ltx", tmp_path / "snapshot")
    segment = _ltxcore.legacy_segment(
        tmp_path / "ltx",
        tmp_path / "segment",
        generation=7,
        index=3,
        offset=0,
        checksum=(0, 0),
        page_size=page_size,
    )
    assert segment is not None
    contents = {}
    for name in ("snapshot", "segment"):
        frame = (tmp_path / name).read_bytes()
        assert frame.startswith(BEGINNING)
        info = lz4.frame.get_frame_info(frame)
        assert (info["block_size"], info["block_linked"], info["content_size"]) == (4 << 20, False, 0)
        assert info["content_checksum"] and not info["block_checksum"]
        contents[name] = lz4.frame.decompress(frame)
    assert contents["snapshot"] == b"".join(pages)
    frames = memoryview(contents["segment"])[32:]
    assert segment.end == len(contents["segment"]) == 32 + len(pages) * (24 + page_size)
    assert [frames[at + 24 : at + 24 + page_size] for at in range(0, len(frames), 24 + page_size)] == pages
