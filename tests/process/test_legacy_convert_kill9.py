"""kill -9 of `ltxcore convert` at random moments: what is there is right, and the next run goes on."""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ltxcore
from ltxcore import legacy

from tests.helpers.process import Child, ended
from tests.helpers.profiles import marks, sized
from tests.helpers.v03_history import History

pytestmark = [pytest.mark.process, *marks(120, 1800)]

KILLS = sized(8, 100)


def make(folder: Path) -> Path:
    """Two generations, each with two snapshots, of 300 segments together."""
    for name in ("00000000000000aa", "00000000000000bb"):
        with History(folder / "db", folder / "old", generation=name) as history:
            history.stored = 1000 if name.endswith("bb") else 0
            history.connection.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b)")
            for number in range(150):
                if number % 15 == 0:
                    history.next_wal()
                if number % 75 == 0:
                    history.snapshot()
                history.connection.execute("INSERT INTO t (b) VALUES (randomblob(2000))")
                history.segment()
    return folder / "old"


def files(place: Path) -> dict[str, bytes]:
    found = place.rglob("*.l[tz][x4]*")
    return {
        str(path.relative_to(place)): path.read_bytes() for path in found if path.suffix in (".ltx", ".lz4")
    }


def run(folder: Path, new: Path, meanwhile: Callable[[Child], None] | None = None) -> float:
    """How long a conversion takes, in seconds."""
    began = time.monotonic()
    argv = [sys.executable, "-m", "ltxcore", "convert", str(folder / "old"), str(new)]
    child = Child(argv, folder / "log")
    with ended(child):
        if meanwhile is None:
            assert child.wait(60) == 0, child.tail()
        else:
            meanwhile(child)
    return time.monotonic() - began


def test_conversions_that_are_killed(tmp_path: Path) -> None:
    old = make(tmp_path)
    before, chance = files(old), random.Random(18)
    seconds = run(tmp_path, tmp_path / "whole")
    whole = files(tmp_path / "whole")
    new, kills, interrupted, number = tmp_path / "new-0", 0, 0, 0
    one, other = tmp_path / "one", tmp_path / "other"
    points = {point.txid: point.created_at for point in ltxcore.restore_points(tmp_path / "whole")}
    # On a machine whose speed changes, many may come too late or too early.
    while kills < KILLS or (not interrupted and kills < 5 * KILLS):
        pause = chance.uniform(0.2, 0.9) * seconds

        def kill(child: Child, pause: float = pause) -> None:
            time.sleep(pause)
            child.kill()

        run(tmp_path, new, kill)
        kills += 1
        there = files(new)
        # The file of the newest transaction of a batch is there before the others, and is deleted with the next batch.
        assert {name: data for name, data in there.items() if "/0/" not in name}.items() <= whole.items()
        interrupted += 0 < len(there) < len(whole)
        found = ltxcore.restore_points(new) if there else []
        for point in chance.sample(found, min(3, len(found))):
            ltxcore.restore(tmp_path / "whole", one, txid=point.txid, overwrite=True)
            ltxcore.restore(new, other, txid=point.txid, overwrite=True)
            assert one.read_bytes() == other.read_bytes()
            assert point.created_at == points[point.txid]
        if there.keys() >= whole.keys() or kills % 4 == 0:
            run(tmp_path, new)
            assert files(new) == whole
            number += 1
            new = tmp_path / f"new-{number}"
    assert interrupted
    assert files(old) == before
    assert legacy.verify(old).is_ok
