"""Whatever is killed, restarted, checkpointed or replaced: what `wait` reported is in a restore; the database is left alone.

First single sequences, each of a fault that was found once; then random ones. `tests.helpers.acts_world` has the rules.
"""

from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.helpers.acts_base import TALLY, Fault, Setting
from tests.helpers.acts_machine import machine
from tests.helpers.acts_operator import Operator, world
from tests.helpers.acts_processes import Pool
from tests.helpers.profiles import marks, sized

pytestmark = [pytest.mark.process, *marks(60, 600)]

LATER = 3600.0  # uploads come when somebody waits


@pytest.fixture(autouse=True, scope="module")
def pool() -> Iterator[None]:
    yield
    Pool.end()


def fill(w: Operator, n: int = 10) -> None:
    """A database of some dozens of pages, and its first file in the replica."""
    for number in range(8):
        w.commit("many", n + number)
    w.commit("keys", n)
    w.start()
    w.wait()


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


def test_the_application_goes_on_in_a_file_that_says_rollback_mode() -> None:
    """Once the WAL is empty nobody else would look at it. The application has to be restarted, and that is what we say."""
    with world(Setting(page_size=512, autocheckpoint=0, min_checkpoint_page_n=50)) as w:
        w.commit("many", 20)
        w.start()
        w.wait()
        w.checkpoint_replicator("RESTART")
        w.put_backup_only(0, "mv", "wal", 0.5)
        w.put_backup_only(0, "cp", "delete", 0.5)
        w.kill("", 0.0)
        w.commit("insert", 93)
        w.checkpoint("TRUNCATE")
        w.start()
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


@pytest.mark.interop
def test_litestream_left_a_gap_and_we_take_over() -> None:
    """Rows that Litestream missed never reached a restore, since its newest file was taken for proof."""
    with world(Setting(autocheckpoint=0)) as w:
        for n in range(4):
            w.commit("many", n + 10)
        w.litestream(True, 3, "FULL")
        w.start()
        w.wait()
        w.commit("insert", 1)
        w.wait()


@pytest.mark.parametrize("end", ["running", "killed"])
def test_the_newest_local_file_is_lost_before_its_upload(end: str) -> None:
    """The page checksums knew the lost transaction already: its pages were never found again."""
    with world(Setting(autocheckpoint=0, sync_interval=LATER)) as w:
        fill(w)
        w.commit("insert", 3)
        w.wait()
        w.commit("touch", 3)
        w.sync()
        w.checkpoint("TRUNCATE")
        if end == "killed":
            w.kill("", 0.0)
        w.lose_local_file(0, 0.0)
        w.commit("insert", 1)
        w.start()
        w.wait()


@pytest.mark.parametrize("how", ["emptied", "rolled back", "one file"])
def test_the_replica_loses_files_while_it_is_written(how: str) -> None:
    """The replica was only looked at when it was opened: later, what no restore could give was said to be durable."""
    with world() as w:
        fill(w)
        w.save()
        for n in range(3):
            w.commit("insert", n)
            w.wait()
        if how == "emptied":
            w.empty_replica(True, 0.0)
        elif how == "rolled back":
            w.put_back_replica(1, 0.0)
        else:
            w.lose_replica_file(1, 0.0)
        w.commit("insert", 3)
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


@pytest.mark.parametrize("over", [False, True], ids=["instead", "over"])
@pytest.mark.parametrize("meanwhile", ["running", "killed"])
def test_an_older_copy_of_the_meta_directory_is_put_back(meanwhile: str, over: bool) -> None:
    """It was copied file by file while it was written."""
    with world() as w:
        fill(w)
        w.commit("touch", 3)
        w.save()
        for n in range(3):
            w.commit("touch", n)
            w.wait()
        if meanwhile == "killed":
            w.kill("", 0.0)
        w.put_back_meta(1, over, 0.1)
        w.commit("insert", 1)
        w.start()
        w.wait()
        w.checkpoint("TRUNCATE")
        w.kill("", 0.0)
        w.commit("touch", 5)
        w.checkpoint("TRUNCATE")
        w.start()
        w.wait()


