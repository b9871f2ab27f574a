"""The exception tree: one list, catchable by base and by built-in, with attributes that survive."""

import pickle
import re

import pytest

from ltxcore import errors
from ltxcore.ltx import TXID

CLASSES = [getattr(errors, name) for name in errors.__all__]


def tree() -> dict[str, tuple[str, list[str]]]:
    """Name, parent and built-in bases of every class, as the module's docstring draws them."""
    drawn: dict[str, tuple[str, list[str]]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.fullmatch(r"    ((?:[|`]-- |\|   |    )*)(\w+)(?:\((\w+(?:, \w+)*)\))?", line)
        if found:
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            drawn[found[2]] = (
                path[depth - 1] if depth else "Exception",
                found[3].split(", ") if found[3] else [],
            )
    return drawn


def test_the_docstring_draws_exactly_the_exported_classes() -> None:
    assert sorted(tree()) == sorted(errors.__all__)


def test_every_class_of_the_module_is_exported() -> None:
    """One was missing from the list and from the tree, and so from the reference."""
    found = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.Error)
    }
    assert found == set(errors.__all__)


@pytest.mark.parametrize("name", errors.__all__)
def test_every_class_has_the_bases_that_are_drawn(name: str) -> None:
    parent, builtins = tree()[name]
    bases = [base.__name__ for base in getattr(errors, name).__bases__]
    assert bases == [parent, *builtins]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_says_what_it_is_for(cls: type[errors.Error]) -> None:
    assert cls.__doc__
    assert cls.__doc__ != errors.Error.__doc__ or cls is errors.Error


@pytest.mark.parametrize("cls", CLASSES)
def test_attributes_are_there_and_survive_pickling(cls: type[errors.Error]) -> None:
    error = cls(
        "what happened", op="open", path="/a", level=3, min_txid=TXID(1), max_txid=TXID(2), hint="try"
    )
    assert cls("x").hint is None
    for copy in (error, pickle.loads(pickle.dumps(error))):
        assert type(copy) is cls
        assert str(copy) == "what happened"
        found = (copy.op, copy.path, copy.level, copy.min_txid, copy.max_txid, copy.hint)
        assert found == ("open", "/a", 3, 1, 2, "try")


def test_the_hint_is_shown_below_the_traceback() -> None:
    assert errors.Error("no", hint="do this").__notes__ == ["hint: do this"]
    assert not hasattr(errors.Error("no"), "__notes__")


def test_an_error_says_whether_another_try_makes_sense() -> None:
    class Busy(errors.ReplicaError):
        transient = True

    assert errors.ReplicaError("x").transient is None
    assert (Busy("x").transient, Busy("x", transient=False).transient) == (True, False)
    for said in (None, True, False):
        error = errors.ObjectNotFoundError("x", transient=said)
        assert pickle.loads(pickle.dumps(error)).transient is said
