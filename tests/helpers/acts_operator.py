"""What an operator does to a replica, and to what a replicator keeps beside a database; `world` is the whole world of acts."""

import contextlib
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tests.helpers import acts_files, litestream, replicators
from tests.helpers.acts_backups import Backups, at_rest, has_saved
from tests.helpers.acts_base import Setting, act
from tests.helpers.acts_files import cut
from tests.helpers.process import ChildError

#: What no L0 file can be: it is shorter than a header and a trailer.
STUMP = 100


def picked(folder: Path, pick: int, *, but: Collection[Path] = ()) -> list[Path]:
    """One of the LTX files below a directory, counted from the newest, or none if there are none."""
    files = [path for path in acts_files.ltx_files(folder) if path not in but][::-1]
    return files and [files[pick % len(files)]]


class Operator(Backups):
    """A world with an operator in it. `pause` is how long the operator looks away after an act, in seconds."""

    # --- what the replicator keeps beside the database ----------------------------------------------------------------

    @act(lambda world: not world.split and not world.cut_files)
    def remove_meta(self, pause: float) -> None:
        self.went_back["meta"] += 1
        shutil.rmtree(self.meta, ignore_errors=True)
        self.disturb(pause)

    @act(lambda world: has_saved(world) and not world.cut_files)
    def put_back_meta(self, pick: int, over: bool, pause: float) -> None:
        """As it once was: instead of what is there, or copied over it, file by file into the same inodes."""
        saved = self._pick_saved(pick)
        if saved.meta.exists() and not (over and self._went_back_since(saved, "meta")):
            self._put_back_meta(saved, over)
            self.disturb(pause)

    @act(lambda world: not world.split and not world.cut_files)
    def lose_local_file(self, pick: int, pause: float) -> None:
        """One is gone; 0 is the newest."""
        for path in picked(self.meta, pick):
            path.unlink(missing_ok=True)
            self.went_back["meta"] += 1  # where the replica loses it as well, its TXID may be used again
            self.disturb(pause)

    @act(lambda world: not world.split and not world.cut_files)
    def cut_local_file(self, pick: int, size: int, pause: float) -> None:
        """One is damaged, as a crash may leave it."""
        for path in picked(self.meta, pick):
            cut(path, size)
            self.disturb(pause)

    # --- the replica -------------------------------------------------------------------------------------------------

    @act(at_rest)
    def lose_replica_file(self, pick: int, pause: float) -> None:
        for path in picked(self.replica, pick, but=self.strays):
            path.unlink()
            self.cut_files.pop(path, None)
            self.went_back["replica"] += 1
            self.damage_replica(pause)

    @act(at_rest)
    def cut_replica_file(self, pick: int, size: int, pause: float) -> None:
        """Only what is here as well can be compared; of other files nothing is left that could be an LTX file."""
        for path in picked(self.replica, pick, but=self.strays):
            here = self.meta / path.relative_to(self.replica)
            if not here.exists() or here.stat().st_size != path.stat().st_size:
                size = min(size, STUMP)
            if cut(path, size):
                self.cut_files[path] = size
                if self._is_beyond_local(path):
                    # Only when the local files come that far is it replaced.
                    self.remedies["cut"] = self._remove_cut_files
                self.damage_replica(pause)

    def _is_beyond_local(self, path: Path) -> bool:
        local = [here.name for here in acts_files.ltx_files(self.meta)]
        return bool(local) and path.name > max(local)

    def _remove_cut_files(self) -> None:
        for path, size in self.cut_files.items():
            if path.exists() and path.stat().st_size == size and self._is_beyond_local(path):
                path.unlink()

    @act(at_rest)
    def empty_replica(self, folder_too: bool, pause: float) -> None:
        self._empty_replica(folder_too)
        self.damage_replica(pause)

    def _empty_replica(self, folder_too: bool = True) -> None:
        self._forget_replica()
        shutil.rmtree(self.replica, ignore_errors=True)
        if not folder_too:
            self.replica.mkdir(exist_ok=True)

    def _forget_replica(self) -> None:
        self.went_back["replica"] += 1
        self.cut_files.clear()
        self.strays.clear()

    @act(has_saved)
    def put_back_replica(self, pick: int, pause: float) -> None:
        """As it once was. If TXIDs were used again since, it is of another history, and may be refused until it is emptied."""
        saved = self._pick_saved(pick)
        if self._went_back_since(saved, "replica") and self.went_back["meta"]:
            self.remedies["foreign replica"] = self._empty_replica
        self._forget_replica()
        acts_files.replace_tree(saved.replica, self.replica)
        self.damage_replica(pause)

    @act(lambda world: not world.split and not world.strays)
    def add_stray_file(self, ahead: int, size: int, pause: float) -> None:
        """A file that no replicator made, `ahead` of the newest or, with 0, at the last TXID there is. It may be refused."""
        newest = max((int(path.stem[-16:], 16) for path in acts_files.ltx_files(self.replica)), default=0)
        txid = newest + ahead if ahead else (1 << 64) - 1
        path = self.replica / f"ltx/0/{txid:016x}-{txid:016x}.ltx"
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
        self.strays.add(path)
        self.remedies["stray"] = self._remove_stray_files
        self.damage_replica(pause)

    def _remove_stray_files(self) -> None:
        for path in self.strays:
            if path.exists() and not any(path.read_bytes()):  # it may have been replaced by a file of ours
                path.unlink()
        self.strays.clear()

    # --- processes ---------------------------------------------------------------------------------------------------

    @act(lambda world: world.running)
    def fork(self, how: str) -> None:
        """The replicating process has a child that lives on, or has ended, or tried to replicate."""
        assert self.driver is not None
        child = self.driver.ask("fork", how=how)
        if child:
            self.children.append(child)

    @act(lambda world: world.clock is not None)
    def set_clock(self, offset: str) -> None:
        assert self.clock is not None
        self.clock.set(offset)

    @act(lambda world: not world.split and not world.held and litestream.program() is not None)
    def litestream(self, gap: bool, n: int, mode: str) -> None:
        """Litestream takes over for a while, perhaps with a gap while the application goes on. Its errors do not count."""
        if self.running:
            self.close()
        self.mark()
        self.promise = None
        other = replicators.replicator(self.db, self.replica, kind="litestream")
        try:
            self._run_litestream(other, n)
            if gap:
                self.commit("many", n)
                self.checkpoint(mode)
                self.commit("insert", n)
                self._run_litestream(other, n + 1)
        finally:
            other.end()
        self.disturb()

    def _run_litestream(self, other: Any, n: int) -> None:
        other.start()
        for kind in ("insert", "touch"):
            with contextlib.suppress(ChildError):
                other.barrier(3.0)
            self.commit(kind, n)
        with contextlib.suppress(ChildError):
            other.barrier(3.0)
        with contextlib.suppress(ChildError):
            other.stop()

    def believe(self) -> None:
        super().believe()
        there = {path: size for path, size in self.cut_files.items() if path.exists()}
        self.cut_files = {path: size for path, size in there.items() if path.stat().st_size == size}


@contextlib.contextmanager
def world(setting: Setting | None = None) -> Iterator[Operator]:
    """A world of its own in a temporary directory; at its end everything has to be in the replica."""
    with tempfile.TemporaryDirectory(prefix="ltx-") as directory:
        made = Operator(Path(directory), setting or Setting())
        try:
            yield made
            made.finish()
        finally:
            made.end()


def fill(w: Operator, n: int = 10) -> None:
    """A database of some dozens of pages, and its first file in the replica."""
    for number in range(8):
        w.commit("many", n + number)
    w.commit("keys", n)
    w.start()
    w.wait()