@pytest.mark.parametrize("meanwhile", ["running", "killed"])
@pytest.mark.parametrize(("ahead", "size"), [(0, 0), (0, 300), (1, 0), (1, 300)])
def test_a_stray_file_is_in_the_replica(ahead: int, size: int, meanwhile: str) -> None:
    """At the last TXID there is, or where the next file belongs: nothing is called durable that cannot be restored.

    It may be refused until the operator removes the file; what comes then must be in a restore.
    """
    with world() as w:
        fill(w)
        if meanwhile == "killed":
            w.kill("", 0.0)
        w.add_stray_file(ahead, size, 0.0)
        w.commit("insert", 1)
        w.start()
        w.wait()


@pytest.mark.parametrize("meanwhile", ["running", "killed"])
@pytest.mark.parametrize("pick", [0, 1], ids=["newest", "older"])
def test_a_file_of_the_replica_is_cut(pick: int, meanwhile: str) -> None:
    """The file is still here, in another size: it is sent again."""
    with world() as w:
        fill(w)
        for n in range(3):
            w.commit("insert", n)
            w.wait()
        if meanwhile == "killed":
            w.kill("", 0.0)
        w.cut_replica_file(pick, 100, 0.0)
        w.commit("insert", 1)
        w.start()
        w.wait()


# --- found by the random acts ----------------------------------------------------------------------------------------


def test_the_meta_directory_is_removed_while_nothing_is_written() -> None:
    """Nobody noticed before the next commit, and until then every `wait` ran out of time."""
    with world() as w:
        fill(w)
        w.remove_meta(0.2)
        w.wait()


def test_a_snapshot_is_asked_for_without_a_meta_directory() -> None:
    """It ended with a plain FileNotFoundError."""
    with world() as w:
        fill(w)
        w.remove_meta(0.2)
        w.snapshot()
        w.commit("insert", 1)
        w.wait()


@pytest.mark.parametrize("meanwhile", ["meta removed", "volume put back"])
def test_the_page_size_changes_where_the_newest_local_file_does_not_tell(meanwhile: str) -> None:
    """The whole database went up as one more L0 file behind files of the old page size: nothing could be restored for good."""
    with world() as w:
        fill(w)
        w.kill("", 0.0)
        if meanwhile == "meta removed":
            w.remove_meta(0.0)
            w.repage(1024)
        else:
            w.put_back_volume(0, False)
            w.remove_meta(0.0)
        w.start()
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


@pytest.mark.parametrize("pick", [0, 1], ids=["newest", "older"])
def test_a_local_file_is_damaged(pick: int) -> None:
    """Nothing more could be replicated until somebody removed it."""
    with world() as w:
        fill(w)
        for n in range(3):
            w.commit("insert", n)
            w.wait()
        w.kill("", 0.0)
        w.cut_local_file(pick, 0, 0.0)
        w.commit("insert", 1)
        w.start()
        w.wait()


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_a_child_of_the_replicator_lives_on(end: str) -> None:
    """It had inherited the lock of the meta directory, so nobody could replicate as long as it lived."""
    with world() as w:
        fill(w)
        w.fork("sleep")
        w.close() if end == "closed" else w.kill("", 0.0)
        w.commit("insert", 1)
        w.start()
        w.wait()


def test_files_are_merged_after_the_page_size_has_changed() -> None:
    """Compaction was refused: "damaged file"."""
    with world() as w:
        fill(w)
        w.close()
        w.repage(1024)
        w.start()
        w.wait()
        w.compact(1)
        w.commit("insert", 1)
        w.wait()


# --- random acts -----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(sized(300, 14_400))
def test_random_acts() -> None:
    """50 worlds of 40 acts each, 1,250 in the slow profile. A failure shows the acts that led there, as a program.

    The gate plays the same worlds each time; others come in the slow profile and in the acceptance run.

    `python -m tests.helpers.acceptance operator-acts` makes such a program shorter, and goes on after a failure.
    """
    limits = settings(max_examples=sized(50, 1250), stateful_step_count=40, phases=[Phase.generate])
    before = sum(TALLY.acts.values())
    TALLY.broken.clear()
    try:
        run_state_machine_as_test(machine(), settings=limits)
    except Exception:
        # Hypothesis plays the acts again, which need not go wrong in the same way.
        if not TALLY.broken:
            raise
        raise Fault(f"{TALLY.broken[0].problem}\n{TALLY.broken[0].script}") from None
    assert sum(TALLY.acts.values()) - before >= sized(1900, 48_000)
