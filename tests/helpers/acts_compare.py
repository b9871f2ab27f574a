"""`python -m tests.helpers.acts_compare [--subject ltxcore|litestream] [--litestream PATH] [ACT ...]`

Does what operators do to the files of a replicator, one act after another, and prints a table of what became of it: is the
database what it has to be, did the replicator say that all is in the replica, and does a restore give it. The same acts and the
same criteria for ours and for Litestream; docs/operator-acts.md holds the results.
"""

import argparse
import collections
import contextlib
import dataclasses
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.acts_compare_acts import ACTS, Act
from tests.helpers.acts_place import ROWS, AppFails, Damaged, Look, NotDriven, Place, apart, rows_of
from tests.helpers.acts_subjects import subject
from tests.helpers.process import ChildError

#: For an act and what follows it, and once more for what a restart of the replicator changes.
LIMIT_SECONDS = 30
#: How often the application commits and asks for a sync after an act.
ROUNDS = 3


class OutOfTime(BaseException):
    """Nothing may catch it on the way."""


@dataclasses.dataclass
class Result:
    act: str
    verdict: str
    details: list[str]


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    def ring(_number: int, _frame: object) -> None:
        raise OutOfTime

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def place(act: Act, root: Path, kind: str, program: Path) -> Place:
    """A database with some history in the replica, its application connected, the replicator running."""
    folder = root / "data"
    folder.mkdir()
    db = folder / "app.db"
    opened_as = root / "link.db" if act.layout == "link" else db
    if act.layout == "link":
        opened_as.symlink_to(db)
    made = Place(root, db, opened_as)
    made.subject = subject(kind, program, opened_as, made.replica, act.options)
    made.start_app({})
    made.insert(ROWS)
    made.checkpoint("TRUNCATE")
    if act.layout == "hard link":
        os.link(db, root / "second-name.db")
    return made


def go_on(place: Place, rounds: int) -> None:
    """The application commits, and what it committed is to be in the replica."""
    for _ in range(rounds):
        if place.app is not None:
            place.insert(2)
        place.look()
        time.sleep(0.4)


def at_rest(place: Place) -> None:
    """Both programs are stopped; one that does not end is killed."""
    with contextlib.suppress(ChildError):
        place.stop_app()
    with contextlib.suppress(ChildError):
        place.subject.stop()
    place.subject.kill()


def check_source(place: Place) -> None:
    try:
        found = rows_of(place.copy_of_source())
    except sqlite3.Error as error:
        raise Damaged(str(error)) from error
    if wrong := apart(found, place.rows):
        gone = len(place.rows.keys() - found.keys())
        raise Damaged(f"of {len(place.rows)} rows {gone} are gone and {wrong - gone} hold something else")


def verdict(seen: list[Look], later: list[Look], was_said: bool) -> str:
    """In words that mean the same for every act; `later` is what a restart of the replicator gave."""
    last = seen[-1]
    if last.good:
        healed = " until a later sync"
    elif later:
        healed = " until a restart" if later[-1].good else " also after a restart"
    else:
        healed = ""
    bad = [each for each in seen if not each.refusal and each.lost]
    if bad:
        how = "logged" if was_said else "silent"
        if bad[-1].lost < 0:
            return f"{how}, not restorable{healed}"
        return f"{how} loss: {max(each.lost for each in bad)} rows{healed}"
    if last.good:
        return "intact, restored"
    if "timed out" in last.refusal or "deadline" in last.refusal:
        return f"stuck{healed}"
    return f"refused, says why{healed}"


def judge(act: Act, kind: str, program: Path, root: Path) -> Result:
    made = place(act, root, kind, program)
    details: list[str] = []
    try:
        word = carried_out(act, made, details)
    except AppFails as error:
        word = without_replicator(made, error, details)
    except Damaged as error:
        word = "source damaged"
        details.append(str(error))
    except NotDriven as error:
        word = "not measured"
        details.append(str(error))
    except OutOfTime:
        word = "stuck"
    except ChildError as error:
        word = "error"
        details.append(str(error))
    finally:
        made.end()
    details += [each.refusal or each.why for each in made.seen if each.refusal or each.why]
    return Result(act.name, word, made.said + details)


def carried_out(act: Act, made: Place, details: list[str]) -> str:
    """Do an act and say what became of it."""
    later: list[Look] = []
    with limited(LIMIT_SECONDS):
        try:
            made.subject.start()
            made.sync()
        except (ChildError, AssertionError) as error:
            details.append(str(error))
            return "refused, says why"
        made.subject.settle()
        made.commits(4)
        mark = made.subject.log.stat().st_size
        answer = act.do(made)
        if answer is not None:
            return answer
        go_on(made, ROUNDS)
        besides = made.besides() if made.besides else ""
        logged = made.subject.complaints(made.subject.log.read_bytes()[mark:].decode(errors="replace"))
        details += logged[:4]
    seen = [*made.seen]
    with limited(LIMIT_SECONDS):
        at_rest(made)
        if act.source_remains:
            check_source(made)
            if not seen[-1].good:
                made.start_app()
                made.start()
                go_on(made, 2)
                later = made.seen[len(seen) :]
    return verdict(seen, later, bool(logged)) + besides


def without_replicator(place: Place, error: AppFails, details: list[str]) -> str:
    """Whether the application can work again as soon as the replicator is stopped, and is replicated then."""
    details.append(str(error))
    try:
        with limited(LIMIT_SECONDS):
            at_rest(place)
            place.start_app(*error.accepted)
            place.start()
            go_on(place, 2)
    except (AppFails, Damaged) as again:
        details.append(str(again))
        return "source damaged"
    except OutOfTime:
        return "application fails, also after a restart"
    return f"application fails until a restart; then {verdict(place.seen, [], False)}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--subject", choices=["ltxcore", "litestream"], default="ltxcore")
    options.add_argument("--litestream", type=Path, default=shutil.which("litestream"))
    options.add_argument("--details", action="store_true", help="print what was said, too")
    options.add_argument("--times", type=int, default=1, help="how often to do each act")
    options.add_argument("acts", nargs="*", metavar="ACT", help="a part of an act's name; default: all")
    chosen = options.parse_args()
    for act in ACTS:
        if chosen.acts and not any(part in act.name for part in chosen.acts):
            continue
        found = [in_a_place_of_its_own(act, chosen.subject, chosen.litestream) for _ in range(chosen.times)]
        print(f"| {act.name} | {' / '.join(counted(found))} |", flush=True)
        if chosen.details:
            for detail in (detail for each in found for detail in each.details):
                print("    ", detail[:600].replace("\n", " "), flush=True)


def in_a_place_of_its_own(act: Act, kind: str, program: Path) -> Result:
    with tempfile.TemporaryDirectory(prefix="acts-", ignore_cleanup_errors=True) as root:
        return judge(act, kind, program, Path(root))


def counted(found: list[Result]) -> list[str]:
    """Each verdict once; if there are several, with how often it was reached."""
    times = collections.Counter(each.verdict for each in found)
    return [word if len(times) == 1 else f"{word} ({count} of {len(found)})" for word, count in times.items()]


if __name__ == "__main__":
    main()
