"""follow(): files of a replica that vanish, come late, are damaged, or have pages of another size."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ltxcore import TXID, FileClient, errors, follow, ltx
from ltxcore.ltx import FileInfo

from tests.helpers.replicas import Source, content
from tests.unit.databases import eventually
from tests.unit.followers import QUICK, begun, update


@pytest.fixture
def source(tmp_path: Path) -> Source:
    made = Source(tmp_path)
    for _ in range(3):
        made.move(10)
    return made


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "copy" / "out.db"


def test_the_source_has_another_page_size(source: Source, output: Path) -> None:
    """VACUUM changes every page: the next file is a whole database, and no reason to end."""
    begun(source, output)
    with closing(sqlite3.connect(output)) as reader:
        assert reader.execute("SELECT count(*) FROM account").fetchone() == (32,)
        update(source, 1)
        source.sql("PRAGMA page_size = 1024", "VACUUM")
        commit_whole(source, 1024)
        begun(source, output)
        assert reader.execute("SELECT count(*) FROM account").fetchone() == (32,)
    with closing(sqlite3.connect(output)) as reader:
        assert reader.execute("PRAGMA page_size").fetchone() == (1024,)
    assert content(output) == content(source.path)


def commit_whole(source: Source, page_size: int) -> None:
    data, source.txid = source.path.read_bytes(), source.txid + 1
    header = ltx.Header(
        page_size=page_size,
        commit=len(data) // page_size,
        min_txid=source.txid,
        max_txid=source.txid,
        timestamp=datetime.now(UTC),
    )
    with open(source.file(0, source.txid, source.txid), "wb") as file:
        encoder = ltx.Encoder(file, header)
        for at in range(0, len(data), page_size):
            encoder.write(at // page_size + 1, data[at : at + page_size])
        encoder.finish(ltx.Checksum(0))


def test_what_comes_before_a_damaged_file_is_applied(source: Source, output: Path) -> None:
    begun(source, output)
    update(source, 1)
    before = content(source.path)
    update(source, 2)
    path = source.file(0, 6, 6)
    path.write_bytes(path.read_bytes()[:-3])
    with follow(source.client, output, interval=QUICK) as running:
        eventually(lambda: running.txid == 5 and isinstance(running.error, errors.FormatError))
    assert content(output) == before


class Vanishing(FileClient):
    """The first reads of each file fail as if it had been merged away after it was listed."""

    times = 1

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.left: dict[str, int] = {}

    def open_ltx_file(self, level: int, min_txid: TXID, max_txid: TXID, **options: Any) -> Any:
        self._vanish(f"{level} {min_txid} {max_txid}")
        return super().open_ltx_file(level, min_txid, max_txid, **options)

    def read_ltx_file(self, level: int, min_txid: TXID, max_txid: TXID, **options: Any) -> bytes:
        self._vanish(f"{level} {min_txid} {max_txid}")
        return super().read_ltx_file(level, min_txid, max_txid, **options)

    def _vanish(self, name: str) -> None:
        left = self.left.setdefault(name, self.times)
        self.left[name] = max(0, left - 1)
        if left:
            raise errors.LTXFileNotFoundError(f"no such file: {name}")


def test_a_file_that_is_gone_when_it_is_read_is_looked_for_again(source: Source, output: Path) -> None:
    begun(source, output)
    client = Vanishing(source.replica)
    with follow(client, output, interval=QUICK) as running:
        source.move()
        running.wait(timeout=10)
        assert running.error is None
    assert content(output) == content(source.path)


def test_a_file_that_stays_away_is_an_error(source: Source, output: Path) -> None:
    begun(source, output)
    client = Vanishing(source.replica)
    client.times = 1000
    source.move()
    with pytest.raises(errors.LTXFileNotFoundError):
        begun(Named(source, client), output)


class Named:
    """A source behind another client."""

    def __init__(self, source: Source, client: FileClient) -> None:
        self.client = client


def test_files_that_come_while_levels_are_listed(source: Source, output: Path) -> None:
    """Level 0 was listed as nothing new, then as going on only at the very next transaction: no gap at all."""
    begun(source, output)

    class Late(FileClient):
        def ltx_files(self, level: int, **options: Any) -> Any:
            found: list[FileInfo] = list(super().ltx_files(level, **options))
            return iter([file for file in found if file.max_txid <= 4] if "seek" in options else found)

    source.move()
    with follow(Late(source.replica), output, interval=QUICK) as running:
        assert running.txid == 4 and running.error is None
