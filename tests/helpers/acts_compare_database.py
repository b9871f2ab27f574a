"""Acts of `acts_compare` on the database file, its WAL and its index."""

import os
import shutil
from pathlib import Path

from tests.helpers.acts_compare_base import act
from tests.helpers.acts_files import remove_sidecars, write_over
from tests.helpers.acts_place import Place, Rows, rows_of
from tests.helpers.replicators import RestoreRefused


def replace(place: Place, how: str, *, drained: bool, remove: str, form: str = "wal") -> None:
    """A backup comes over the database by `cp` (same inode) or `mv` (another one), while the application is stopped."""
    backup = place.backup(form=form)
    place.update(*range(100, 800, 100))
    place.sync()
    if drained:
        place.checkpoint("TRUNCATE")
    accepted = [rows_of_backup(backup)]
    place.stop_app()
    if remove == "none":
        # Whoever has no wal-index takes the frames that stay for a part of the new file.
        accepted.append(place.under_this_wal(backup))
    if how == "cp":
        write_over(backup, place.db)
    else:
        os.replace(shutil.copyfile(backup, place.db.with_name("new")), place.db)
    remove_sidecars(place.db, remove)
    place.look_away()
    place.start_app(*accepted)


def rows_of_backup(backup: Path) -> Rows:
    copy = backup.with_name(backup.name + "-read")
    return rows_of(Path(shutil.copyfile(backup, copy)))


@act("`cp` of a backup over it, `-wal` and `-shm` removed")
def cp_removed(place: Place) -> None:
    replace(place, "cp", drained=False, remove="both")


@act("the same with a backup in rollback mode, which the application sets to WAL")
def cp_rollback_mode(place: Place) -> None:
    replace(place, "cp", drained=False, remove="both", form="delete")


@act("the same over an idle, checkpointed database of the same size")
def cp_idle(place: Place) -> None:
    replace(place, "cp", drained=True, remove="both")


@act("`cp` of a backup of the same size while the replicator is stopped")
def cp_stopped(place: Place) -> None:
    place.checkpoint()
    backup = place.backup()
    place.subject.stop()
    place.stop_app()
    write_over(backup, place.db)
    remove_sidecars(place.db, "both")
    place.start()
    place.look_away()
    place.start_app(rows_of_backup(backup))


@act("`cp` of a backup over it, the `-wal` stays")
def cp_wal_stays(place: Place) -> None:
    replace(place, "cp", drained=False, remove="none")


@act("`mv` of a backup over it, the WAL was checkpointed")
def mv_drained(place: Place) -> None:
    replace(place, "mv", drained=True, remove="none")


@act("`mv` of a backup over it, the `-wal` stays with frames")
def mv_not_drained(place: Place) -> None:
    replace(place, "mv", drained=False, remove="none")


@act("`mv` of a backup over it, `-wal` and `-shm` removed")
def mv_removed(place: Place) -> None:
    replace(place, "mv", drained=False, remove="both")


@act("database and `-wal` deleted, the application makes a new one")
def begin_anew(place: Place) -> None:
    place.stop_app()
    place.db.unlink()
    remove_sidecars(place.db, "both")
    place.look_away()
    place.start_app({})


@act("database deleted under a live application, which goes on", source_remains=False)
def delete_under_app(place: Place) -> None:
    place.db.unlink()
    place.look_away()


@act("`-shm` removed under a live application")
def remove_shm(place: Place) -> None:
    remove_sidecars(place.db, "shm")


@act("`-wal` removed under a live application")
def remove_wal_live(place: Place) -> None:
    remove_sidecars(place.db, "wal")


@act("`-wal` removed while the application is stopped")
def remove_wal(place: Place) -> None:
    place.checkpoint()
    with_frames = place.rows
    place.update(100, 200)
    place.sync()
    place.stop_app()
    alone = rows_of_backup(place.db)
    remove_sidecars(place.db, "wal")
    place.look_away()
    place.start_app(alone, with_frames, place.rows)


@act("database is a symbolic link", layout="link")
def is_link(place: Place) -> None:
    place.look_away()


@act("database has a second name (hard link)", layout="hard link")
def is_hard_link(place: Place) -> None:
    place.look_away()


def turn_back(place: Place, *, with_meta: bool) -> None:
    """Everything stops, and starts again with what it had some transactions ago; the replica has them all."""
    old = place.root / "old"
    stop(place)
    shutil.copytree(place.db.parent, old)
    rows_then = place.rows
    place.start_app()
    place.start()
    newest = place.commits(4)[-1]
    ahead = place.rows
    stop(place)
    remove_sidecars(place.db, "both")
    if with_meta:
        shutil.rmtree(place.db.parent)
        shutil.copytree(old, place.db.parent)
    else:
        shutil.copyfile(old / place.db.name, place.db)
    place.rows = rows_then
    place.start_app()
    place.start()
    place.besides = lambda: history(place, newest, ahead)


def stop(place: Place) -> None:
    place.subject.stop()
    place.stop_app()


def history(place: Place, txid: int, wanted: Rows) -> str:
    """Whether what was committed before can still be restored by its TXID."""
    try:
        return "; older history kept" if place.restored(txid=txid) == wanted else "; older history is another"
    except RestoreRefused as error:
        place.said.append(f"restore of {txid}: {error}")
        return "; older history lost"


@act("database turned back to an older copy while stopped, replica ahead")
def turn_back_database(place: Place) -> None:
    turn_back(place, with_meta=False)


@act("database and meta directory turned back while stopped, replica ahead")
def turn_back_volume(place: Place) -> None:
    turn_back(place, with_meta=True)


@act("page size changed while stopped; `kill -9` right after the next sync")
def new_page_size(place: Place) -> None:
    place.subject.stop()
    place.sql("PRAGMA journal_mode = delete")
    for statement in ("PRAGMA page_size = 8192", "VACUUM", "PRAGMA journal_mode = wal"):
        place.sql(statement)
    place.insert()
    place.start()
    place.look(then_kill=True)
