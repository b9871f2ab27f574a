"""A database that follows a replica, and a fork: the locks of the follower end with it."""

from pathlib import Path

import pytest

from tests.helpers.forks import run_forking

pytestmark = pytest.mark.process

REPLICA = """
make()
source = room / "app.db-replica"
with db() as first:
    first.wait(timeout=15)

def follow():
    return ltxcore.follow(source, room / "copy", interval=0.05)
"""


def test_a_killed_follower_does_not_live_on_in_its_child(tmp_path: Path) -> None:
    run_forking(
        tmp_path,
        REPLICA
        + """
reader, writer = os.pipe()

def sleep():
    os.write(writer, b"%d\\n" % os.getpid())
    time.sleep(60)

def own():
    followed = follow()
    followed.wait(timeout=15)
    fork(sleep)
    time.sleep(60)

parent = fork(own)
child = int(os.read(reader, 20))
os.kill(parent, signal.SIGKILL)
os.waitpid(parent, 0)
with follow() as again:
    again.wait(timeout=15)
os.kill(child, 0)
""",
    )


def test_a_child_follows_when_its_parent_has_ended_and_is_refused_before(tmp_path: Path) -> None:
    """It took the parent's table of what is followed for its own."""
    run_forking(
        tmp_path,
        REPLICA
        + """
to_child, from_parent = os.pipe()
to_parent, from_child = os.pipe()

def work():
    assert "already followed" in error_of(follow)
    os.write(from_child, b"1")
    os.read(to_child, 1)
    with follow() as own:
        own.wait(timeout=15)
        assert error_of(inherited.wait).startswith("opened by the parent")

inherited = follow()
with inherited:
    pid = fork(work)
    os.read(to_parent, 1)
    if (other := os.fork()) == 0:
        sys.exit(0)  # leaves the with block, and closes nothing
    ended(other)
    with db() as first, contextlib.closing(plain()) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        first.wait(timeout=15)
    inherited.wait(timeout=15)
os.write(from_parent, b"1")
ended(pid)
with contextlib.closing(plain(room / "copy")) as connection:
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
""",
    )
