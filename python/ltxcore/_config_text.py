"""The text of a configuration file: environment variables, YAML, and scalars that YAML does not know."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

_VARIABLE = re.compile(
    r"\$(?:\{(?P<braced>[^}]*)\}|(?P<open>\{)|(?P<special>[*#$@!?0-9-])|(?P<plain>[A-Za-z0-9_]+))"
)
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_DURATION = re.compile(rf"([-+]?)((?:{_PIECE.pattern})+)")
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "\u03bcs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)(b?)", re.IGNORECASE)
_SCHEME = re.compile(r"sqlite3?://")


def expand_environment(text: str) -> str:
    """Replace ``$NAME`` and ``${NAME}``, everywhere, by variables of the environment.

    A variable that is not set is empty; ``PID`` is the process id. ``$$`` and ``$1`` are names as well, in the way of
    shells, so that a literal dollar is only to be had without expansion. A dollar before anything else stays.
    """
    return _VARIABLE.sub(_value, text)


def _value(found: re.Match[str]) -> str:
    name = found["braced"] or found["special"] or found["plain"] or ""
    return str(os.getpid()) if name == "PID" else os.environ.get(name, "")


def expand_path(path: str) -> Path:
    """An absolute path, of one that may begin with ``~`` or ``sqlite://``."""
    return Path(os.path.abspath(os.path.expanduser(_SCHEME.sub("", path, count=1))))


class _Loader(yaml.SafeLoader):
    """Scalars stay text until it is known what they should be, but for null and truth values; keys occur once."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - declared by the base class
        first: [
            (tag, pattern) for tag, pattern in known if tag.rpartition(":")[2] in ("null", "bool", "merge")
        ]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A dictionary; what is null is as good as left out."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} stands here twice", node.start_mark
                )
        made = super().construct_mapping(node, deep=deep)
        return {key: value for key, value in made.items() if value is not None}


def parse_yaml(text: str) -> object:
    """The document as plain values.

    Raises:
        yaml.YAMLError: it is not YAML, or a key occurs twice.
    """
    # Derived from the safe loader: it makes plain values and nothing else.
    return yaml.load(text, Loader=_Loader)  # noqa: S506


class Duration(float):
    """Seconds, from a Go duration such as ``1h30m``."""

    __slots__ = ()


class Size(int):
    """Bytes, from a text such as ``64MiB``: KB and MB are powers of 1000, KiB and MiB of 1024."""

    __slots__ = ()


class Mode(int):
    """Access rights, from octal digits."""

    __slots__ = ()


def parse_duration(text: str) -> Duration:
    """Seconds of a Go duration.

    Raises:
        ValueError: it is none.
    """
    if text == "0":
        return Duration(0)
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"not a duration, such as 10s, 250ms or 1h30m (got {text})")
    total = sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(found[2]))
    return Duration(-total if found[1] == "-" else total)


def parse_size(text: str) -> Size:
    """Bytes of a size.

    Raises:
        ValueError: it is none.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or (found[3] and not found[2]):
        raise ValueError(f"not a size, such as 5MB or 64MiB (got {text})")
    base = 1024 if found[3] else 1000
    return Size(round(float(found[1]) * base ** " kmgt".index(found[2].lower() or " ")))


def parse_mode(text: str) -> Mode:
    """Access rights.

    Raises:
        ValueError: not octal digits.
    """
    if not re.fullmatch(r"(0o?)?[0-7]{1,4}", text):
        raise ValueError(f"not access rights in octal digits, such as 0600 (got {text})")
    return Mode(int(text.removeprefix("0o"), 8))


PARSERS: dict[type, Callable[[str], Any]] = {Duration: parse_duration, Size: parse_size, Mode: parse_mode}


def convert_scalar(wanted: type, value: Any) -> Any:  # noqa: ANN401 - whatever stands in the file
    """What a scalar of a type of ours stands for.

    Raises:
        ValueError: the text stands for none.
    """
    if not isinstance(value, str):
        raise ValueError(f"expected a text (got {value!r})")
    return PARSERS[wanted](value)
