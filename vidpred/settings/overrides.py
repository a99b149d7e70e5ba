"""Settings from words KEY=VALUE, and errors of settings as one line."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vidpred.bounds import shown
from vidpred.errors import ConfigError
from vidpred.settings.keys import is_one_or_more, known_keys, nearest_key, text_keys
from vidpred.settings.renamed import renamed_value
from vidpred.settings.yaml_files import parse_text, parse_yaml

Section = TypeVar("Section", bound=BaseModel)


def parse_settings(kind: type[Section], words: Iterable[str], fixed: Mapping[str, Any], hint: str) -> Section:
    """Build a section of settings from words KEY=VALUE, parsed like overrides, and fixed values.

    Args:
        kind: The class of the section.
        words: The words.
        fixed: Further values by key.
        hint: Advice for unknown keys without a near match.

    Raises:
        ConfigError: A key is unknown, or a value is wrong.
    """
    given: dict[str, Any] = {}
    for key, value in parse_words(words, kind, partial(check_key, where="command line", tree=kind, hint=hint)):
        several = key in given and key in kind.model_fields and is_one_or_more(kind.model_fields[key].annotation)
        given[key] = (*(given[key] if isinstance(given[key], tuple) else (given[key],)), value) if several else value
    given |= fixed
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise ConfigError(explain_error(error, dict.fromkeys(given, "command line"), None, kind)) from None


def parse_words(words: Iterable[str], tree: type[BaseModel], check: Callable[[str], None]) -> Iterator[tuple[str, Any]]:
    """Yield keys and values of words KEY=VALUE.

    Args:
        words: The words.
        tree: The class of the settings.
        check: Called with each key; raises ConfigError for an unknown one.

    Raises:
        ConfigError: A word has no key or no value.
    """
    for item in words:
        key, separator, text = item.partition("=")
        if not separator:
            raise ConfigError(f"not an override [{item}]; write key=value, for example training.steps=100")
        key = key.strip()
        check(key)
        if not text.strip():
            raise ConfigError(f"an empty value [{item}]; for no value write {key}=null")
        yield key, parse_text(text) if key in text_keys(tree, "") else parse_yaml(text, item)


def check_key(key: str, where: str, tree: type[BaseModel], hint: str) -> None:
    """Check that a dotted key exists.

    Args:
        key: The key.
        where: Where it stands, for the error.
        tree: Class of the settings.
        hint: What to do if no key is similar.

    Raises:
        ConfigError: It does not; the message names the nearest key, or else the hint.
    """
    known = known_keys(tree, "")
    if key in known:
        return
    near = nearest_key(key, known)
    suggestion = f"did you mean {near}?" if near else f"no key is similar; {hint}"
    raise ConfigError(f"unknown key [{key}] ({where}); {suggestion}")


def explain_error(
    error: ValidationError,
    origins: Mapping[str, str],
    path: str | Path | None,
    tree: type[BaseModel],
    choices: Mapping[str, Container[str]] | None = None,
) -> str:
    """Return Pydantic's first error as one line: key, expectation, given value, origin.

    Args:
        error: The error.
        origins: Origins of the values by dotted key.
        path: The file of all other values; None: defaults.
        tree: The class of the settings.
        choices: Names of the kinds of sections that exist in several.
    """
    problem = error.errors()[0]
    # Locations may continue into lists and unions; the key is the part that names a setting.
    parts = [str(part) for part in problem["loc"]]
    if len(parts) > 1 and parts[1] in (choices or {}).get(parts[0], ()):
        del parts[1]  # the kind of the section
    known = set(known_keys(tree, ""))
    while parts and ".".join(parts) not in known:
        parts.pop()
    key = ".".join(parts)
    where = origins.get(key) or (str(path) if path else "defaults")
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = problem.get("input")
    if problem["type"] == "missing" and isinstance(given, list | tuple):  # every setting has a default: a short tuple
        places = [int(other["loc"][-1]) for other in error.errors() if other["loc"][:-1] == problem["loc"][:-1]]
        message = f"expected {max(places) + 1} values"
    got = "" if isinstance(given, dict | BaseModel) else f", got {shown(given)}"
    new = renamed_value(key, given)
    hint = f"; it was renamed to {new}" if new else ""
    return f"{f'[{key}] ' if key else ''}{message}{got} ({where}){hint}"
