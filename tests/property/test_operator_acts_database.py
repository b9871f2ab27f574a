"""A database that is copied over, put back or robbed of its sidecars: single acts, each of a fault that was found once.

`tests.helpers.acts_world` has the rules.
"""

import pytest

from tests.helpers.acts_base import Setting
from tests.helpers.acts_operator import fill, world
from tests.helpers.profiles import marks

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("pool"), *marks(60, 600)]

LATER = 3600.0  # uploads come when somebody waits


@pytest.mark.parametrize("form", ["delete", "wal"])
@pytest.mark.parametrize("remove", ["both", "wal"])
def test_a_backup_is_copied_over_and_the_wal_removed(remove: str, form: str) -> None:
    """The frames of the WAL that was removed were written into the backup, which was malformed then."""
    with world() as w:
        fill(w)
        w.commit("touch", 3)
        w.wait()
        w.put_backup(0, "cp", remove, form, 0.5)
        w.wait()
        w.commit("insert", 3)
        w.wait()


@pytest.mark.parametrize("order", ["wal first", "database first"])
@pytest.mark.parametrize("mode", ["PASSIVE", "TRUNCATE"])
def test_a_database_and_its_wal_are_copied_back(order: str, mode: str) -> None:
    """The WAL is the one that is there, byte for byte, and the old database needs it again: it was emptied."""
    small = Setting(page_size=512, sync_interval=LATER, monitor_interval=0.01, min_checkpoint_page_n=50)
    with world(small) as w:
        w.start()
        w.save()
        w.checkpoint(mode)
        w.put_back_pair(1, order, 0.02)
        w.wait()
        w.commit("insert", 1)
        w.wait()


@pytest.mark.parametrize("order", ["wal first", "database first"])
def test_a_database_that_is_all_in_its_wal_is_copied_back(order: str) -> None:
    """We kept the wal-index while the application opened what was put back: malformed."""
    with world(Setting(page_size=512, autocheckpoint=0, min_checkpoint_page_n=50)) as w:
        w.commit("many", 20)
        w.start()
        w.save()
        w.commit("many", 30)
        w.put_back_pair(1, order, 0.2)
        w.wait()


def test_a_wal_is_copied_back_while_an_empty_database_is_followed() -> None:
    """The wal-index knew no frame of it, and the large WAL was cut."""
    with world(Setting(page_size=512, asks_for_wal=False, min_checkpoint_page_n=50)) as w:
        for n in (20, 22, 24):
            w.commit("many", n)
        w.save()
        w.start()
        w.begin("update", 70)
        w.put_back_pair(1, "database first", 0.02)
        w.wait()


def test_a_backup_comes_over_the_database_while_the_wal_is_begun_anew() -> None:
    """The frames of the WAL, which was removed, were moved into it: the change of the file might have been a checkpoint's."""
    with world(Setting(page_size=1024, autocheckpoint=20, asks_for_wal=False, min_checkpoint_page_n=50)) as w:
        w.start()
        w.checkpoint("RESTART")
        w.commit("many", 160)
        w.put_backup(0, "cp", "wal", "delete", 0.02)
        w.wait()


@pytest.mark.parametrize("form", ["delete", "wal"])
def test_a_backup_with_other_pages_right_behind_a_checkpoint(form: str) -> None:
    """Its shorter file could not be compared, that was tried for ever, and our lock kept the application from writing."""
    for _ in range(3):
        with world(Setting(autocheckpoint=20, asks_for_wal=False, monitor_interval=0.01)) as w:
            w.commit("many", 20)
            w.start()
            w.commit("touch", 1)
            w.put_backup_over_idle(0, "cp", "none", form, 0.5)
            w.commit("many", 61)
            w.wait()


@pytest.mark.parametrize("meanwhile", ["running", "killed", "killed afterwards"])
def test_a_backup_of_the_same_size_is_copied_over_an_idle_database(meanwhile: str) -> None:
    """The whole WAL was in the database, so nothing but its pages changed: that was never noticed, nor after a restart."""
    with world() as w:
        fill(w)
        w.save()
        w.commit("touch", 3)
        w.wait()
        if meanwhile == "killed":
            w.kill("", 0.0)
        w.put_backup_over_idle(1, "cp", "none", "wal", 0.2)
        if meanwhile == "killed afterwards":
            w.kill("", 0.0)
        w.start()
        w.wait()


