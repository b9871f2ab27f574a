"""kill -9 of a process that commits over the OS VFS: nothing acknowledged is lost, and nothing is damaged.

The long version: python -m tests.helpers.acceptance vfs-kill9 --times 500.
"""

import random
from pathlib import Path

import pytest

from tests.helpers import vfs_kill9
from tests.helpers.profiles import marks, sized

pytestmark = [pytest.mark.process, *marks(120, 1800)]


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    report = vfs_kill9.run(tmp_path, sized(24, 500), random.Random(14))
    assert report.problems == []
    assert report.kills == sized(24, 500)
    # The chosen moments do come: a kill in the middle of what it says in the table is what this is about.
    hit = {moment for moment in report.moments if "missed" not in moment}
    # The dead man's switch is held for microseconds: where much else runs, it may be missed in a short run.
    assert hit >= {"PENDING", "RESERVED", "EXCLUSIVE", "WAL write", "checkpoint"}, report.moments
