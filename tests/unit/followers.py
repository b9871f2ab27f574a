"""Followers that come and go, and replicas whose history is another one."""

import shutil
from pathlib import Path
from typing import Any

from ltxcore import TXID, FileClient, follow

from tests.helpers.replicas import Source

QUICK = 0.02


def begun(source: Source, output: Path, **options: Any) -> TXID:
    """Follow up to what is newest, and end."""
    with follow(source.client, output, interval=QUICK, **options) as running:
        return running.wait(timeout=10).txid


def update(source: Source, value: int) -> None:
    """A transaction that changes one page, not the first."""
    source.sql(
        f"UPDATE account SET value = {value} WHERE id = 1",
        f"UPDATE account SET value = {-value} WHERE id = 2",
    )
    source.commit(without_page_1=True)


def another_history(source: Source, txid: int) -> Source:
    """The replica is emptied, and another database is replicated there up to `txid`."""
    shutil.rmtree(source.replica)
    source.path.unlink()
    other = Source(source.path.parent)
    while other.txid < txid:
        other.move(1)
    return other


def branch(source: Source, folder: Path, txid: int) -> Source:
    """The database and its replica as they are, once more, up to `txid` with other transactions of one page each."""
    folder.mkdir()
    other = Source.__new__(Source)
    other.path, other.replica = folder / "source.db", folder / "replica"
    other.client = FileClient(other.replica)
    other.txid, other.pages = source.txid, list(source.pages)
    shutil.copy(source.path, other.path)
    shutil.copytree(source.replica, other.replica)
    while other.txid < txid:
        update(other, 1000 + other.txid)
    return other
