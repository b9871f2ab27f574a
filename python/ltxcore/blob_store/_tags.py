"""What may be kept with a blob."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ltxcore.errors import StoreCorruptError

TagValue = str | int | float | bool | None


def encode_tags(tags: Mapping[str, TagValue] | None) -> str | None:
    """Tags as they are stored.

    Raises:
        TypeError: a value is not one that JSON has.
        ValueError: a number is not finite, or a text cannot be written in UTF-8.
    """
    if not tags:
        return None
    for name, value in tags.items():
        if not isinstance(value, str | int | float | bool | None):
            raise TypeError(f"a tag is a str with a str, a number, a bool or None: {name!r}: {value!r}")
    text = json.dumps(dict(tags), ensure_ascii=False, sort_keys=True, allow_nan=False)
    text.encode()
    return text


def decode_tags(name: str, text: object) -> dict[str, TagValue]:
    """The reverse.

    Raises:
        StoreCorruptError: they were not stored by :func:`encode_tags`.
    """
    if text is None:
        return {}
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise StoreCorruptError(f"the tags of {name!r} are not tags", hint="check(repair=True) removes them")
    return found
