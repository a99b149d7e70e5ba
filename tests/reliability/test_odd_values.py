"""Every setting and every option with values that are too large, not finite, negative, or no text: one line."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel
from vidpred.data_prep import sets

from tests.command_line import run_vidpred
from vidpred.bounds import MOST_INT, MOST_SEED, check_bounds
from vidpred.commands.app import USAGE_ERROR, _usage_error, app
from vidpred.commands.option_bounds import bounded_command
from vidpred.config import CHOICES, Config, load_config, sections_of
from vidpred.errors import ConfigError, for_command, lacks_memory
from vidpred.run import check_memory
from vidpred.settings.overrides import parse_settings

HUGE = (2**31, -(2**31), 10**400)
NO_NUMBERS = (math.nan, math.inf, -math.inf)
NO_TEXTS = ("a\0b", "\ud800")


def leaves(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, dict[str, str]]]:
    """Yield (dotted key, type, further settings that select the section) of all settings."""
    for name, field in section.model_fields.items():
        kinds = CHOICES[name].values() if prefix == "" and name in CHOICES else sections_of(field.annotation)
        for kind in kinds:
            chosen = {f"{name}.name": kind.model_fields["name"].default} if name in CHOICES else {}
            yield from ((key, hint, {**more, **chosen}) for key, hint, more in leaves(kind, f"{prefix}{name}."))
        if not kinds:
            yield f"{prefix}{name}", field.annotation, {}


def plain(hint: Any) -> set[Any]:
    """Return the plain types of a setting, and of its parts."""
    if get_origin(hint) in (types.UnionType, Union, tuple, list):
        return {kind for part in get_args(hint) for kind in plain(part)}
    return {hint}


def nested(hint: Any, value: Any) -> Any:
    """Return a value in as many lists as a setting has."""
    for part in get_args(hint) or (hint,):
        if get_origin(part) in (tuple, list):
            return [nested(part, value)]
    inner = [part for part in get_args(hint) if part not in (type(None), ...)]
    return [value] * len(inner) if get_origin(hint) is tuple else [value] if get_origin(hint) is list else value


HANDLERS = {each.name or each.callback.__name__: each.callback for each in app.registered_commands if each.callback}
LEAVES = list(leaves(Config))


def refused(key: str, value: Any, more: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {**more, key: value})
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 260
    return message


@pytest.mark.slow
def test_every_setting() -> None:
    counts = dict.fromkeys((int, float, str), 0)
    for key, hint, more in LEAVES:
        kinds = plain(hint)
        if int in kinds or float in kinds:
            for value in (*((MOST_SEED + 1, -1) if key == "seed" else HUGE), *NO_NUMBERS):
                if int in kinds or value in NO_NUMBERS or abs(value) > 10**39:
                    refused(key, nested(hint, value), more)
        if str in kinds:
            for value in NO_TEXTS:
                refused(key, value, more)
        for kind in counts:
            counts[kind] += kind in kinds
    assert counts[int] > 150
    assert counts[float] > 50
    assert counts[str] >= 4


def bound(key: str, more: dict[str, str]) -> int:
    """Return the largest integer that a setting of a network accepts, as far as its field limits it."""
    part, name = key.split(".")
    kind = CHOICES[part][more[f"{part}.name"]]
    return next((rule.le for rule in kind.model_fields[name].metadata if hasattr(rule, "le")), MOST_INT)


@pytest.mark.reliability
def test_the_largest_networks_are_refused_before_they_are_built() -> None:
    tried = 0
    for key, hint, more in LEAVES:
        if int not in plain(hint) or not key.startswith(("model.", "discriminator.")):
            continue
        frames = (
            {} if CHOICES["model"][more.get("model.name", "multiscale")].needs_frames else {"data.context_frames": 0}
        )
        with suppress(ConfigError):
            config = load_config(None, {**more, **frames, key: nested(hint, bound(key, more))})
            tried += 1
            check_memory(config)
    assert tried > 40


def test_every_setting_of_a_preparation() -> None:
    for kind in sets().values():
        for name, field in kind.model_fields.items():
            if int in plain(field.annotation) and name != "source":
                for value in (str(1 + (MOST_SEED if name == "seed" else MOST_INT)), "9" * 390, "-99999999999", ".nan"):
                    with pytest.raises(ConfigError) as caught:
                        parse_settings(kind, [f"{name}={value}"], {"source": "x"}, "")
                    assert len(str(caught.value)) < 260


@pytest.mark.slow
def test_every_option() -> None:
    """Values are refused while options are read, before a command begins."""
    tried = 0
    command = bounded_command(app)
    for verb in HANDLERS:
        hints = get_type_hints(HANDLERS[verb])
        for parameter in command.commands[verb].params:
            option = next((name for name in parameter.opts if name.startswith("--")), None)
            if option is None or not plain(hints.get(parameter.name)) & {int, float}:
                continue
            for value in ("9" * 5000, "nan", "inf", "-inf", "1e400", "-1e39", "1e39", "99999999999"):
                if value == "99999999999" and float in plain(hints.get(parameter.name)):
                    continue
                tried += 1
                with for_command(True):
                    with pytest.raises(USAGE_ERROR) as caught:
                        command.main([verb, f"{option}={value}"], standalone_mode=False)
                    message = str(_usage_error(caught.value))
                assert option in message
                assert "\n" not in message
                assert len(message) < 260
    assert tried > 200


def test_seeds_of_32_bits_are_read() -> None:
    assert load_config(None, ["seed=3735928559"]).seed == 3735928559


@pytest.mark.slow
def test_seeds_of_32_bits_are_used(tmp_path: Path) -> None:
    preset = ["train", "gaussians_gan.yaml", "training.steps=1", "training.device=cpu", f"run={tmp_path}"]
    assert run_vidpred(*preset, f"seed={MOST_SEED}") == 0
    assert run_vidpred("sample", "--run", tmp_path, "-o", tmp_path / "a.png", "--seed", MOST_SEED) == 0


def test_texts_of_options(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["evaluate", "--data", "a\0b"], ["predict", "a\0b.mp4", "-o", "x.mp4"], ["doctor", "\ud800"]):
        assert run_vidpred(*words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert re.search("NUL|null byte|lone surrogates", line)


def test_a_lack_of_memory_is_known() -> None:
    import cv2
    import numpy as np
    import torch

    def fails(call: Any) -> bool:
        try:
            call()
        except Exception as error:
            return lacks_memory(error)
        return False

    assert fails(lambda: torch.empty(1 << 60))
    assert fails(lambda: torch.empty((1 << 40, 1 << 40)))
    assert fails(lambda: np.empty(1 << 60))
    assert fails(lambda: np.empty((1 << 40, 1 << 40)))
    assert fails(lambda: cv2.resize(np.zeros((2, 2, 3), np.uint8), (30_000, 1 << 30)))
    check_bounds([1, "a", {"b": 2.0}, None, True])
