"""Safe reading and writing of YAML, with the line number of every value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from vidpred.errors import ConfigError


class _UniqueKeyLoader(yaml.SafeLoader):
    """A loader of YAML 1.1 that rejects duplicate keys and reads 1e-4 as a number."""


def _construct_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key '{key}'", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)
# YAML 1.1 reads 1e-4 (no point) as a string.
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(file: Path, origins: dict[str, str]) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Args:
        file: The file.
        origins: Receives "FILE:LINE" for the dotted key of every value.

    Raises:
        ConfigError: The file cannot be read; the message has file and line.
    """
    try:
        text = file.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=_UniqueKeyLoader)
        tree = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        problem = getattr(error, "problem", None) or "invalid YAML"
        raise ConfigError(f"{problem} [{where}]; correct the line") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the config [{file}]: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"not a mapping of keys to values [{file}]; see `vidpred config`")
    _note_lines(node, "", file.name, origins)
    return tree


def _note_lines(node: yaml.Node | None, prefix: str, name: str, origins: dict[str, str]) -> None:
    if isinstance(node, yaml.MappingNode) and node.value:
        for key, value in node.value:
            _note_lines(value, f"{prefix}.{key.value}".lstrip("."), name, origins)
    elif prefix and node is not None:
        origins[prefix] = f"{name}:{node.start_mark.line + 1}"


def parse_yaml(text: str, item: str) -> Any:
    """Parse the value of an override; `item` names it in the ConfigError that is raised for invalid YAML."""
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError:
        raise ConfigError(f"cannot read the value [{item}]; quote it as YAML") from None


def parse_text(text: str) -> str | None:
    """Return a path literally, even if it is `clips #1` or 2024; `null` becomes None, and quotes are removed."""
    if text == "null":
        return None
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        value = parse_yaml(text, text)
        return value if isinstance(value, str) else text
    return text


def as_yaml(value: Any) -> str:
    """Return a value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")
