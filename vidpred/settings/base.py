"""The base of all settings classes: unknown keys are rejected, and values are immutable."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from vidpred.bounds import check_bounds


class Settings(BaseModel):
    """Base of the settings sections, each defined directly above the class or function that takes it.

    Values keep the bounds of `check_bounds`, and true and false are not accepted as numbers.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, protected_namespaces=()
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool):
            assert info.field_name is not None
            kind = cls.model_fields[info.field_name].annotation
            if bool not in (kind, *get_args(kind)):
                raise ValueError("must not be true or false")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _within_bounds(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, BaseModel):  # a section checks its own values
            check_bounds(value, info.field_name)
        return value


def with_home(path: str | None) -> str | None:
    """Return a path with a leading ~ replaced by the home folder, as shells do only at the start of a word."""
    return None if path is None else os.path.expanduser(path)


def absent_at_defaults(section: Settings | None) -> Settings | None:
    """Return the section; None for one at its defaults, so that it and an absent section are written the same way."""
    return None if section is None or section == type(section)() else section


def with_all_sections(section: Settings) -> Settings:
    """Return the settings with the defaults of absent sections written out."""
    inner: dict[str, Settings] = {}
    for name, field in type(section).model_fields.items():
        value = section.__dict__[name]
        if value is None and any(getattr(rule, "func", None) is absent_at_defaults for rule in field.metadata):
            value = get_args(field.annotation)[0]()
        if isinstance(value, Settings):
            inner[name] = with_all_sections(value)
    return section.model_copy(update=inner)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of all values in nested mappings."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
