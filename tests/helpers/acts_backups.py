"""What an operator does to a database: puts a copy or an older state over it, and removes what belongs to it.

The application is stopped first, as an operator would, but for the one act whose outcome is clear nevertheless.
"""

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.helpers import acts_files
from tests.helpers.acts_base import Setting, act
from tests.helpers.acts_files import Saved, beside, remove_sidecars
from tests.helpers.acts_model import Content, Model
from tests.helpers.acts_world import World
from tests.helpers.process import ChildError

#: A replicator whose WAL was removed moves the frames into the database, which makes no sense half done. In seconds.
RESCUE = 0.2


def at_rest(world: Any) -> bool:
    return not world.split


def has_saved(world: Any) -> bool:
    return bool(world.saved) and not world.split


class Backups(World):
    """A world with older copies of everything. `pause` is how long the operator looks away after an act, in seconds."""

    def __init__(self, root: Path, setting: Setting) -> None:
        super().__init__(root, setting)
        # How often the replica went back, and how often what the replicator keeps: after both, a TXID may be used twice.
        self.went_back = {"replica": 0, "meta": 0}
        # Files of the replica that were cut, and to what size; whoever loses the local file as well cannot know it.
        self.cut_files: dict[Path, int] = {}
        # Files in the replica that no replicator made.
        self.strays: set[Path] = set()
        self.saved: list[Saved] = [self._other_database()]

    # --- older copies ------------------------------------------------------------------------------------------------

    @act(
        lambda world: (
            not (world.held or world.split or world.cut_files or world.strays) and len(world.saved) < 6
        )
    )
    def save(self) -> None:
        """A copy of everything, file by file, for later. Of a replica that is known to be damaged nobody makes one."""
        if len(self.models) > 1:
            return  # nobody knows what would be copied
        saved = self._new_saved(self.model.clone())
        acts_files.copy_database(self.db, saved.db)
        acts_files.copy_tree(self.meta, saved.meta)
        acts_files.copy_tree(self.replica, saved.replica)
        self.saved.append(saved)

    def _new_saved(self, model: Model) -> Saved:
        folder = Path(tempfile.mkdtemp(prefix="saved-", dir=self.root))
        return Saved(folder, model, dict(self.went_back))

    def _other_database(self) -> Saved:
        """One of somebody else: other rows, other tables, another page size."""
        model = Model.born()
        for kind, n in (("schema", 1), ("many", 30), ("keys", 20), ("insert", 3)):
            for statements in model.work(kind, n):
                model.transact(statements)
        saved = self._new_saved(model)
        with contextlib.closing(sqlite3.connect(saved.db)) as made:
            model.connection.backup(made)
            made.execute(f"PRAGMA page_size = {1024 if self.setting.page_size == 4096 else 4096}")
            made.execute("VACUUM")
        return saved

    def _pick_saved(self, pick: int) -> Saved:
        return self.saved[pick % len(self.saved)]

    # --- the database ------------------------------------------------------------------------------------------------

    @act(has_saved)
    def put_backup(self, pick: int, how: str, remove: str, form: str, pause: float) -> None:
        """A backup comes over the database, by `cp` (same inode) or `mv`; the old WAL is removed, or `both` sidecars."""
        saved = self._pick_saved(pick)
        self._stop_app()
        self._put_backup(saved, how, remove, form, pause)

    @act(has_saved)
    def put_backup_over_idle(self, pick: int, how: str, remove: str, form: str, pause: float) -> None:
        """The same with a WAL that stays: it is empty, since the application was stopped in good order."""
        saved = self._pick_saved(pick)
        if self._drained():
            self._stop_app()
            self._put_backup(saved, how, remove, form, pause)

    @act(has_saved)
    def put_backup_only(self, pick: int, how: str, form: str, pause: float) -> None:
        """The same by mistake: a WAL with frames stays, and what the database is then nobody can tell beforehand.

        The application looks and goes on with what it finds. If that is damaged, the operator does it once more, and properly.
        """
        saved = self._pick_saved(pick)
        self._stop_app()
        self._copy_backup(saved, how, form)
        self.mark()
        time.sleep(pause)
        if not self._goes_on_with_whatever_is_there():
            self._stop_app()
            self._put_backup(saved, how, "both", form, max(pause, 0.2))

    def _put_backup(self, saved: Saved, how: str, remove: str, form: str, pause: float) -> None:
        self._copy_backup(saved, how, form)
        remove_sidecars(self.db, remove)
        self.expect([saved.model.clone()])
        self.disturb(pause)

    def _copy_backup(self, saved: Saved, how: str, form: str) -> None:
        backup = saved.backup(form)
        beside(self.db, "-journal").unlink(missing_ok=True)  # of an application that was killed
        if how == "cp":
            acts_files.write_over(backup, self.db)
        else:
            shutil.copyfile(backup, beside(self.db, "-new"))
            os.replace(beside(self.db, "-new"), self.db)

    def _goes_on_with_whatever_is_there(self) -> bool:
        """A commit begins the WAL anew or continues it: from then on every reader sees the same."""
        self._start_app()
        try:
            self._ask_app("connect", path=str(self.db), pragmas=["journal_mode = wal"], schema=())
            self._ask_app("transact", statements=[], tick=self._ask_app("content")[2])
            seen = Content(*self._ask_app("content"))
        except ChildError:
            return False
        finally:
            with contextlib.suppress(ChildError):
                self._ask_app("close")
        copy = self.scratch / "whatever"
        acts_files.copy_database(self.db, copy)
        if not acts_files.says_wal_mode(copy):
            return False  # SQLite goes on with the WAL; what others make of the two depends on what they ask first
        acts_files.as_one_file(copy)
        if seen.verdict != "ok" or acts_files.content_of(copy) != seen:
            return False
        self.expect([Model.of(copy)])
        return True

    @act(at_rest)
    def remove_sidecars(self, which: str, pause: float) -> None:
        """The WAL goes, or the wal-index, or both. Who still has the WAL open may bring what it holds into the database."""
        self._stop_app()
        models = [*self.models]
        if which != "shm":
            alone = self.scratch / "alone"
            shutil.copyfile(self.db, alone)
            if acts_files.content_of(alone).verdict != "ok":
                return  # a checkpoint that was not finished: without its WAL the database is damaged
            models = [Model.of(alone), *(models if self.running else ())]
        remove_sidecars(self.db, which)
        self.expect(models)
        self.disturb(max(pause, RESCUE) if self.running and which == "wal" else pause)

    @act(lambda world: world.running and world.connected and not world.split)
    def remove_shm_under_app(self, pause: float) -> None:
        """The application does not notice: it goes on, and loses nothing. Nobody else may connect until it has ended."""
        remove_sidecars(self.db, "shm")
        self.split = True
        self.remedies["split"] = self.close_app
        self.disturb(pause)

    @act(lambda world: has_saved(world) and not world.running)
    def put_back_volume(self, pick: int, with_meta: bool) -> None:
        """The database with its WAL as it once was, and perhaps what the replicator kept beside it. The replica is ahead."""
        saved = self._pick_saved(pick)
        if with_meta and (self.cut_files or not saved.meta.exists()):
            return
        self._stop_app()
        remove_sidecars(self.db, "both")
        acts_files.copy_database(saved.db, self.db)
        if with_meta:
            self._put_back_meta(saved, over=False)
        self.expect([saved.model.clone()])
        self.disturb()

    @act(has_saved)
    def put_back_pair(self, pick: int, order: str, pause: float) -> None:
        """The database and its WAL as they once were, each copied over what is there; in between they are of two times."""
        saved = self._pick_saved(pick)
        self._stop_app()
        for suffix in ("-wal", "") if order == "wal first" else ("", "-wal"):
            source, target = beside(saved.db, suffix), beside(self.db, suffix)
            if source.exists():
                acts_files.write_over(source, target)
            elif target.exists():
                target.write_bytes(b"")
            self.mark()
            time.sleep(pause)
        beside(self.db, "-journal").unlink(missing_ok=True)
        self.expect([saved.model.clone()])
        self.disturb(max(pause, 0.2))

    @act(at_rest)
    def begin_anew(self, pause: float) -> None:
        """The database is deleted, and the application makes a new one."""
        self._stop_app()
        self.db.unlink()
        beside(self.db, "-journal").unlink(missing_ok=True)
        remove_sidecars(self.db, "both")
        self.mark()
        time.sleep(pause)
        self.expect([Model.born()])
        self.unborn = True
        self._connect()

    def _stop_app(self) -> None:
        self.close_app()

    def _drained(self) -> bool:
        """The application is stopped in good order, so that nothing is left in the WAL."""
        self.read(False)
        if self.held:
            self.finish_transaction("ROLLBACK")
        wal = beside(self.db, "-wal")
        for _ in range(20):
            self.checkpoint("TRUNCATE")
            if not wal.exists() or wal.stat().st_size == 0:
                return True
            time.sleep(0.05)
        return False

    def _put_back_meta(self, saved: Saved, over: bool) -> None:
        """Files that were never uploaded may be missing from it, and others have their TXIDs by now: then it may be refused."""
        if self._went_back_since(saved, "meta"):
            self.remedies["foreign meta"] = partial(shutil.rmtree, self.meta, ignore_errors=True)
        self.went_back["meta"] += 1
        (acts_files.copy_tree if over else acts_files.replace_tree)(saved.meta, self.meta)

    def _went_back_since(self, saved: Saved, what: str) -> bool:
        return self.went_back[what] > saved.went_back[what]
