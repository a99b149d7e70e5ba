"""Odd and hostile YAML: one line with the place, soon, for files and overrides."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from vidpred.checkpoint import read_config
from vidpred.config import load_config
from vidpred.errors import ConfigError, StorageError
from vidpred.settings import YamlError
from vidpred.settings import parse_yaml as parse
from vidpred.settings.yaml_files import parse_yaml, read_yaml

TENFOLD = "\n".join(f"{name}: &{name} [{', '.join([f'*{last}'] * 10)}]" for last, name in pairwise("abcdefghi"))
REFUSED = {
    "an alias bomb": f"a: &a [{'1, ' * 9}1]\n{TENFOLD}",
    "an alias within its anchor": "a: &a [*a]",
    "brackets": "[" * 100_000,
    "closed brackets": "[" * 1000 + "]" * 1000,
    "braces": "{a: " * 5000,
    "indentation": "\n".join(" " * depth + "a:" for depth in range(500)),
    "200,000 keys": "\n".join(f"k{number}: 1" for number in range(200_000)),
    "20,000 keys": "\n".join(f"k{number}: 1" for number in range(20_000)),
    "a Python object": "a: !!python/object/apply:os.system [touch marker]",
    "a huge integer": f"a: {'9' * 5000}",
    "a huge hexadecimal integer": f"a: 0x{'f' * 5000}",
    "an octal number": "a: 010",
    "tags that do not fit": "a: !!int x",
    "an empty integer": "a: !!int ''",
    "a bad truth value": "a: !!bool maybe",
    "a bad float": "a: !!float x",
    "a bad date": "a: !!timestamp x",
    "bad base 64": "a: !!binary é",
    "a list as a key": "? [a]\n: b",
    "a duplicate key": "a: 1\na: 2",
    "a tab": "a:\n\tb: 1",
    "a zero byte": "a: \0",
    "two documents": "a: 1\n---\nb: 2",
    "another version": "%YAML 9.9\n---\na: 1",
}
READ: dict[str, Any] = {
    "{a: 1e-4, b: 1.5e3, c: .5, d: 1.}": {"a": 1e-4, "b": 1500.0, "c": 0.5, "d": 1.0},
    "{a: 0x1F, b: -3, c: 0, d: 1_000, e: 0o17}": {"a": 31, "b": -3, "c": 0, "d": 1000, "e": 15},
    "{a: 2026-11-26, b: 12:30:00, c: 2026-99-99}": {"a": "2026-11-26", "b": "12:30:00", "c": "2026-99-99"},
    "a: &x {b: 1, d: 3}\nc: {<<: *x, d: 2}": {"a": {"b": 1, "d": 3}, "c": {"b": 1, "d": 2}},
    "{a: =, b: yes, c: null, d: .inf}": {"a": "=", "b": True, "c": None, "d": float("inf")},
    "": None,
}


# Each takes a quarter of a second and more.
LONG = ("brackets", "20,000 keys")
MARKED = {name: pytest.param(name, marks=pytest.mark.slow if name in LONG else []) for name in REFUSED}


@pytest.mark.parametrize("name", MARKED.values())
def test_refused_in_a_file_and_in_the_settings_of_a_run(tmp_path: Path, name: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(REFUSED[name])
    start = time.process_time()
    with pytest.raises(ConfigError) as caught:
        read_yaml(file, {})
    with pytest.raises(StorageError, match="cannot read the run's settings"):
        read_config(tmp_path, dict)
    assert time.process_time() - start < 2
    message = str(caught.value)
    assert f"[{file}" in message
    assert message.endswith(("; correct the line", "; choose another path"))
    assert "\n" not in message
    assert len(message.replace(str(file), "")) < 200


@pytest.mark.parametrize("name", [MARKED[name] for name in REFUSED if name not in ("200,000 keys", "a zero byte")])
def test_refused_as_an_override(name: str) -> None:
    start = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"model.feature_maps={REFUSED[name]}"])
    assert time.process_time() - start < 2
    assert len(str(caught.value)) <= 200


@pytest.mark.parametrize("text", READ)
def test_what_is_read(text: str) -> None:
    assert parse(text) == READ[text]


def test_a_long_override_is_shortened() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml("[" * 1000, "model.feature_maps=" + "[" * 1000)
    assert len(str(caught.value)) < 200


def test_the_line_of_a_problem() -> None:
    with pytest.raises(YamlError) as caught:
        parse("a: 1\nb: 2\nc: !!int x\n")
    assert caught.value.line == 3


def test_pipes_and_folders_are_no_configs(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for name in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ConfigError, match="cannot read the config"):
            read_yaml(name, {})
