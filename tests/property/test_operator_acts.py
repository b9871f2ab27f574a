"""Whatever is killed, restarted, checkpointed or replaced: what `wait` reported is in a restore; the database is left alone.

First single sequences, each of a fault that was found once; then random ones. `tests.helpers.acts_world` has the rules.
"""

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.helpers.acts_base import TALLY, Fault, Setting
from tests.helpers.acts_machine import machine
from tests.helpers.acts_operator import fill, world
from tests.helpers.profiles import marks, sized

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("pool"), *marks(60, 600)]

LATER = 3600.0  # uploads come when somebody waits


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
    """20 worlds of 40 acts each, 1,250 in the slow profile. A failure shows the acts that led there, as a program.

    The gate plays the same worlds each time; others come in the slow profile and in the acceptance run.

    `python -m tests.helpers.acceptance operator-acts` makes such a program shorter, and goes on after a failure.
    """
    limits = settings(max_examples=sized(20, 1250), stateful_step_count=40, phases=[Phase.generate])
    before = sum(TALLY.acts.values())
    TALLY.broken.clear()
    try:
        run_state_machine_as_test(machine(), settings=limits)
    except Exception:
        # Hypothesis plays the acts again, which need not go wrong in the same way.
        if not TALLY.broken:
            raise
        raise Fault(f"{TALLY.broken[0].problem}\n{TALLY.broken[0].script}") from None
    assert sum(TALLY.acts.values()) - before >= sized(760, 48_000)
