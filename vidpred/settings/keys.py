"""The keys of settings: those that exist, and the nearest one to a word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

NEAR = 0.65  # minimum similarity of a name, from 0 to 1, to suggest it: below, suggestions mislead


@cache
def known_keys(section: type[BaseModel], prefix: str) -> tuple[str, ...]:
    """Return the dotted keys of all settings and sections below a section."""
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        for kind in sections_of(field.annotation):
            keys += known_keys(kind, f"{prefix}{name}.")
    return tuple(dict.fromkeys(keys))


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    """Return the settings classes that a field may hold: several for a choice, none for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_of(part)]


def is_one_or_more(annotation: Any) -> bool:
    """Return whether a setting is a text that may be given several times."""
    return bool(annotation == (str | tuple[str, ...] | None))


@cache
def text_keys(section: type[BaseModel], prefix: str) -> frozenset[str]:
    """Return the dotted keys of settings below a section that are taken as plain text, such as paths."""
    fields = section.model_fields
    texts = (str, str | None, Path, Path | None)
    keys = {
        prefix + name for name, field in fields.items() if field.annotation in texts or is_one_or_more(field.annotation)
    }
    for name, field in fields.items():
        for kind in sections_of(field.annotation):
            keys |= text_keys(kind, f"{prefix}{name}.")
    return frozenset(keys)


def nearest_key(key: str, known: Iterable[str]) -> str | None:
    """Return the first key whose last part is most similar, in any section; None if none is similar."""
    name = key.rpartition(".")[2]
    likeness = {other: difflib.SequenceMatcher(None, name, other.rpartition(".")[2]).ratio() for other in known}
    best = max(likeness, key=lambda other: likeness[other])
    return best if likeness[best] >= NEAR else None
