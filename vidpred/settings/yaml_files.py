"""Safe reading and writing of YAML, with the line number of every value."""

from __future__ import annotations

import errno
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from vidpred.devices import open_pipe
from vidpred.errors import ConfigError
from vidpred.files import read_bytes
from vidpred.settings.bounded_yaml import YamlError, dump_yaml, parse_with_nodes
from vidpred.settings.bounded_yaml import parse_yaml as parse_document

MOST_BYTES = 1 << 20
SHOWN = 80  # characters of an override in an error message


def read_yaml(file: Path, origins: dict[str, str]) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Args:
        file: The file.
        origins: Receives "FILE:LINE" for the dotted key of every value.

    Raises:
        ConfigError: The file cannot be read; the message has file and line.
    """
    try:
        tree, node = parse_with_nodes(_content(file).decode("utf-8-sig"))
    except YamlError as error:
        where = f"{file}:{error.line}" if error.line else str(file)
        raise ConfigError(f"{error} [{where}]; correct the line") from None
    except OSError as error:
        raise ConfigError(f"cannot read the config: {error.strerror} [{file}]; choose another --config") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"the config is no UTF-8 text from byte {error.start} on [{file}]; save it as UTF-8"
        ) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"not a mapping of keys to values [{file}]; see `vidpred config`")
    _note_lines(node, "", str(file) if file.is_relative_to("/dev") else file.name, origins)
    return tree


def _content(file: Path) -> bytes:
    """Return the content of a file, or of an open pipe, which is read once. Raises OSError."""
    number = open_pipe(file)
    if number is None:
        return read_bytes(file, MOST_BYTES)
    content = _piped(number, os.fstat(number).st_ino)
    if len(content) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"more than {MOST_BYTES:,} bytes", str(file))
    return content


@lru_cache(4)
def _piped(number: int, inode: int) -> bytes:
    with open(number, "rb", closefd=False) as pipe:
        return pipe.read(MOST_BYTES + 1)


def _note_lines(node: yaml.Node | None, prefix: str, name: str, origins: dict[str, str]) -> None:
    if isinstance(node, yaml.MappingNode) and node.value:
        for key, value in node.value:
            _note_lines(value, f"{prefix}.{key.value}".lstrip("."), name, origins)
    elif prefix and node is not None:
        origins[prefix] = f"{name}:{node.start_mark.line + 1}"


def parse_yaml(text: str, item: str) -> Any:
    """Parse the value of an override; `item` names it in the ConfigError that is raised for invalid YAML."""
    try:
        return parse_document(text)
    except YamlError as error:
        shown = item if len(item) <= SHOWN else f"{item[:SHOWN]}..."
        raise ConfigError(f"cannot read the value: {error} [{shown}]; quote it as YAML") from None


def parse_text(text: str) -> str | None:
    """Return a path literally, even if it is `clips #1` or 2024; `null` becomes None, and quotes are removed."""
    if text == "null":
        return None
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        value = parse_yaml(text, text)
        return value if isinstance(value, str) else text
    return text


def as_yaml(value: Any) -> str:
    """Return a plain value as YAML on one line."""
    return dump_yaml(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")
