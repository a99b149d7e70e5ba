"""Loading a config: a preset or a YAML file, with dotted overrides on top."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from vidpred.bounds import shown
from vidpred.config.tree import CHOICES, Config, is_one_or_more, known_keys, text_keys, tuple_length
from vidpred.config.yaml_files import parse_text, parse_yaml, read_yaml
from vidpred.errors import ConfigError
from vidpred.settings import assign, flatten, moved_to, renamed_value

KEYS = "`vidpred config` lists the keys"
NEAR = 0.65  # minimum similarity of a name, from 0 to 1, to suggest it: below, suggestions mislead
Section = TypeVar("Section", bound=BaseModel)


@dataclass(frozen=True)
class LoadedConfig:
    """A config with the origin of each value: dotted key -> "default", "FILE:LINE", "command line" or "Python"."""

    config: Config
    origins: dict[str, str]


def load_config(path: str | Path | None = None, overrides: Mapping[str, Any] | Iterable[str] = ()) -> Config:
    """Read a preset or YAML file and apply overrides.

    Args:
        path: Path of a YAML file, or else the name of a preset, such as "ucf101.yaml". None: the defaults.
        overrides: A mapping of dotted keys, or strings "key=value". Their values are parsed as YAML, except paths
            (data.root, run, ...), which are taken literally.

    Raises:
        ConfigError: A file, key or value is wrong; the message names the nearest valid name.
    """
    return load_with_origins(path, overrides).config


def load_with_origins(path: str | Path | None, overrides: Mapping[str, Any] | Iterable[str] = ()) -> LoadedConfig:
    """Load a config like `load_config`, with the origin of each value."""
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if path is not None:
        file = find_preset(path)
        tree = read_yaml(file, origins)
        for key, where in origins.items():
            _check_key(key, where, value=dict(flatten(tree)).get(key))
    for key, value in _parse_overrides(overrides):
        # A mapping sets the keys that it contains; the rest of its section stays as it is.
        for leaf, inner in flatten(value, f"{key}.") if isinstance(value, Mapping) else [(key, value)]:
            _check_key(leaf, "Python" if isinstance(overrides, Mapping) else "command line", value=inner)
            assign(tree, leaf, inner)
            origins[leaf] = "Python" if isinstance(overrides, Mapping) else "command line"
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, origins, path)) from None
    config.origins.update(origins)
    return LoadedConfig(config, {key: origins.get(key, "default") for key, _ in flatten(config.model_dump())})


def preset_folder() -> Path:
    """Return the folder of the presets: inside the installed package, or next to it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def split_words(words: Sequence[str], config: str | None) -> tuple[str | None, list[str]]:
    """Separate the name of a config from the overrides KEY=VALUE.

    Args:
        words: The words of a command.
        config: The config that an option names; None: one of the words may be a preset's name or a YAML file.

    Raises:
        ConfigError: Two configs are named.
    """
    names = [word for word in words if "=" not in word and (word.endswith((".yaml", ".yml")) or _is_preset(word))]
    if (config is not None and names) or len(names) > 1:
        raise ConfigError(
            f"two configs are named [{config or names[1]} and {names[0]}]; give one, and KEY=VALUE for the rest"
        )
    return (names[0] if names else config), [word for word in words if word not in names]


def _is_preset(name: str) -> bool:
    return (preset_folder() / f"{name}.yaml").is_file()


