"""A client's error says itself whether another try makes sense, and a restore believes it."""

from pathlib import Path
from typing import Any, BinaryIO

import pytest

import ltxcore
from ltxcore.errors import LTXFileNotFoundError, ReplicaError, ReplicaPermissionError

from tests.unit.memory import MemoryClient, history


class OwnError(Exception):
    """Of a library that knows nothing of ltxcore."""


class OddError(Exception):
    @property
    def transient(self) -> bool:
        raise RuntimeError("in a property")


def own(**attributes: object) -> Exception:
    error = OwnError("no luck")
    vars(error).update(attributes)
    return error


def counted(error: Exception, *, times: int, while_reading: bool) -> tuple[MemoryClient, list[object]]:
    """A client of one file, whose first requests for it fail; and these requests."""
    client, asked = history(1), []

    def fail(*_: object) -> None:
        asked.append(error)
        if len(asked) <= times:
            raise error

    if not while_reading:
        client.before_read = fail
        return client, asked
    open_file = client.open_ltx_file

    def open_failing(*args: Any, **options: Any) -> BinaryIO:
        return FailingFile(open_file(*args, **options), fail)  # type: ignore[return-value]  # all that is read by

    client.open_ltx_file = open_failing  # type: ignore[method-assign]
    return client, asked


class FailingFile:
    def __init__(self, file: BinaryIO, fail: Any) -> None:
        self.file, self.fail = file, fail

    def read(self, size: int = -1) -> bytes:
        self.fail()
        return self.file.read(size)

    def close(self) -> None:
        self.file.close()


@pytest.mark.parametrize("while_reading", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        ReplicaError("slow down", transient=True),
        ReplicaPermissionError("the token has just expired", transient=True),
        LTXFileNotFoundError("not there yet", transient=True),
        own(transient=True),
        own(transient=1),  # not a bool: as if nothing were said
        own(transient="no"),
        OwnError("nothing said"),
        OddError("nothing to be learnt"),
    ],
    ids=repr,
)
def test_what_passes_is_tried_again(tmp_path: Path, error: Exception, *, while_reading: bool) -> None:
    client, asked = counted(error, times=1, while_reading=while_reading)
    ltxcore.restore(client, tmp_path / "out.db")
    assert len(asked) > 1


@pytest.mark.parametrize("while_reading", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        ReplicaError("no such bucket", transient=False),
        own(transient=False),
        own(transient=False, code=403),
        TimeoutError("for good"),
        ReplicaPermissionError("no"),
        ValueError("a mistake"),
    ],
    ids=repr,
)
def test_what_does_not_pass_is_not_tried_again(
    tmp_path: Path, error: Exception, *, while_reading: bool
) -> None:
    if isinstance(error, TimeoutError):
        error.transient = False  # type: ignore[attr-defined]
    client, asked = counted(error, times=100, while_reading=while_reading)
    with pytest.raises(type(error)) as caught:
        ltxcore.restore(client, tmp_path / "out.db")
    assert caught.value is error
    assert len(asked) == 1


def test_a_missing_file_that_stays_missing_is_looked_for_in_another_plan(tmp_path: Path) -> None:
    """To say that it is final does not make a file that was merged meanwhile an error."""
    client, asked = counted(LTXFileNotFoundError("merged", transient=False), times=1, while_reading=False)
    ltxcore.restore(client, tmp_path / "out.db")
    assert len(asked) > 1
