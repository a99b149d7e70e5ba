"""Records read from files: their values are checked against the types of the class, as of untrusted files."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_type_hints

Record = TypeVar("Record")


def from_mapping(kind: type[Record], values: Any) -> Record:
    """Build a record, a dataclass of strings, numbers and lists of them.

    Args:
        kind: The dataclass.
        values: Its fields as read from JSON.

    Raises:
        ValueError: They are no mapping, a field is missing or unknown, or a value has another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError("not a mapping")
    hints = _hints(cast("Hashable", kind))
    for name, value in values.items():
        if name not in hints:
            raise ValueError(f"an unknown field {name[:40]!r}")
        if not _fits(value, hints[name]):
            raise ValueError(f"{name} has a value of another type")
    try:
        return kind(**values)
    except TypeError:
        raise ValueError("a field is missing") from None


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _fits(value: Any, hint: Any) -> bool:
    if value is None or isinstance(value, bool):
        return type(value) in (hint, *get_args(hint)) or hint is Any
    if isinstance(value, list):
        inner = get_args(hint)
        return isinstance(getattr(hint, "__origin__", None), type) and set(map(type, value)) <= set(inner)
    if isinstance(value, Mapping):
        return getattr(hint, "__origin__", None) is dict
    if isinstance(value, float):
        return float in (hint, *get_args(hint)) and math.isfinite(value)
    allowed = (hint, *get_args(hint)) if not hasattr(hint, "__origin__") else ()
    return type(value) in allowed or (isinstance(value, int) and float in allowed)