@pytest.mark.parametrize("drained", [True, False])
@pytest.mark.parametrize("how", ["mv", "cp"])
def test_another_database_comes_over_while_the_wal_stays(how: str, drained: bool) -> None:
    """What the application then finds is what a restore gives. The WAL of the old one is not written into it."""
    with world(Setting(autocheckpoint=0)) as w:
        fill(w)
        w.save()
        w.commit("touch", 3)
        w.wait()
        if drained:
            w.put_backup_over_idle(1, how, "none", "wal", 0.3)
        else:
            w.put_backup_only(1, how, "wal", 0.3)
        w.wait()
        w.commit("insert", 3)
        w.wait()


def test_the_wal_index_is_removed_under_the_application() -> None:
    """A second wal-index came beside the one in use: commits were passed over, and checkpoints by both tore the database."""
    with world() as w:
        fill(w)
        w.remove_shm_under_app(0.3)
        for n in range(3):
            w.commit("insert", n)
            w.wait()
        w.close_app()
        w.commit("insert", 4)
        w.wait()


def test_the_wal_index_is_removed_twice_between_two_looks() -> None:
    """The application was in a second one, which had lost its name as well: its commits were passed over."""
    with world(Setting(page_size=512, sync_interval=LATER, monitor_interval=0.05)) as w:
        for n in (20, 21, 22):
            w.commit("many", n)
        w.start()
        w.remove_shm_under_app(0.02)
        w.commit("update", 147)
        w.close_app()
        w.begin("many", 101)
        w.remove_shm_under_app(0.2)


@pytest.mark.parametrize("with_meta", [False, True], ids=["database", "database-and-meta"])
def test_the_database_goes_back_with_its_wal(with_meta: bool) -> None:
    """An older state of the volume, so that the replica is ahead: a restore is the older state afterwards."""
    with world(Setting(autocheckpoint=0)) as w:
        fill(w)
        w.commit("touch", 3)
        w.wait()
        w.save()
        for n in range(3):
            w.commit("update", n)
            w.wait()
        w.kill("", 0.0)
        w.put_back_volume(1, with_meta)
        w.start()
        w.wait()
        w.commit("touch", 1)
        w.wait()


@pytest.mark.parametrize("asks_for_wal", [True, False])
def test_a_backup_in_rollback_mode_is_copied_over_an_idle_database(asks_for_wal: bool) -> None:
    """The replicator kept its connections, which believed in a WAL: the application was locked out."""
    with world(Setting(asks_for_wal=asks_for_wal)) as w:
        fill(w)
        w.save()
        w.commit("touch", 3)
        w.put_backup_over_idle(1, "cp", "none", "delete", 0.2)
        w.commit("insert", 3)
        w.wait()


def test_a_backup_of_another_page_size_is_copied_over_an_idle_database() -> None:
    """The wal-index that the replicator kept had the old page size: the application could not checkpoint any more."""
    with world() as w:
        fill(w)
        w.put_backup_over_idle(0, "cp", "none", "wal", 0.2)
        w.commit("keys", 20)
        w.checkpoint("FULL")
        w.wait()


@pytest.mark.parametrize("attempt", range(6))
def test_the_sidecars_are_removed_and_the_application_starts_at_once(attempt: int) -> None:
    """What the removed WAL had held was written into the database while the application wrote there: it was damaged.

    Who is first is chance, so it is tried a few times.
    """
    with world(Setting(page_size=512, autocheckpoint=0)) as w:
        fill(w, 10 + attempt)
        w.checkpoint("TRUNCATE")
        for n in range(3):
            w.commit("insert", 190 + n)
            w.commit("update", n)
        w.wait()
        w.remove_sidecars("both", 0.0)
        w.checkpoint("FULL")
        w.commit("touch", 1)
        w.wait()
