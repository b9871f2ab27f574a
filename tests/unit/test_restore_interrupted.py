"""What the error of a restore says about what is kept."""

from pathlib import Path

import pytest

from ltxcore._ltxcore import partial_path
from ltxcore._restore.interrupted import Interrupted
from ltxcore.errors import DiskFullError, ReplicaError


def ended(error: BaseException, kept: int, output: Path = Path("/x/out.db")) -> BaseException:
    interrupted = Interrupted(output)
    with pytest.raises(type(error)) as caught, interrupted:
        if kept:
            interrupted.note(kept)
        raise error
    return caught.value


def test_the_hint_says_what_is_kept_and_where() -> None:
    error = ended(ReplicaError("gone"), 12_300_000)
    assert isinstance(error, ReplicaError)
    assert error.hint == (
        "run the same restore again to continue: 12 MB are kept in /x/.out.db.ltxcore-partial; to start over, remove it "
        "and .out.db.ltxcore-partial.state"
    )
    assert error.__notes__ == [f"hint: {error.hint}"]


def test_a_hint_that_is_there_goes_before() -> None:
    error = ended(DiskFullError("full", hint="free some space"), 5_000_000)
    assert isinstance(error, DiskFullError)
    assert error.hint is not None
    assert error.hint.startswith("free some space; then run the same restore again")


def test_other_exceptions_get_a_note() -> None:
    assert "5 MB are kept" in ended(KeyboardInterrupt(), 5_000_000).__notes__[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ReplicaError("gone")])
def test_nothing_is_said_if_nothing_is_kept(error: BaseException) -> None:
    assert not hasattr(ended(error, 0), "__notes__")
    assert getattr(error, "hint", None) is None


def test_the_partial_database_is_beside_what_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/real.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "far/real.db")
    assert partial_path(tmp_path / "link.db") == tmp_path / "far/.real.db.ltxcore-partial"
