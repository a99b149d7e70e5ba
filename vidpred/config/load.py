"""Loading a config: a preset or a YAML file, with dotted overrides on top."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vidpred.bounds import shown
from vidpred.config.tree import CHOICES, Config
from vidpred.devices import open_pipe
from vidpred.errors import ConfigError
from vidpred.processes.parent_watch import has_peers
from vidpred.settings import assign, dump_yaml, flatten, moved_to, renamed_value
from vidpred.settings.keys import NEAR
from vidpred.settings.overrides import check_key, explain_error, parse_words
from vidpred.settings.yaml_files import read_yaml

KEYS = "`vidpred config` lists the keys"


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
        values = dict(flatten(tree))
        for key, where in origins.items():
            _check_key(key, where, value=values.get(key))
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
        config: The config that an option names; None: one of the words may be a preset's name, a YAML file or a run
            folder, which stands for its config.yaml and for run=, wherever it was moved to.

    Raises:
        ConfigError: Two configs are named.
    """
    names = [word for word in words if not _is_override(word) and _is_config(word)]
    if (config is not None and names) or len(names) > 1:
        raise ConfigError(
            f"two configs are named [{config or names[1]} and {names[0]}]; give one, and KEY=VALUE for the rest"
        )
    found, overrides = names[0] if names else config, [word for word in words if word not in names]
    if names and os.path.isfile(Path(names[0]) / "config.yaml"):
        found = str(Path(names[0]) / "config.yaml")
        if os.path.isdir(Path(names[0]) / "checkpoints"):  # no checkpoint, which has a config.yaml too
            overrides.insert(0, f"run={names[0]}")
    return found, overrides


def _is_override(word: str) -> bool:
    """Return whether a word is KEY=VALUE, and no path such as runs/lr=1e-4."""
    key, equals, _ = word.partition("=")
    return bool(equals) and "/" not in key


def _is_config(word: str) -> bool:
    return word.endswith((".yaml", ".yml")) or _is_preset(word) or os.path.isfile(Path(word) / "config.yaml")


def _is_preset(name: str) -> bool:
    return (preset_folder() / f"{name}.yaml").is_file()


def find_preset(path: str | Path) -> Path:
    """Return a file by its path, or else a preset by its name, with or without .yaml. Raises ConfigError."""
    file = Path(path)
    if file.is_file():
        return file
    if open_pipe(file) is not None:
        if has_peers():
            raise ConfigError(f"a pipe is read by one process only [{path}]; write the config to a file")
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


def _parse_overrides(overrides: Mapping[str, Any] | Iterable[str]) -> Iterator[tuple[str, Any]]:
    if isinstance(overrides, Mapping):
        yield from overrides.items()
    else:
        yield from parse_words(overrides, Config, partial(_check_key, where="command line"))


def _check_key(key: str, where: str, value: Any = None) -> None:
    """Raise ConfigError unless the dotted key exists, with its new name or the nearest one."""
    new = moved_to(key, value)
    if new is not None:
        raise ConfigError(f"[{key}] moved to {new} ({where})")
    check_key(key, where, Config, KEYS)


def _explain(error: ValidationError, origins: Mapping[str, str], path: str | Path | None) -> str:
    """Return Pydantic's first error as one line; for an unknown kind of a section with all kinds."""
    problem = error.errors()[0]
    if problem["type"] == "union_tag_invalid":
        return _unknown_choice(str(problem["loc"][0]), problem["ctx"]["tag"], origins, path)
    return explain_error(error, origins, path, Config, CHOICES)


def _unknown_choice(section: str, name: str, origins: Mapping[str, str], path: str | Path | None) -> str:
    where = origins.get(f"{section}.name") or str(path)
    new = renamed_value(f"{section}.name", name)
    near = difflib.get_close_matches(name, CHOICES[section], 1, NEAR)
    hint = f"; it was renamed to {new}" if new else f"; did you mean {near[0]}?" if near else ""
    return f"[{section}.name] choose from {', '.join(CHOICES[section])}, got {shown(name)} ({where}){hint}"


def to_yaml(config: Config) -> str:
    """Return the resolved config as YAML from which `load_config` restores an equal config."""
    return dump_yaml(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=100)
