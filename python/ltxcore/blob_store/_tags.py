"""What may be kept with a blob."""

from __future__ import annotations

import json
from collections.abc import Mapping

TagValue = str | int | float | bool | None


def encode_tags(tags: Mapping[str, TagValue] | None) -> str | None:
    """Tags as they are stored.

    Raises:
        TypeError: a value is not one that JSON has.
        ValueError: a number is not finite.
    """
    if not tags:
        return None
    for name, value in tags.items():
        if not isinstance(value, str | int | float | bool | None):
            raise TypeError(f"a tag is a str with a str, a number, a bool or None: {name!r}: {value!r}")
    return json.dumps(dict(tags), ensure_ascii=False, sort_keys=True, allow_nan=False)
