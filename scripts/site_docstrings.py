"""For the documentation site: docstrings as Markdown. An extension of griffe, which mkdocs.yml names."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|meth|func|mod|attr|data|exc):`~?([^`]*)`")


def markdown(text: str) -> str:
    """A docstring whose code and references are marked as Markdown does it."""
    text = _ROLE.sub(lambda role: f"`{role[1]}`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    # A paragraph that ends with two colons begins a literal block; indented, it is one in Markdown as well.
    return re.sub(r"::$", ":", text, flags=re.MULTILINE)


class Markdown(griffe.Extension):  # type: ignore[misc, unused-ignore]  # griffe is not among the tools of the gate
    """Rewrites every docstring that is read."""

    def on_instance(self, *, obj: griffe.Object, **_kwargs: Any) -> None:  # noqa: ANN401 - as griffe has it
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
