"""Files of level 0 that are not what their names say, put into a replica or cut there: whoever begins looks into them all."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import ltxcore
from ltxcore import DB, FileClient, ltx
from ltxcore.db._soundness import damaged_of

from tests.unit.databases import forget_local_files, insert, ltx_path, restored
from tests.unit.memory import EPOCH


@pytest.mark.parametrize("local_files", ["here", "expired"])
@pytest.mark.parametrize("when", ["running", "stopped"])
@pytest.mark.parametrize("act", [os.rename, shutil.copy])
def test_a_level_0_file_with_the_name_of_several_transactions(
    database: Path,
    replica: Path,
    tmp_path: Path,
    local_files: str,
    when: str,
    act: Callable[[Path, Path], object],
) -> None:
    """It ended where a local file does, and was not looked into: `wait` returned, and no restore worked."""
    db = DB(database, replica=ltxcore.Replica(replica, sync_interval=0.05), monitor_interval=0.05).open()
    for value in (1, 2, 3, 4):
        insert(database, value)
        top = db.wait(timeout=10).txid
    if local_files == "expired":
        forget_local_files(db)
    if when == "stopped":
        db.close()
    act(ltx_path(replica, 0, top), ltx_path(replica, 0, top - 2, top))
    with db:
        db.wait(timeout=10)
        assert restored(FileClient(replica), tmp_path) == [1, 2, 3, 4]
        insert(database, 5)
        db.wait(timeout=10)
    assert restored(FileClient(replica), tmp_path) == [1, 2, 3, 4, 5]


def add_files(replica: Path, first: int, last: int, content: bytes, pages: int) -> None:
    """Transactions that write the second page as it is."""
    for txid in range(first, last + 1):
        out = io.BytesIO()
        header = ltx.Header(page_size=4096, commit=pages, min_txid=txid, max_txid=txid, timestamp=EPOCH)
        encoder = ltx.Encoder(out, header)
        encoder.write(2, content)
        encoder.finish()
        ltx_path(replica, 0, txid).write_bytes(out.getvalue())


def test_one_of_very_many_files_is_cut_while_nobody_replicates(
    database: Path, replica: Path, tmp_path: Path
) -> None:
    """With more than a thousand files, none of level 0 was looked into: `wait` returned, and no restore worked."""
    with DB(database, replica=replica) as db:
        insert(database, 1)
        top = db.wait(timeout=10).txid
    ltxcore.restore(FileClient(replica), tmp_path / "now.db")
    content = (tmp_path / "now.db").read_bytes()
    add_files(replica, top + 1, 1100, content[4096:8192], len(content) // 4096)
    shutil.rmtree(db.meta_path)
    with DB(database, replica=replica) as db:
        insert(database, 2)
        assert db.wait(timeout=10).txid > 1100
    path = ltx_path(replica, 0, 500)
    os.truncate(path, path.stat().st_size - 20)
    with DB(database, replica=replica) as db:
        insert(database, 3)
        db.wait(timeout=10)
    assert restored(FileClient(replica), tmp_path) == [1, 2, 3]


def test_a_directory_is_looked_into_as_any_other_storage(live: DB, replica: Path) -> None:
    class Plain(FileClient):
        pass

    last = live.pos.txid
    ltx_path(replica, 0, 2).rename(ltx_path(replica, 0, 2, 3))
    for level, name in ((1, "cut"), (2, "empty"), (3, "changed"), (4, "sound")):
        path = ltx_path(replica, level, last)
        path.parent.mkdir()
        content = ltx_path(replica, 0, last).read_bytes()
        change = {"cut": content[:-20], "empty": b"", "changed": bytes(100) + content[100:], "sound": content}
        path.write_bytes(change[name])
    keys = [(0, 1, 1), (0, 2, 2), (0, 2, 3), *((level, int(last), int(last)) for level in range(5))]
    damaged = [key for key in keys if key not in ((0, 1, 1), (0, last, last), (4, last, last))]
    assert damaged_of(FileClient(replica), keys) == damaged
    assert damaged_of(Plain(replica), keys) == damaged
