"""Acts of `acts_compare` on what a replicator keeps: its meta directory and its replica; and two on time."""

import datetime
import glob
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

from tests.helpers.acts_compare_base import act
from tests.helpers.acts_files import cut
from tests.helpers.acts_place import NotDriven, Place, apart
from tests.helpers.acts_subjects import Options
from tests.helpers.replicators import RestoreRefused

FAKETIME = (glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1") or [""])[0]


# --- what the replicator keeps beside the database -----------------------------------------------------------------------


def local_files(place: Place) -> list[Path]:
    return sorted((place.meta / "ltx/0").glob("*.ltx"))


def newest_before_upload(place: Place) -> Path:
    """A local file with changes that are nowhere else, while the WAL that held them begins anew."""
    place.update(50, 700)
    place.subject.local_sync()
    time.sleep(0.3)
    newest = local_files(place)[-1]
    if (place.replica / newest.relative_to(place.meta)).exists():
        raise NotDriven("it is uploaded at once")
    place.checkpoint("TRUNCATE")
    return newest


@act("newest local LTX file lost before its upload", options=Options(sync_interval=3600))
def lose_newest_local(place: Place) -> None:
    newest_before_upload(place).unlink()


@act("newest local LTX file cut short before its upload", options=Options(sync_interval=3600))
def cut_newest_local(place: Place) -> None:
    cut(newest_before_upload(place), 100)


@act("newest local LTX file damaged, same size, before its upload", options=Options(sync_interval=3600))
def damage_newest_local(place: Place) -> None:
    damage(newest_before_upload(place))


@act("meta directory removed, running")
def remove_meta_running(place: Place) -> None:
    shutil.rmtree(place.meta, ignore_errors=True)
    place.look_away()


@act("meta directory removed while stopped")
def remove_meta_stopped(place: Place) -> None:
    place.subject.stop()
    shutil.rmtree(place.meta)
    place.insert()
    place.start()


def put_back_meta(place: Place, old: Path) -> None:
    shutil.rmtree(place.meta, ignore_errors=True)
    shutil.copytree(old, place.meta, dirs_exist_ok=True)


@act("meta directory turned back to an older copy, running")
def turn_back_meta_running(place: Place) -> None:
    old = Path(shutil.copytree(place.meta, place.root / "old"))
    place.commits(3)
    put_back_meta(place, old)
    place.look_away()


@act("meta directory turned back to an older copy while stopped")
def turn_back_meta_stopped(place: Place) -> None:
    place.subject.stop()
    old = Path(shutil.copytree(place.meta, place.root / "old"))
    place.start()
    place.commits(3)
    place.subject.stop()
    put_back_meta(place, old)
    place.insert()
    place.start()


@act("`kill -9`, then an older local LTX file is empty")
def empty_local_file(place: Place) -> None:
    place.subject.kill()
    cut(local_files(place)[-3], 0)
    place.insert()
    place.start()


@act("`kill -9`, then the newest local LTX file is damaged")
def damage_local_file(place: Place) -> None:
    place.subject.kill()
    damage(local_files(place)[-1])
    place.insert()
    place.start()


def damage(path: Path) -> None:
    """Other bytes in the middle, of the same number."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 16] = b"damaged by a run"
    path.write_bytes(content)


# --- the replica ---------------------------------------------------------------------------------------------------------


def replica_files(place: Place) -> list[Path]:
    return sorted((place.replica / "ltx/0").glob("*.ltx"))


@act("replica emptied, running")
def empty_replica(place: Place) -> None:
    shutil.rmtree(place.replica)


@act("replica rolled back to an older copy, running")
def roll_back_replica(place: Place) -> None:
    shutil.copytree(place.replica, place.root / "old")
    place.commits(3)
    shutil.rmtree(place.replica)
    shutil.copytree(place.root / "old", place.replica)


@act("one file of the replica lost, running")
def lose_replica_file(place: Place) -> None:
    replica_files(place)[-2].unlink()


@act("one file of the replica cut short, running")
def cut_replica_file(place: Place) -> None:
    cut(replica_files(place)[-2], 100)


@act("one file of the replica damaged, same size, running")
def damage_replica_file(place: Place) -> None:
    damage(replica_files(place)[-2])


def while_stopped(place: Place, do: Callable[[list[Path]], object]) -> None:
    place.subject.stop()
    do(replica_files(place))
    place.insert()
    place.start()


@act("a middle file of the replica cut short while stopped")
def cut_middle(place: Place) -> None:
    while_stopped(place, lambda files: cut(files[-3], 100))


@act("the newest file of the replica cut short while stopped")
def cut_newest(place: Place) -> None:
    while_stopped(place, lambda files: cut(files[-1], 100))


def stray(file: Path, txid: int) -> None:
    file.with_name(f"{txid:016x}-{txid:016x}.ltx").touch()


@act("an empty file with the next TXID appears in the replica while stopped")
def stray_next(place: Place) -> None:
    while_stopped(place, lambda files: stray(files[-1], int(files[-1].stem[-16:], 16) + 1))


@act("an empty file with TXID ffffffffffffffff appears in the replica while stopped")
def stray_last(place: Place) -> None:
    while_stopped(place, lambda files: stray(files[-1], 2**64 - 1))


# --- time ----------------------------------------------------------------------------------------------------------------


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def stamp(file: Path) -> float:
    """When an LTX file says that it was made, in seconds since 1970."""
    return float(struct.unpack_from(">Q", file.read_bytes(), 32)[0]) / 1000


@act("clock a day ahead for a moment, then `restore -timestamp` of now")
def clock_ahead(place: Place) -> str:
    offset = place.root / "offset"
    offset.write_text("+0")
    clock = [f"LD_PRELOAD={FAKETIME}", f"FAKETIME_TIMESTAMP_FILE={offset}"]
    clock += ["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"]
    place.subject.stop()
    place.subject.options = Options(under=("env", *clock))
    place.start()
    time.sleep(1.0)
    for ahead in ("+0", "+1d", "+0", "+0"):
        offset.write_text(ahead)
        place.insert()
        time.sleep(0.8)
    asked = now()
    place.sync()
    if not any(stamp(file) > asked.timestamp() + 3600 for file in replica_files(place)):
        raise NotDriven("its clock cannot be changed")
    try:
        lost = apart(place.rows, place.restored(timestamp=asked))
    except RestoreRefused as error:
        place.said.append(str(error))
        return "refused, says why"
    return f"silent loss: {lost} rows" if lost else "intact, restored"


@act("`restore -timestamp` of a time whose L0 files were pruned", options=Options(merges=True))
def pruned(place: Place) -> str:
    when, states = {}, {}
    for number in range(12):
        [txid] = place.commits(1)
        time.sleep(0.05)
        when[txid], states[txid] = now(), place.rows
        time.sleep(0.05)
        if number in (3, 7):
            place.subject.merge()
    first, last = hole(place)
    place.commits(2)
    wrong = 0
    for txid in (each for each in when if first < each <= last):
        try:
            found = place.restored(timestamp=when[txid])
        except RestoreRefused as error:
            place.said.append(f"time of {txid}: {error}")
            return "refused, says why"
        wrong += found not in [rows for at, rows in states.items() if first - 1 <= at <= txid]
    return f"wrong state for {wrong} times" if wrong else "the newest state left is restored"


def hole(place: Place) -> tuple[int, int]:
    """Removes the L0 files below the middle of a merged file, as retention does; the first and last TXID of that file."""
    for _ in range(30):
        files = sorted((place.replica / "ltx/1").glob("*.ltx"))
        merged = [(int(file.stem[:16], 16), int(file.stem[-16:], 16)) for file in files]
        wide = [(first, last) for first, last in merged if first > 5 and last - first >= 2]
        if wide:
            break
        time.sleep(0.1)
    else:
        raise NotDriven(f"it has merged {merged}")
    first, last = wide[-1]
    for file in replica_files(place):
        if int(file.stem[-16:], 16) <= first + 1:
            file.unlink()
    return first, last
