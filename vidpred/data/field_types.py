"""Records read from files: their values are checked against the types of the class, as of untrusted files."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

Record = TypeVar("Record")
MOST = 1 << 62  # of integers, so that they fit NumPy's


def from_mapping(kind: type[Record], values: Any) -> Record:
    """Build a record, a dataclass.

    Args:
        kind: The dataclass.
        values: Its fields as read from JSON.

    Raises:
        ValueError: They are no mapping, a field is missing or unknown, or a value has another type or is too large.
    """
    if not isinstance(values, Mapping):
        raise ValueError("not a mapping")
    try:
        checked = _model(cast("Hashable", kind)).model_validate(values)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None
    for name, value in values.items():  # all numbers of a list have one type
        numbers = value if isinstance(value, list) else [value]
        if numbers and type(numbers[0]) is int and not -MOST < min(numbers) <= max(numbers) < MOST:
            raise ValueError(f"{name}: a number out of range")
    return kind(**{name: getattr(checked, name) for name in values})


@cache
def _model(kind: Any) -> type[BaseModel]:
    """Return the strict model that has the fields of a dataclass."""
    hints = get_type_hints(kind)
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
    defaults = {each.name: ... if each.default is MISSING is each.default_factory else None for each in fields(kind)}
    described: dict[str, Any] = {name: (hints[name], default) for name, default in defaults.items()}
    return create_model(kind.__name__, __config__=config, **described)


def first_problem(error: ValidationError) -> str:
    """Return the first problem of an invalid record: "FIELD: what it should be"."""
    problem = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(map(str, problem["loc"]))[:40]
    message = problem["msg"].removeprefix("Value error, ")
    return f"{field}: {message[:1].lower()}{message[1:]}" if field else message
