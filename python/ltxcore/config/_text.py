"""The text of a configuration file: environment variables, YAML with its lines, and scalars that YAML does not know."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ltxcore._process.units import parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_VARIABLE = re.compile(
    r"\$(?:\{(?P<braced>[^}]*)\}|(?P<open>\{)|(?P<special>[*#$@!?0-9-])|(?P<plain>[A-Za-z0-9_]+))"
)
_SCHEME = re.compile(r"sqlite3?://")
_STEP = re.compile(r"\[([0-9]+)\]|([^.\[\]]+)")


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


class Mapping(dict[Any, Any]):
    """A mapping of the file that remembers where it stands. What is null is as good as left out.

    Attributes:
        line: the line that it begins in, from 1 on.
        lines: the line of each key as it is written, those of null values too.
    """

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


class _Loader(yaml.SafeLoader):
    """Scalars stay text until it is known what they should be, but for null and truth values; keys occur once."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - declared by the base class
        first: [
            (tag, pattern) for tag, pattern in known if tag.rpartition(":")[2] in ("null", "bool", "merge")
        ]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A dictionary of a node whose keys all differ."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} stands here twice", node.start_mark
                )
        return super().construct_mapping(node, deep=deep)

    def construct_located(self, node: yaml.MappingNode) -> Iterator[Mapping]:
        """The dictionary with its lines, in the two steps that let a mapping hold itself."""
        made = Mapping(node.start_mark.line + 1)
        yield made
        content = self.construct_mapping(node)
        made.update({key: value for key, value in content.items() if value is not None})
        # After the step above, which put what is merged by "<<" among the node's own keys.
        made.lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value}


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_located)


def parse_yaml(text: str) -> object:
    """The document as plain values, its mappings as :class:`Mapping`.

    Raises:
        yaml.YAMLError: it is not YAML, or a key occurs twice.
    """
    # Derived from the safe loader: it makes plain values and nothing else.
    return yaml.load(text, Loader=_Loader)  # noqa: S506


def find_line(document: object, key: str) -> int | None:
    """The line of a key such as ``dbs[0].replica.url``, or of the nearest part of the document that has one."""
    line, at = None, document
    for index, name in _STEP.findall(key):
        if isinstance(at, Mapping):
            line = at.lines.get(name, line)
            at = at.get(name)
        elif isinstance(at, list) and index and int(index) < len(at):
            at = at[int(index)]
            line = at.line if isinstance(at, Mapping) else line
        else:
            break
    return line


class Duration(float):
    """Seconds, from a text such as ``1h30m``."""

    __slots__ = ()


class Size(int):
    """Bytes, from a text such as ``64MiB``."""

    __slots__ = ()


class Mode(int):
    """Access rights, from octal digits."""

    __slots__ = ()


def parse_mode(text: str) -> Mode:
    """Access rights.

    Raises:
        ValueError: not octal digits.
    """
    if not re.fullmatch(r"(0o?)?[0-7]{1,4}", text):
        raise ValueError(f"not access rights in octal digits, such as 0600: {text}")
    return Mode(int(text.removeprefix("0o"), 8))


PARSERS: dict[type, Callable[[str], Any]] = {
    Duration: lambda text: Duration(parse_duration(text)),
    Size: lambda text: Size(parse_size(text)),
    Mode: parse_mode,
}


def convert_scalar(wanted: type, value: Any) -> Any:  # noqa: ANN401 - whatever stands in the file
    """What a scalar of a type of ours stands for.

    Raises:
        ValueError: the text stands for none.
    """
    if not isinstance(value, str):
        raise ValueError(f"expected a text (got {value!r})")
    return PARSERS[wanted](value)