def find_preset(path: str | Path) -> Path:
    """Return a file by its path, or else a preset by its name, with or without .yaml. Raises ConfigError."""
    file = Path(path)
    if file.is_file():
        return file
    presets = {preset.name: preset for preset in sorted(preset_folder().glob("*.yaml"))}
    if file.parent == Path("."):
        for name in (file.name, f"{file.name}.yaml"):
            if name in presets:
                return presets[name]
    if file.exists():
        raise ConfigError(f"the config is no regular file but a folder, pipe or device [{path}]; write it to a file")
    near = difflib.get_close_matches(file.stem, [Path(name).stem for name in presets], 1, NEAR)
    hint = f"; did you mean {near[0]}.yaml?" if near else f"; presets: {', '.join(presets)}"
    raise ConfigError(f"no such config file or preset [{path}]{hint}")


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
    for key, value in _parse_overrides(words, kind, hint):
        several = key in given and key in kind.model_fields and is_one_or_more(kind.model_fields[key].annotation)
        given[key] = (*(given[key] if isinstance(given[key], tuple) else (given[key],)), value) if several else value
    given |= fixed
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise ConfigError(_explain(error, dict.fromkeys(given, "command line"), None, kind)) from None


def _parse_overrides(
    overrides: Mapping[str, Any] | Iterable[str], tree: type[BaseModel] = Config, hint: str = KEYS
) -> Iterable[tuple[str, Any]]:
    if isinstance(overrides, Mapping):
        yield from overrides.items()
        return
    for item in overrides:
        key, separator, text = item.partition("=")
        if not separator:
            raise ConfigError(f"not an override [{item}]; write key=value, for example training.steps=100")
        key = key.strip()
        _check_key(key, "command line", tree, hint)
        if not text.strip():
            raise ConfigError(f"an empty value [{item}]; for no value write {key}=null")
        yield key, parse_text(text) if key in text_keys(tree, "") else parse_yaml(text, item)


def _check_key(key: str, where: str, tree: type[BaseModel] = Config, hint: str = KEYS, value: Any = None) -> None:
    """Raise ConfigError unless the dotted key exists, with its new name or the nearest one."""
    new = moved_to(key, value) if tree is Config else None
    if new is not None:
        raise ConfigError(f"[{key}] moved to {new} ({where})")
    known = known_keys(tree, "")
    if key in known:
        return
    near = nearest_key(key, known)
    suggestion = f"did you mean {near}?" if near else f"no key is similar; {hint}"
    raise ConfigError(f"unknown key [{key}] ({where}); {suggestion}")


def nearest_key(key: str, known: Iterable[str]) -> str | None:
    """Return the first key whose last part is most similar, in any section; None if none is similar."""
    name = key.rpartition(".")[2]
    likeness = {other: difflib.SequenceMatcher(None, name, other.rpartition(".")[2]).ratio() for other in known}
    best = max(likeness, key=lambda other: likeness[other])
    return best if likeness[best] >= NEAR else None


def _explain(
    error: ValidationError, origins: dict[str, str], path: str | Path | None, tree: type[BaseModel] = Config
) -> str:
    """Return Pydantic's first error as one line: key, expectation, given value, origin."""
    problem = error.errors()[0]
    # Locations may continue into lists and unions; the key is the part that names a setting.
    parts = [str(part) for part in problem["loc"]]
    if problem["type"] == "union_tag_invalid":
        return _unknown_choice(parts[0], problem["ctx"]["tag"], origins, path)
    if len(parts) > 1 and parts[1] in CHOICES.get(parts[0], {}):
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
        message = f"expected {tuple_length(parts, tree)} values"
    got = "" if isinstance(given, dict | BaseModel) else f", got {shown(given)}"
    new = renamed_value(key, given)
    hint = f"; it was renamed to {new}" if new else ""
    return f"{f'[{key}] ' if key else ''}{message}{got} ({where}){hint}"


def _unknown_choice(section: str, name: str, origins: dict[str, str], path: str | Path | None) -> str:
    where = origins.get(f"{section}.name") or str(path)
    new = renamed_value(f"{section}.name", name)
    near = difflib.get_close_matches(name, CHOICES[section], 1, NEAR)
    hint = f"; it was renamed to {new}" if new else f"; did you mean {near[0]}?" if near else ""
    return f"[{section}.name] choose from {', '.join(CHOICES[section])}, got {shown(name)} ({where}){hint}"


def to_yaml(config: Config) -> str:
    """Return the resolved config as YAML from which `load_config` restores an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=100)
