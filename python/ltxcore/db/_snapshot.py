"""Snapshots of a live database, on their way into its replica."""

from __future__ import annotations

import os
import re
import threading
import uuid
from typing import TYPE_CHECKING, TypeVar

from ltxcore.ltx import TXID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ltxcore import _ltxcore

_T = TypeVar("_T")

_NAME = re.compile(r"snapshot-[0-9a-f]{32}\.tmp")


class Snapshots:
    """Writes snapshots beside the local files, under names that nothing else has there."""

    def __init__(self, engine: _ltxcore.Database, meta_path: Path) -> None:
        self._engine = engine
        self._meta_path = meta_path
        self._lock = threading.Lock()
        self._under_way: set[str] = set()
        self._is_clean = False

    def make(self, store: Callable[[TXID, Path], _T]) -> _T:
        """Write the whole database, as far as it is in LTX files, to a file, and have it stored.

        Args:
            store: is given the last TXID of the snapshot and the path of the file, which is deleted afterwards.
        """
        name = f"snapshot-{uuid.uuid4().hex}.tmp"
        path = self._meta_path / name
        with self._lock:
            self._under_way.add(name)
        try:
            max_txid = self._engine.snapshot(os.fspath(path))
            return store(TXID(max_txid), path)
        finally:
            path.unlink(missing_ok=True)
            with self._lock:
                self._under_way.discard(name)

    def clean(self) -> None:
        """Delete what a crash has left, once. Only whoever holds the lock of the meta directory may do that."""
        with self._lock:
            if self._is_clean or not self._meta_path.is_dir():
                return
            with os.scandir(self._meta_path) as entries:
                for entry in entries:
                    ours = _NAME.fullmatch(entry.name) and entry.name not in self._under_way
                    if ours and entry.is_file(follow_symlinks=False):
                        os.unlink(entry.path)
            self._is_clean = True
