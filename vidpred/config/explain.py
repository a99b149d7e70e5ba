"""The settings as text: of one config, with origins, and all of them, with their meaning."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from vidpred.config.load import LoadedConfig
from vidpred.config.tree import CHOICES, Config, sections_of
from vidpred.config.yaml_files import as_yaml
from vidpred.errors import ConfigError
from vidpred.settings import flatten

INTRODUCTION = """# Settings

Every setting by its dotted key, as it is given in a preset's YAML or on the command line (`data.size=64`).
This page is written by `vidpred config --explain --markdown`; `vidpred config --explain SECTION` prints a part of it.
"""
BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "length >=", "max_length": "length <="}


class Explained(NamedTuple):
    """One setting: its dotted key and what is known about it, as text."""

    key: str
    type: str
    range: str
    default: str
    meaning: str


def describe(loaded: LoadedConfig) -> str:
    """Return the resolved config, a line a value, with where each came from."""
    values = {key: as_yaml(value) for key, value in flatten(loaded.config.model_dump(mode="json"))}
    left = max(len(f"{key}: {value}") for key, value in values.items())
    return "\n".join(f"{f'{key}: {value}':<{left}}  # {loaded.origins[key]}" for key, value in values.items())


def explain(section: str | None = None, markdown: bool = False) -> str:
    """Return a table of settings with type, range, default and meaning.

    Args:
        section: `data`, `training.generator`, `model.name=dcgan`, a single key, ...; None: all settings.
        markdown: Return the reference page instead of plain text.

    Raises:
        ConfigError: There is no such section; the nearest one is named.
    """
    tables = {
        title: [setting for setting in settings if _within(section, title, setting.key)]
        for title, settings in explained(Config)
    }
    tables = {title: settings for title, settings in tables.items() if settings}
    if not tables:
        known = [*(title for title, _ in explained(Config)), *CHOICES]
        near = difflib.get_close_matches(str(section), known, 1, 0.4)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
        raise ConfigError(f"no such section of settings [{section}]{hint}")
    table = _markdown_table if markdown else _text_table
    parts = [table(title, settings) for title, settings in tables.items()]
    return "\n\n".join([INTRODUCTION.strip(), *parts] if markdown and section is None else parts)


def explain_class(kind: type[BaseModel], title: str, without: Sequence[str] = ()) -> str:
    """Return the table of one class of settings, except those named."""
    _, settings = next(explained(kind))
    return _text_table(title, [setting for setting in settings if setting.key not in without])


def explained(kind: type[BaseModel], title: str = "", prefix: str = "") -> Iterator[tuple[str, list[Explained]]]:
    """Yield the title and the settings of a section, then of its subsections, once for each kind that it may have."""
    inner = {name: sections_of(field.annotation) for name, field in kind.model_fields.items()}
    fields = {name: field for name, field in kind.model_fields.items() if not inner[name]}
    yield title or "general", [_explained(prefix + name, field) for name, field in fields.items()]
    for name, kinds in inner.items():
        for choice in kinds:
            key = prefix + name
            chosen = f"{key}.name={choice.model_fields['name'].default}" if key in CHOICES else key
            yield from explained(choice, chosen, f"{key}.")


def _within(section: str | None, title: str, key: str) -> bool:
    return section is None or section in (title, key) or key.startswith(f"{section}.")


def _explained(key: str, field: FieldInfo) -> Explained:
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


def _text_table(title: str, settings: list[Explained]) -> str:
    lines = [title, "-" * len(title)]
    widths = [max(len(setting[column]) for setting in settings) for column in range(4)]
    for setting in settings:
        cells = zip(setting[:4], widths, strict=True)
        lines.append("  ".join(f"{cell:<{min(width, 40)}}" for cell, width in cells).rstrip())
        lines += textwrap.wrap(setting.meaning, 100, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def _markdown_table(title: str, settings: list[Explained]) -> str:
    rows = [[f"`{key}`", kind, limits, f"`{value}`", meaning] for key, kind, limits, value, meaning in settings]
    head = [list(map(str.capitalize, ("setting", *Explained._fields[1:]))), ["---"] * 5]
    cells = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [*head, *rows])
    return "\n".join([f"## {title}", "", *cells])
