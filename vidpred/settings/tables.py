"""The documentation of settings as text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from vidpred.settings.yaml_files import as_yaml

BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "length >=", "max_length": "length <="}


class Explained(NamedTuple):
    """The documentation of a setting, as text."""

    key: str
    type: str
    range: str
    default: str
    meaning: str


def explain_class(kind: type[BaseModel], title: str, without: Sequence[str] = ()) -> str:
    """Return the table of one class of settings, except those named."""
    fields = {name: field for name, field in kind.model_fields.items() if name not in without}
    return text_table(title, [explain_field(name, field) for name, field in fields.items()])


def explain_field(key: str, field: FieldInfo) -> Explained:
    """Return key, type, range, default and description of a setting as text."""
    bounds = [
        f"{sign} {getattr(rule, name)}"
        for rule in field.metadata
        for name, sign in BOUNDS.items()
        if hasattr(rule, name)
    ]
    default = "required" if field.default is PydanticUndefined else as_yaml(field.default)
    return Explained(key, _type_text(field.annotation), ", ".join(bounds), default, field.description or "")


def _type_text(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(part) for part in parts)
    if origin in (Union, UnionType):
        return " | ".join(_type_text(part) for part in parts)
    if origin in (list, tuple):
        return f"[{', '.join('...' if part is Ellipsis else _type_text(part) for part in parts)}]"
    return "null" if annotation is NoneType else str(getattr(annotation, "__name__", annotation))


def text_table(title: str, settings: Sequence[Explained]) -> str:
    """Return settings as plain text under a title."""
    lines = [title, "-" * len(title)]
    widths = [max(len(setting[column]) for setting in settings) for column in range(4)]
    for setting in settings:
        cells = zip(setting[:4], widths, strict=True)
        lines.append("  ".join(f"{cell:<{min(width, 40)}}" for cell, width in cells).rstrip())
        lines += textwrap.wrap(setting.meaning, 100, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)
